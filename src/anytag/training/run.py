"""A training run of any family, from data to a model directory: what ``anytag train`` does."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from anytag.datasets.health import JsonLinesLog
from anytag.foundations.folder_locks import only_writer
from anytag.foundations.report import Report
from anytag.language.parsing.parsed_captions import ParsedCaptions
from anytag.language.parsing.parser import load_parser
from anytag.model.vocabulary import TagVocabulary
from anytag.teaching.config import TeachingConfig
from anytag.teaching.teach import teach
from anytag.training.engine.distributed import Share, connect, first_process_first
from anytag.training.engine.stream_resume import StreamLoop
from anytag.training.engine.task import Setup
from anytag.training.families import setup as families
from anytag.training.families.batches import SampleTags
from anytag.training.families.data_findings import look_at, shared_pictures
from anytag.training.families.data_sources import RunData, find_path, open_data
from anytag.training.families.initialization import begin, find_start
from anytag.training.families.model_files import model_card, write_model
from anytag.training.families.task import RecognitionTask
from anytag.training.families.vocabularies import read_vocabulary
from anytag.training.lite import setup as lite
from anytag.training.recipes.config import LiteConfig, TrainingConfig, TrainingStage
from anytag.training.run_record import RUN_FILE, RunRecord


def train(
    config: TrainingConfig | TeachingConfig,
    data: Path,
    folder: Path,
    report: Report = print,
    stop_after: float | None = None,
    cache: Path | None = None,
    settings: Sequence[str] | None = None,
) -> bool:
    """Run a recipe, or go on with it.

    The run folder receives the recipe (``recipe.json``), who ran it how (``run.json``), the log (``log.jsonl``),
    samples that could not be read (``bad-samples.jsonl``), checkpoints, and the model (``model/``), which
    ``anytag.load(…, backend="torch")`` opens. Under ``torchrun`` every process calls this.

    Args:
        config: The recipe, or how a model is taught tags.
        data: Folder that its paths start at.
        folder: The run folder; one that is there is taken up where it stopped.
        report: Receives progress.
        stop_after: Stop after this many seconds of training, with a checkpoint.
        cache: Folder for what is made once: parsed captions, text embeddings, cached features; ``None``: in the run
            folder.
        settings: What was set on the command line, to be written down.

    Returns:
        Whether the run reached its end. One that had is left alone.

    Raises:
        UsageError: If the recipe asks for what the data, the model or the teacher do not have.
        ModelError: If weights do not fit.
        DataError: If too many samples cannot be read.
        StoppedBySignalError: If a signal asked for the end; there is a checkpoint then.
    """
    first = int(os.environ.get("RANK", "0")) == 0
    alone = only_writer(folder, "another run trains", "give another run folder") if first else nullcontext()
    with alone:
        if isinstance(config, TeachingConfig):
            return _teach(config, data, folder, report, settings)
        return _train(config, data, folder, report, stop_after, cache, settings)


def _teach(
    config: TeachingConfig, data: Path, folder: Path, report: Report, settings: Sequence[str] | None
) -> Literal[True]:
    """A run that is over in a minute: nothing is resumed, and one that is finished is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    record = RunRecord(folder, config, data, settings=settings)
    changes = record.changes()
    if record.finished_at is not None and not changes and (folder / "model" / "config.json").is_file():
        report("this run is finished; nothing was changed. For other pictures, begin a new run")
        return True
    for name, change in changes.items():
        report(f"changed: {name} {change}")
    record.begin(0)
    teach(config, data, folder / "model", report)
    record.finish(0)
    return True


def _train(
    config: TrainingConfig,
    data: Path,
    folder: Path,
    report: Report,
    stop_after: float | None,
    cache: Path | None,
    settings: Sequence[str] | None,
) -> bool:
    is_lite = isinstance(config.objective, LiteConfig)
    strategy = connect(config.parallel, lite.DEVICE if is_lite else "auto")
    report = report if strategy.is_first else lambda line: None
    folder.mkdir(parents=True, exist_ok=True)
    record = RunRecord(folder, config, data, strategy.world, settings)
    cache = cache or folder / "cache"
    parser = None if config.parser == "none" else ParsedCaptions(load_parser(config.parser), cache)
    directory = find_start(config.start, data) if config.start is not None else None
    listed = _listed(config, data, directory.vocabulary if directory is not None else None)
    given = open_data(config, data, listed, JsonLinesLog(folder / "bad-samples.jsonl"))
    for source in (*given.sources, *given.validation):
        report(source.description)
    with first_process_first():  # The others find on disk what it has counted and embedded.
        start = begin(config, given, cache, directory, parser)
    given.tags = SampleTags(start.vocabulary, parser)
    report(f"{start.config.family}: {_millions(start.model)}, {len(start.vocabulary):,} tags")
    if is_lite:
        setup = lite.set_up(config, start, given, strategy, folder, cache, report)
    else:
        setup = families.set_up(config, start, given, strategy)
    task, batches = setup.task, setup.batches

    def step(model: nn.Module, number: int, stage: TrainingStage, share: Share) -> tuple[Tensor, dict[str, float]]:
        return model(batches.draw(number, stage, share), stage)

    def validate(model: nn.Module, final: bool) -> dict[str, float]:
        assert isinstance(model, RecognitionTask)
        model.objective.config = task.objective.config
        return setup.validator(model, final) if setup.validator is not None else {}

    loop = StreamLoop(config, task, step, validate, setup.steps_per_epoch, folder, report, strategy=strategy)
    loop.batches = batches
    try:
        if loop.resume():
            if _is_finished(folder, record, loop, report):
                return True
            report(f"resumed at step {loop.step}")
        changes = record.changes()
        for name, change in changes.items():
            report(f"changed since step {loop.step}: {name} {change}")
        lost = _look_at_data(config, given, setup, report) if strategy.is_first else []
        if strategy.is_first:
            record.begin(loop.step)
            if changes:
                loop.note({"changed": changes})
        finished = loop.run(stop_after)
    finally:
        batches.close()
        if parser is not None:
            parser.flush()
    kept = loop.averaged()
    if strategy.is_first:
        assert isinstance(kept, RecognitionTask)
        lost += _lost_on_the_way(batches.state(), report)
        figures = _last_figures(folder / "log.jsonl")
        card = model_card(config, start, given, figures, loop.step, setup.pictures, lost)
        write_model(folder / "model", kept.model, start, card, figures.get("threshold"), kept.encoder, setup.pictures)
        if finished:
            record.finish(loop.step)
    strategy.wait()
    return finished


def _is_finished(folder: Path, record: RunRecord, loop: StreamLoop, report: Report) -> bool:
    """Whether there is nothing left to do; the model may have been calibrated since, and is left alone."""
    if loop.step < loop.total_steps or not (folder / "model" / "config.json").is_file():
        return False
    if loop.step == loop.total_steps and record.finished_at is None and (folder / RUN_FILE).exists():
        return False  # It was stopped before its last figures and its model.
    if loop.step > loop.total_steps:
        report(
            f"this run has gone {loop.step:,} steps, more than the {loop.total_steps:,} that the recipe asks for now; "
            "nothing was changed"
        )
    else:
        report(
            f"this run is finished at step {loop.step:,}; nothing was changed. For more, raise the epochs of its last "
            "stage, or begin a new run"
        )
    return True


def _look_at_data(config: TrainingConfig, given: RunData, setup: Setup, report: Report) -> list[str]:
    """Report what cannot be learned from, and return it for the model card."""
    found = [line for source in given.sources for line in look_at(source, given.tags).lines()]
    if shared := shared_pictures(given.sources, given.validation, config.validation_pictures):
        found.append(f"{shared:,} validation pictures are training pictures as well; the figures will flatter")
    if config.batch_size > setup.pictures:
        found.append(
            f"a batch of {config.batch_size:,} holds samples more than once, for there are {setup.pictures:,}; set "
            "batch_size"
        )
    for line in found:
        report(f"warning: {line}")
    return found


def _lost_on_the_way(state: dict[str, Any], report: Report) -> list[str]:
    """What the stream could not read in the epoch that it is in."""
    bad, seen = state.get("health", {}).get("complete", (0, 0))
    if not bad:
        return []
    line = f"{bad:,} of the last epoch's {seen:,} samples could not be read (bad-samples.jsonl)"
    report(f"warning: {line}")
    return [line]


def _listed(config: TrainingConfig, data: Path, start: TagVocabulary | None) -> TagVocabulary | None:
    """The vocabulary that published lists may leave unsaid, where it is known before the data are read."""
    if start is not None and config.vocabulary.change == "keep":
        return start
    return read_vocabulary(find_path(config.vocabulary.tags, data)) if config.vocabulary.tags is not None else None


def _millions(model: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters"


def _last_figures(log: Path) -> dict[str, float]:
    """The figures of the last validation in a run's log; none before the first."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    found = [record["validation"] for record in records if "validation" in record]
    return found[-1] if found else {}
