"""Prepare a run: check the recipe, open the data, choose the vocabulary, and initialize the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from anytag.datasets.bad_samples import JsonLinesLog
from anytag.datasets.contents import digest_contents
from anytag.datasets.sources import contents_of, refuse_other_data
from anytag.errors import UsageError
from anytag.foundations.folder_locks import taking_turns
from anytag.foundations.report import Report
from anytag.language.parsing.parsed_captions import ParsedCaptions
from anytag.language.parsing.parser import load_parser
from anytag.model.vocabulary import TagVocabulary
from anytag.training.engine.distributed import Strategy, first_process_first
from anytag.training.engine.loggers import open_logger
from anytag.training.engine.task import Setup
from anytag.training.families import setup as families
from anytag.training.families.batches import SampleTags
from anytag.training.families.data_sources import RunData, files_matching, find_path, open_data
from anytag.training.families.initialization import InitialModel, find_start, initialize_model
from anytag.training.families.setup import count_samples
from anytag.training.families.vocabularies import read_vocabulary
from anytag.training.lite import setup as lite
from anytag.training.recipes.config import SENTENCE_ENCODER, LiteConfig, TrainingConfig

#: Loss components that only some objectives have.
_PARTS = ("captioning", "contrast", "matching", "distillation", "alignment")


@dataclass
class PreparedRun:
    """The data and the initial model of a run."""

    config: TrainingConfig
    run_data: RunData
    start: InitialModel
    folder: Path
    cache: Path
    parser: ParsedCaptions | None

    @property
    def is_lite(self) -> bool:
        """Whether the run has the ``lite`` objective, which trains on cached features."""
        return isinstance(self.config.objective, LiteConfig)

    @property
    def reads_cache(self) -> bool:
        """Whether stages read cached features of all pictures, which take long to compute."""
        return any(stage.cached != "nothing" for stage in self.config.stages)

    def set_up(self, strategy: Strategy, place: torch.device, report: Report) -> Setup:
        """Set up task, batches and validation, after computing missing features.

        Raises:
            UsageError: If the recipe does not fit the data, the model or the teacher.
        """
        if self.is_lite:
            return lite.set_up(self.config, self.start, self.run_data, strategy, self.folder, self.cache, report)
        return families.set_up(self.config, self.start, self.run_data, strategy, place, self.cache, report)

    @cached_property
    def made_of(self) -> dict[str, Any]:
        """Digests of everything that the run trains and validates on, which change with the content."""
        tags = json.dumps([[tag.name, tag.kind] for tag in self.start.vocabulary])
        texts = [path for pattern in self.config.texts for path in files_matching(pattern, self.run_data.folder)]
        if (named := self.config.teacher.descriptions) is not None:
            texts.append(find_path(named, self.run_data.folder))
        return {
            "data": contents_of(self.run_data.sources),
            "texts": digest_contents(texts),
            "tags": hashlib.blake2b(tags.encode(), digest_size=8).hexdigest(),
            "validation": contents_of(self.run_data.validation),
        }

    def refuse_other(self, before: Mapping[str, Any], report: Report) -> None:
        """Refuse to resume with other data or tags.

        Args:
            before: :attr:`made_of` when the run began; missing entries are not compared.
            report: Receives a warning about other validation pictures, which change the metrics only.

        Raises:
            UsageError: If data, texts or tags have changed.
        """
        now = self.made_of
        refuse_other_data(self.run_data.sources, before.get("data", {}))
        for name, what in (("texts", "captions or descriptions"), ("tags", "the tags of the model")):
            if before.get(name, now[name]) != now[name]:
                raise UsageError(
                    f"{what} have changed since the run began, and what it has learned would stand for something else. "
                    "Restore what they were, or begin a new run"
                )
        if before.get("validation", now["validation"]) != now["validation"]:
            report("warning: the validation data have changed since; figures before and after cannot be compared")

    def close(self) -> None:
        """Save the parsed captions."""
        if self.parser is not None:
            self.parser.flush()


def filling(cache: Path, report: Report) -> AbstractContextManager[None]:
    """Lock a cache, which several runs may share, while filling it."""
    return taking_turns(cache, "another run fills this cache", report)


def prepare(config: TrainingConfig, data: Path, folder: Path, cache: Path | None, report: Report) -> PreparedRun:
    """Check the recipe, open the data, choose the vocabulary, and initialize the model.

    Arguments are those of :func:`~anytag.training.run.train`.

    Raises:
        UsageError: If the recipe does not fit the data or the model.
        ModelError: If weights do not fit.
        MissingExtraError: If a logger is not installed.
    """
    _check_recipe(config, data, folder)
    cache = cache or folder / "cache"
    parser = None if config.parser == "none" else ParsedCaptions(load_parser(config.parser), cache)
    directory = find_start(config.start, data) if config.start is not None else None
    listed = _listed(config, data, directory.vocabulary if directory is not None else None)
    run_data = open_data(config, data, listed, JsonLinesLog(folder / "bad-samples.jsonl"))
    for source in (*run_data.sources, *run_data.validation):
        report(source.description)
    if not isinstance(config.objective, LiteConfig):
        count_samples(config, run_data.sources)  # Fails if the number is unknown, before captions are parsed.
    with first_process_first():  # The others find vocabulary and embeddings on disk.
        start = initialize_model(config, run_data, cache, directory, parser)
    run_data.tags = SampleTags(start.vocabulary, parser)
    millions = sum(parameter.numel() for parameter in start.model.parameters()) / 1e6
    report(f"{start.config.family}: {millions:.1f} M parameters, {len(start.vocabulary):,} tags")
    return PreparedRun(config, run_data, start, folder, cache, parser)


def _check_recipe(config: TrainingConfig, data: Path, folder: Path) -> None:
    """Check what needs no data, since reading them may take hours."""
    teacher = config.teacher
    named = [teacher.clip, teacher.cached, teacher.texts, teacher.descriptions, config.image_weights]
    for path in (*named, config.text_weights, config.vocabulary.tags):
        if path is not None and path != SENTENCE_ENCODER:
            find_path(path, data)
    for pattern in config.texts:
        files_matching(pattern, data)
    for kind in config.loggers:
        open_logger(kind, folder)
    _check_best_metric(config)
    distills = any(getattr(used, "distillation", 0.0) for used in config.objectives)
    if distills and not isinstance(config.objective, LiteConfig) and teacher.cached is None and teacher.clip is None:
        raise UsageError(
            "distillation needs a teacher; name a CLIP directory as teacher.clip, or set objective.distillation=0"
        )


def _check_best_metric(config: TrainingConfig) -> None:
    metric = config.best_metric
    if metric is None:
        return
    if not config.validation:
        raise UsageError(f"best_metric={metric} is of validation pictures; name some as validation")
    part = "captioning" if metric == "cider" else "contrast" if "recall" in metric else metric
    if part in _PARTS and not hasattr(config.objective, part):
        kind = type(config.objective).__name__
        raise UsageError(f"best_metric={metric}: {kind} has no {part}, so that validation has no such figure")


def _listed(config: TrainingConfig, data: Path, start: TagVocabulary | None) -> TagVocabulary | None:
    """The vocabulary of official lists without names, if it is known before the data are read."""
    if start is not None and config.vocabulary.change == "keep":
        return start
    return read_vocabulary(find_path(config.vocabulary.tags, data)) if config.vocabulary.tags is not None else None
