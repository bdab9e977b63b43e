"""Run a recipe for evidence or for a joint embedding: ``anytag train``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anytag.foundations.folder_locks import only_writer, taking_turns
from anytag.foundations.report import Report
from anytag.inference.recognizer import load
from anytag.training.evidence.fit import fit_evidence
from anytag.training.evidence.joint_embedding import fit_joint_embedding
from anytag.training.families.initialization import find_start
from anytag.training.recipes.evidence import EvidenceTraining
from anytag.training.recipes.joint_embedding import JointEmbeddingTraining
from anytag.training.run_record import RunRecord, check_folders


def fit_recipe(
    config: EvidenceTraining | JointEmbeddingTraining,
    data: Path,
    folder: Path,
    report: Report = print,
    cache: Path | None = None,
    threads: int | None = None,
    settings: Sequence[str] | None = None,
) -> None:
    """Fit the evidence or the joint embedding of a model, and write the new model to ``folder/model``.

    Predictions are kept in the cache and networks in the run folder, so that an interrupted run continues where it was,
    and other weights are fitted in a minute.

    Args:
        data: Folder that its paths start at.
        cache: Cache folder; ``None``: in the run folder.
        threads: Threads of the model's runtime; ``None``: one per processor.

    Raises:
        UsageError: If the recipe needs something that the data or the model do not have.
        ModelError: If the model cannot be read.
        DataError: If too many pictures cannot be read.
    """
    check_folders(data, folder)
    with (
        only_writer(folder, "another run fits", "give another run folder"),
        taking_turns(cache or folder / "cache", "another run fills this cache", report),
    ):
        record = RunRecord(folder, config, data, 1, settings)
        record.begin(0)
        recognizer = load(find_start(config.start, data).path, threads=threads)
        if isinstance(config, EvidenceTraining):
            fit_evidence(config, data, folder, cache or folder / "cache", recognizer, report)
        else:
            fit_joint_embedding(config, data, folder, cache or folder / "cache", recognizer, report)
        record.finish(0)
