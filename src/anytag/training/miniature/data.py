"""Data of the runs: features, captions, tags, and what each seed hides."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytag.errors import UsageError
from anytag.foundations.atomic_files import save_array
from anytag.foundations.report import Report
from anytag.language.parsing.parsed_captions import ParsedCaptions
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.vocabulary_builder import TagMapper, build_vocabulary
from anytag.language.tokenizers.tokenizer import CaptionTokenizer, build_caption_tokenizer
from anytag.language.tokenizers.wordpieces import bert_wordpieces
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.label_queries import label_text
from anytag.training.families.data_sources import files_matching
from anytag.training.families.label_embeddings import SentenceTexts
from anytag.training.lite.batches import TagPrompts
from anytag.training.miniature.config import CATEGORIES, MiniatureConfig
from anytag.training.miniature.features import Features, TokenEncoder, load_features

#: Templates of names, whose embeddings are averaged (CLIP's ensemble).
PROMPTS = ("{}", "a photo of a {}.", "there is a {} in the picture.", "a picture of a {} and other things.")

#: Maximum length of captions and tag lists, in word pieces.
LENGTH = 24


@dataclass(frozen=True)
class Hidden:
    """Ids of tags, and classes of ``world``, that one seed hides from training."""

    tags: NDArray[np.int64]
    classes: tuple[str, ...]


class MiniatureData:
    """Data that all runs share, cached in a folder.

    Args:
        data: Folder that its patterns are relative to.
        encoder: Encodes pictures; ``None``: the ImageNet encoder.

    Raises:
        UsageError: If a pattern matches nothing.
    """

    def __init__(
        self,
        config: MiniatureConfig,
        data: Path,
        cache: Path,
        report: Report = print,
        encoder: TokenEncoder | None = None,
    ):
        self.config, self.cache, self.report = config, cache, report
        self._sentences = SentenceTexts()
        cache.mkdir(parents=True, exist_ok=True)

        def load(patterns: Sequence[str]) -> tuple[Features, list[Path]]:
            shards = [path for pattern in patterns for path in files_matching(pattern, data)]
            return load_features(shards, cache / "features", report, encoder, config.limit), shards

        self.coco, _ = load(config.train)
        self.choose, _ = load(config.choose)
        self.judged, _ = load(config.report)
        world, shards = load(config.world)
        self._classes = _world_classes(shards)
        self.world_train = world.take(lambda record: int(record["id"]) % 8 != 0)
        self.world_judged = world.take(lambda record: int(record["id"]) % 8 == 0)

    @cached_property
    def world_classes(self) -> tuple[str, ...]:
        return tuple(sorted({word for _, word in self._classes.values()}))

    def _word(self, record: dict[str, Any]) -> str:
        return self._classes[record["source"]][1]

    @cached_property
    def captions(self) -> list[str]:
        """A caption of every training picture: COCO's, then the class words of ``world``."""
        return [r["captions"][0] for r in self.coco.records] + [self._word(r) for r in self.world_train.records]

    @cached_property
    def parser(self) -> ParsedCaptions:
        return ParsedCaptions(load_parser("light"), self.cache)

    @cached_property
    def vocabulary(self) -> TagVocabulary:
        return build_vocabulary(self.parser.parse_many(self.captions), self.config.min_support, imagenet=False)

    @cached_property
    def _mapper(self) -> TagMapper:
        return TagMapper(self.vocabulary)

    def tags(self, captions: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the ids that each caption names, and those that they imply."""
        return [np.array(sorted(self._mapper(parsed)), np.int64) for parsed in self.parser.parse_many(captions)]

    def tag_table(self, captions: Sequence[str]) -> NDArray[np.bool_]:
        """Return the same as a table, ``[N, T]``."""
        table = np.zeros((len(captions), len(self.vocabulary)), np.bool_)
        for row, ids in zip(table, self.tags(captions), strict=True):
            row[ids] = True
        return table

    @cached_property
    def train_tags(self) -> list[NDArray[np.int64]]:
        return self.tags(self.captions)

    @cached_property
    def tokenizer(self) -> CaptionTokenizer:
        return build_caption_tokenizer(bert_wordpieces(), self.captions)

    @cached_property
    def prompts(self) -> TagPrompts:
        return TagPrompts(self.vocabulary, self.tokenizer, LENGTH)

    @cached_property
    def caption_ids(self) -> list[list[int]]:
        return [self.tokenizer.encode_caption(caption, LENGTH) for caption in self.captions]

    @cached_property
    def caption_embeddings(self) -> Tensor:
        """Sentence embeddings of the training captions, ``[captions, D]``."""
        return self.embed(self.captions, "caption-embeddings.npy")

    @cached_property
    def label_embeddings(self) -> Tensor:
        """Embeddings of the vocabulary's tags for label queries, ``[T, D]``."""
        texts = [label_text(tag.name, tag.kind) for tag in self.vocabulary]
        return self.embed(texts, f"label-embeddings-{len(texts)}.npy")

    def prompt_embeddings(self, names: Sequence[str]) -> Tensor:
        """Return normalized means over :data:`PROMPTS`, ``[names, D]``."""
        texts = [prompt.format(name) for name in names for prompt in PROMPTS]
        return torch.nn.functional.normalize(self.embed(texts).unflatten(0, (len(names), -1)).mean(1), dim=-1)

    def embed(self, texts: Sequence[str], file: str | None = None) -> Tensor:
        """Return sentence embeddings, cached in a file if one is named."""
        path = None if file is None else self.cache / file
        if path is not None and path.exists():
            array = np.load(path)
            if len(array) == len(texts):
                return torch.from_numpy(array)
        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        embedded = self._sentences.embed(list(distinct))[[distinct[text] for text in texts]]
        if path is not None:
            save_array(path, embedded)
        return torch.from_numpy(embedded)

    @cached_property
    def categories(self) -> list[int]:
        """Tag ids of the human categories.

        Raises:
            UsageError: If the vocabulary lacks one: there are too few training pictures.
        """
        found = {name: self.vocabulary.find(name) for name in CATEGORIES}
        if missing := [name for name, tag in found.items() if tag is None]:
            raise UsageError(f"too few training captions name {', '.join(missing)}; give more shards")
        return [tag.id for tag in found.values() if tag is not None]

    def category_truth(self, features: Features) -> NDArray[np.bool_]:
        """Return the human labels, ``[N, 18]``."""
        return np.array([[name in record["labels"] for name in CATEGORIES] for record in features.records])

    def world_truth(self, features: Features) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the class of each picture of ``world``, ``[N, classes]``, and which classes are known.

        Known are those of its own collection: the other classes of that collection are nearly always absent.
        """
        column = {word: place for place, word in enumerate(self.world_classes)}
        members: dict[str, set[str]] = {}
        for collection, word in self._classes.values():
            members.setdefault(collection, set()).add(word)
        truth = np.zeros((len(features), len(column)), np.bool_)
        known = np.zeros_like(truth)
        for row, record in enumerate(features.records):
            collection, word = self._classes[record["source"]]
            truth[row, column[word]] = True
            known[row, [column[other] for other in members[collection]]] = True
        return truth, known

    def hidden(self, seed: int) -> Hidden:
        """Choose what a seed hides: neither human categories nor tags that they imply."""
        rng = np.random.default_rng((seed, 7))
        spared = self.vocabulary.with_implied(self.categories)
        known = [t.id for t in self.vocabulary if t.support >= self.config.hidden_support and t.id not in spared]
        count = min(self.config.hidden_tags, len(known) // 2)
        tags = np.sort(rng.choice(np.array(known, np.int64), count, replace=False)) if count else np.empty(0, np.int64)
        few = min(self.config.hidden_classes, len(self.world_classes) // 2)
        return Hidden(tags, tuple(sorted(rng.choice(self.world_classes, few, replace=False).tolist())))

    def training_rows(self, hidden: Hidden) -> NDArray[np.int64]:
        """Return the rows of the training pictures, COCO's first, without those of hidden classes."""
        left_out = set(hidden.classes)
        kept = [n for n, r in enumerate(self.world_train.records, len(self.coco)) if self._word(r) not in left_out]
        return np.array([*range(len(self.coco)), *kept], np.int64)

    def tokens(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_] | None = None) -> Tensor:
        """Return tokens of training pictures; see :meth:`Features.tokens`."""
        return self._training.tokens(rows, mirrored)

    @cached_property
    def _training(self) -> Features:
        return Features(self.coco.records + self.world_train.records, self.coco.shards + self.world_train.shards)


def _world_classes(shards: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """Read the collection and the class word of each picture, by its source, from the shards' JSON members."""
    classes = {}
    for shard in shards:
        with tarfile.open(shard, "r:") as archive:
            members = archive.getmembers()
            stems = {m.name.rpartition(".")[0]: m.name for m in members if not m.name.endswith(".json")}
            for member in members:
                if member.name.endswith(".json"):
                    handle = archive.extractfile(member)
                    assert handle is not None
                    record = json.load(handle)
                    picture = stems[member.name.rpartition(".")[0]]
                    classes[f"{shard.name}:{picture}"] = (str(record["collection"]), str(record["label"]))
    return classes
