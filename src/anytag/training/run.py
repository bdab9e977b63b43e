"""A training run of any family, from data to a model directory: what ``anytag train`` does."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor, nn

from anytag.datasets.health import JsonLinesLog
from anytag.foundations.report import Report
from anytag.language.parsing.parsed_captions import ParsedCaptions
from anytag.language.parsing.parser import load_parser
from anytag.model.vocabulary import TagVocabulary
from anytag.training.engine.distributed import Share, connect, first_process_first
from anytag.training.engine.stream_resume import StreamLoop
from anytag.training.families import setup as families
from anytag.training.families.batches import SampleTags
from anytag.training.families.data_sources import find_path, open_data
from anytag.training.families.initialization import begin, find_start
from anytag.training.families.model_files import model_card, write_model
from anytag.training.families.task import RecognitionTask
from anytag.training.families.vocabularies import read_vocabulary
from anytag.training.lite import setup as lite
from anytag.training.recipes.config import LiteConfig, TrainingConfig, TrainingStage


def train(
    config: TrainingConfig,
    data: Path,
    folder: Path,
    report: Report = print,
    stop_after: float | None = None,
    cache: Path | None = None,
) -> bool:
    """Run a recipe, or go on with it.

    The run folder receives the recipe (``recipe.json``), the log (``log.jsonl``), samples that could not be read
    (``bad-samples.jsonl``), checkpoints, and the model (``model/``), which ``anytag.load(…, backend="torch")`` opens.
    Under ``torchrun`` every process calls this.

    Args:
        config: The recipe.
        data: Folder that its paths start at.
        folder: The run folder; one that is there is taken up where it stopped.
        report: Receives progress.
        stop_after: Stop after this many seconds of training, with a checkpoint.
        cache: Folder for what is made once: parsed captions, text embeddings, cached features; ``None``: in the run
            folder.

    Returns:
        Whether the run reached its end.

    Raises:
        UsageError: If the recipe asks for what the data, the model or the teacher do not have.
        ModelError: If weights do not fit.
        DataError: If too many samples cannot be read.
    """
    is_lite = isinstance(config.objective, LiteConfig)
    strategy = connect(config.parallel, lite.DEVICE if is_lite else "auto")
    report = report if strategy.is_first else lambda line: None
    folder.mkdir(parents=True, exist_ok=True)
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

    if strategy.is_first:
        (folder / "recipe.json").write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    loop = StreamLoop(config, task, step, validate, setup.steps_per_epoch, folder, report, strategy=strategy)
    loop.batches = batches
    if loop.resume():
        report(f"resumed at step {loop.step}")
    try:
        finished = loop.run(stop_after)
    finally:
        batches.close()
        if parser is not None:
            parser.flush()
    kept = loop.averaged()
    if strategy.is_first:
        assert isinstance(kept, RecognitionTask)
        figures = _last_figures(folder / "log.jsonl")
        card = model_card(config, start, given, figures, loop.step, setup.pictures)
        write_model(folder / "model", kept.model, start, card, figures.get("threshold"), kept.encoder, setup.pictures)
    strategy.wait()
    return finished


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
