"""Run a recipe, from data to a model directory, for ``anytag train``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from anytag.foundations.folder_locks import only_writer
from anytag.foundations.report import Report
from anytag.model.directory import CURVES_FILE, RUN_FILE
from anytag.teaching.config import TeachingConfig
from anytag.teaching.teach import teach
from anytag.training.engine.distributed import Share, connect, find_place
from anytag.training.engine.loop import TrainingLoop
from anytag.training.engine.task import Setup
from anytag.training.families.data_findings import check_source, shared_pictures
from anytag.training.families.data_sources import RunData
from anytag.training.families.model_files import model_card, write_model
from anytag.training.families.task import RecognitionTask
from anytag.training.lite import setup as lite
from anytag.training.prepared_run import filling, prepare
from anytag.training.recipes.config import LiteConfig, TrainingConfig, TrainingStage
from anytag.training.run_record import RunRecord, check_folders


def train(
    config: TrainingConfig | TeachingConfig,
    data: Path,
    folder: Path,
    report: Report = print,
    stop_after: float | None = None,
    cache: Path | None = None,
    settings: Sequence[str] | None = None,
    device: str | None = None,
) -> bool:
    """Run or resume a recipe.

    The run folder contains the recipe (``recipe.json``), the record of the run (``run.json``), the log (``log.jsonl``),
    its curves (``curves.svg``), unreadable samples (``bad-samples.jsonl``), checkpoints, and from the first validation
    on the model (``model/``), which ``anytag.load(…, backend="torch")`` opens. Under ``torchrun`` every process calls
    this function.

    Args:
        config: A training recipe, or one that teaches a model tags.
        data: Folder that its paths are relative to.
        folder: The run folder; an existing run is resumed.
        report: Receives progress.
        stop_after: Stop after this many seconds of training, with a checkpoint.
        cache: Folder of cached results (parsed captions, text embeddings, features); ``None``: in the run folder.
        settings: Settings from the command line, to be recorded.
        device: ``cpu``, ``cuda:1``, …; ``None``: the accelerator, if there is one.

    Returns:
        Whether the run reached its end. A finished run is not changed.

    Raises:
        UsageError: If the recipe does not fit the data, the model or the teacher.
        ModelError: If weights do not fit.
        DataError: If too many samples cannot be read.
        StoppedBySignalError: If a signal stopped the run, with a checkpoint.
    """
    check_folders(data, folder)
    first = int(os.environ.get("RANK", "0")) == 0
    alone = only_writer(folder, "another run trains", "give another run folder") if first else nullcontext()
    with alone:
        if isinstance(config, TeachingConfig):
            return _teach(config, data, folder, report, settings)
        return _train(config, data, folder, report, stop_after, cache, settings, device)


def _teach(
    config: TeachingConfig, data: Path, folder: Path, report: Report, settings: Sequence[str] | None
) -> Literal[True]:
    """Teach tags, which takes a minute: nothing is resumed, and a finished run is not changed."""
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
    device: str | None,
) -> bool:
    place = find_place(device, lite.DEVICE if isinstance(config.objective, LiteConfig) else None)
    strategy = connect(config.parallel, place)
    report = report if strategy.is_first else lambda line: None
    folder.mkdir(parents=True, exist_ok=True)
    record = RunRecord(folder, config, data, strategy.world, settings, str(place))
    with filling(cache or folder / "cache", report) if strategy.is_first else nullcontext():
        prepared = prepare(config, data, folder, cache, report)
        setup = prepared.set_up(strategy, place, report)
    run_data, start = prepared.run_data, prepared.start
    task, batches = setup.task, setup.batches
    lost: list[str] = []
    distinct = ""

    def step(model: nn.Module, number: int, stage: TrainingStage, share: Share) -> tuple[Tensor, dict[str, float]]:
        return model(batches.draw(number, stage, share), stage)

    def validate(model: nn.Module, final: bool) -> dict[str, float]:
        assert isinstance(model, RecognitionTask)
        model.objective.config = task.objective.config
        return setup.validator(model, final) if setup.validator is not None else {}

    def keep(model: nn.Module, figures: dict[str, float], step: int | None = None) -> None:
        assert isinstance(model, RecognitionTask)
        learned = loop.step if step is None else step
        card = model_card(config, start, run_data, figures, learned, setup.pictures, lost, distinct)
        threshold, curves = figures.get("threshold"), folder / CURVES_FILE
        write_model(folder / "model", model.model, start, card, threshold, model.encoder, setup.pictures, curves)

    loop = TrainingLoop(
        config,
        task,
        step,
        validate,
        setup.steps_per_epoch,
        folder,
        report,
        strategy=strategy,
        keep=keep,
        batches=batches,
    )
    try:
        prepared.refuse_other(record.made_of, report)
        if loop.resume():
            if _is_finished(folder, record, loop, report):
                return True
            report(f"resumed at step {loop.step}")
        changes = record.changes()
        for name, change in changes.items():
            report(f"changed since step {loop.step}: {name} {change}")
        if strategy.is_first:
            found, distinct = _check_data(config, run_data, setup, report)
            lost += found
            record.begin(loop.step, prepared.made_of)
            if changes:
                loop.note({"changed": changes})
        finished = loop.run(stop_after)
    finally:
        batches.close()
        prepared.close()
    kept = loop.kept()
    if strategy.is_first:
        lost += _unreadable_samples(batches.state(), report)
        step_kept, figures = loop.keeper.figures(loop.step)
        keep(kept, figures, step_kept)
        if finished:
            record.finish(loop.step)
    strategy.wait()
    return finished


def _is_finished(folder: Path, record: RunRecord, loop: TrainingLoop, report: Report) -> bool:
    """Whether there is nothing left to do; the model, which may have been calibrated since, is not changed."""
    if not loop.is_over() or not (folder / "model" / "config.json").is_file():
        return False
    if loop.step <= loop.total_steps and record.finished_at is None and (folder / RUN_FILE).exists():
        return False  # It was stopped before the final validation and the model.
    if loop.step > loop.total_steps:
        report(
            f"this run has gone {loop.step:,} steps, more than the {loop.total_steps:,} that the recipe asks for now; "
            "nothing was changed"
        )
    elif loop.step < loop.total_steps:
        report(
            f"this run is finished: it stopped at step {loop.step:,} without a better {loop.config.best_metric}; "
            "nothing was changed. For more, raise patience, or begin a new run"
        )
    else:
        report(
            f"this run is finished at step {loop.step:,}; nothing was changed. For more, raise the epochs of its last "
            "stage, or begin a new run"
        )
    return True


def _check_data(config: TrainingConfig, run_data: RunData, setup: Setup, report: Report) -> tuple[list[str], str]:
    """Report problems of the data; return them, and the number of distinct pictures, for the model card."""
    findings = [check_source(source, run_data.tags, config.tags) for source in run_data.sources]
    found = [line for each in findings for line in each.lines()]
    if shared := shared_pictures(run_data.sources, run_data.validation, config.validation_pictures):
        found.append(f"{shared:,} validation pictures are training pictures as well; the figures will flatter")
    if config.batch_size > setup.pictures:
        found.append(
            f"a batch of {config.batch_size:,} holds samples more than once, for there are {setup.pictures:,}; set "
            "batch_size"
        )
    for line in found:
        report(f"warning: {line}")
    distinct = len(set().union(*(each.pictures for each in findings)))
    return found, f"Of {sum(each.usable for each in findings):,} that were checked, {distinct:,} are distinct."


def _unreadable_samples(state: dict[str, Any], report: Report) -> list[str]:
    """Report the samples that the stream could not read in the last epoch."""
    bad, seen = state.get("health", {}).get("complete", (0, 0))
    if not bad:
        return []
    line = f"{bad:,} of the last epoch's {seen:,} samples could not be read (bad-samples.jsonl)"
    report(f"warning: {line}")
    return [line]
