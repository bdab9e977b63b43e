"""What a run begins with, before its first step and before it is known whether there will be one."""

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
from torch import nn

from anytag.datasets.bad_samples import JsonLinesLog
from anytag.datasets.contents import digest_contents
from anytag.datasets.sources import contents_of, refuse_other_data
from anytag.errors import UsageError
from anytag.foundations.folder_locks import taking_turns
from anytag.foundations.report import Report
from anytag.language.parsing.parsed_captions import ParsedCaptions
from anytag.language.parsing.parser import load_parser
from anytag.model.vocabulary import TagVocabulary
from anytag.training.early_checks import check_early
from anytag.training.engine.distributed import Strategy, first_process_first
from anytag.training.engine.task import Setup
from anytag.training.families import setup as families
from anytag.training.families.batches import SampleTags
from anytag.training.families.data_sources import RunData, files_matching, find_path, open_data
from anytag.training.families.initialization import Start, begin, find_start
from anytag.training.families.setup import count_samples
from anytag.training.families.vocabularies import read_vocabulary
from anytag.training.lite import setup as lite
from anytag.training.recipes.config import LiteConfig, TrainingConfig


@dataclass
class PreparedRun:
    """The data and the model of a run.

    Attributes:
        config: The recipe.
        given: Its data, with the tags that samples have.
        start: Model and vocabulary.
        folder: The run folder.
        cache: Folder for what is made once.
        parser: Reads captions, if somebody does.
    """

    config: TrainingConfig
    given: RunData
    start: Start
    folder: Path
    cache: Path
    parser: ParsedCaptions | None

    @property
    def is_lite(self) -> bool:
        """Whether the run has the ``lite`` objective, which reads features from a cache."""
        return isinstance(self.config.objective, LiteConfig)

    @property
    def reads_cache(self) -> bool:
        """Whether stages read features of all pictures from the cache, which takes time to fill."""
        return any(stage.cached != "nothing" for stage in self.config.stages)

    def set_up(self, strategy: Strategy, place: torch.device, report: Report) -> Setup:
        """Task, batches and validation; this fills the cache of features first.

        Raises:
            UsageError: If the recipe asks for what the data, the model or the teacher do not have.
        """
        if self.is_lite:
            return lite.set_up(self.config, self.start, self.given, strategy, self.folder, self.cache, report)
        return families.set_up(self.config, self.start, self.given, strategy, place, self.cache, report)

    @cached_property
    def made_of(self) -> dict[str, Any]:
        """What the run learns from and is measured on, in digests: the same as long as nobody has changed it."""
        tags = json.dumps([[tag.name, tag.kind] for tag in self.start.vocabulary])
        texts = [path for pattern in self.config.texts for path in files_matching(pattern, self.given.folder)]
        if (named := self.config.teacher.descriptions) is not None:
            texts.append(find_path(named, self.given.folder))
        return {
            "data": contents_of(self.given.sources),
            "texts": digest_contents(texts),
            "tags": hashlib.blake2b(tags.encode(), digest_size=8).hexdigest(),
            "validation": contents_of(self.given.validation),
        }

    def refuse_other(self, before: Mapping[str, Any], report: Report) -> None:
        """Refuse to go on with other data or tags than those that the run began with.

        Args:
            before: What :attr:`made_of` was then; what it does not hold is not compared.
            report: Is told of other validation pictures: the run learns the same, but measures something else.

        Raises:
            UsageError: If data, texts or tags have changed.
        """
        now = self.made_of
        refuse_other_data(self.given.sources, before.get("data", {}))
        for name, what in (("texts", "captions or descriptions"), ("tags", "the tags of the model")):
            if before.get(name, now[name]) != now[name]:
                raise UsageError(
                    f"{what} have changed since the run began, and what it has learned would stand for something else. "
                    "Restore what they were, or begin a new run"
                )
        if before.get("validation", now["validation"]) != now["validation"]:
            report("warning: the validation data have changed since; figures before and after cannot be compared")

    def close(self) -> None:
        """Keep what the parser has read."""
        if self.parser is not None:
            self.parser.flush()


def filling(cache: Path, report: Report) -> AbstractContextManager[None]:
    """Fill a cache, which several runs may share, while no other run does."""
    return taking_turns(cache, "another run fills this cache", report)


def prepare(config: TrainingConfig, data: Path, folder: Path, cache: Path | None, report: Report) -> PreparedRun:
    """Open the data, choose the vocabulary, make the model.

    Args:
        config: The recipe.
        data: Folder that its paths start at.
        folder: The run folder.
        cache: Folder for what is made once; ``None``: in the run folder.
        report: Receives progress.

    Raises:
        UsageError: If the recipe asks for what the data or the model do not have.
        ModelError: If weights do not fit.
    """
    check_early(config, data, folder)
    cache = cache or folder / "cache"
    parser = None if config.parser == "none" else ParsedCaptions(load_parser(config.parser), cache)
    directory = find_start(config.start, data) if config.start is not None else None
    listed = _listed(config, data, directory.vocabulary if directory is not None else None)
    given = open_data(config, data, listed, JsonLinesLog(folder / "bad-samples.jsonl"))
    for source in (*given.sources, *given.validation):
        report(source.description)
    if not isinstance(config.objective, LiteConfig):
        count_samples(config, given.sources)  # Whether somebody knows how many there are comes before parsing them.
    with first_process_first():  # The others find on disk what it has counted and embedded.
        start = begin(config, given, cache, directory, parser)
    given.tags = SampleTags(start.vocabulary, parser)
    report(f"{start.config.family}: {_millions(start.model)}, {len(start.vocabulary):,} tags")
    return PreparedRun(config, given, start, folder, cache, parser)


def _listed(config: TrainingConfig, data: Path, start: TagVocabulary | None) -> TagVocabulary | None:
    """The vocabulary that official lists may leave unsaid, where it is known before the data are read."""
    if start is not None and config.vocabulary.change == "keep":
        return start
    return read_vocabulary(find_path(config.vocabulary.tags, data)) if config.vocabulary.tags is not None else None


def _millions(model: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters"
