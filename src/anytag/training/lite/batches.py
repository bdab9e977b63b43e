"""Batches of the ``lite`` objective: cached features with tags and captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anytag.errors import UsageError
from anytag.language.tokenizers.padding import padded
from anytag.language.tokenizers.tokenizer import CaptionTokenizer
from anytag.model.vocabulary import TagVocabulary
from anytag.training.engine.distributed import Share
from anytag.training.engine.task import Batches, Shared
from anytag.training.families.batch import Batch
from anytag.training.families.feature_cache import CachedShard
from anytag.training.lite.feature_cache import PictureReader
from anytag.training.recipes.config import LiteConfig, TrainingConfig, TrainingStage

_Numbers = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class CaptionRecord:
    """A caption: its token ids, and the vocabulary ids of its tags."""

    ids: list[int]
    tags: tuple[int, ...]


@dataclass(frozen=True)
class PictureRecord:
    """A picture: its tags, with implied ones, its captions, and the rows of their sentence embeddings."""

    tags: np.ndarray
    captions: list[CaptionRecord]
    text_embeddings: range


class TrainingPairs:
    """Random access to the cached maps and annotations of pictures, in the order of the shards' records.

    Sentence embeddings ``[captions, D]`` are indexed by ``PictureRecord.text_embeddings``.
    """

    def __init__(self, shards: Sequence[CachedShard], pictures: Sequence[PictureRecord], caption_embeddings: Tensor):
        self.pictures = pictures
        self.caption_embeddings = caption_embeddings
        self._places = [(shard, row) for shard in shards for row in range(len(shard.records))]
        if len(self._places) != len(pictures):
            raise ValueError(f"{len(self._places)} cached pictures but {len(pictures)} annotated ones")

    def __len__(self) -> int:
        return len(self.pictures)

    def maps(self, indices: _Numbers, views: _Numbers, flips: Sequence[bool] | np.ndarray) -> Tensor:
        """Return stride-16 maps ``[B, C, H, W]``, float32, channels-last; ``flips`` mirrors a map left to right."""
        rows = []
        for index, view, flip in zip(indices, views, flips, strict=True):
            shard, row = self._places[index]
            features = shard.maps[view][row]
            rows.append(features[:, ::-1] if flip else features)
        return torch.from_numpy(np.stack(rows)).float().permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class LiteBatch(Batch):
    """A batch of the ``lite`` objective, with ``tags`` for ``tag_ids`` only.

    Attributes:
        indices: Numbers of the pictures, ``[B]``.
        views: Cached view of each picture, ``[B]``.
        rows: Picture (0 … B − 1) of each caption, ``[C]``; at least one caption each.
        caption_tags: Per caption, the ids of its own tags.
        guidance: Per caption, the tags that guide it: ``"none"``, ``"given"`` (its own) or ``"found"`` (recognized).
        found_counts: Per caption, the number of top-scored tags for ``"found"``.
        found_shifts: Per caption, a shift of the threshold of cached ``"found"`` tags, in (-1, 1) log-odds.
        lone_captions: Ids ``[D, L]`` of captions without pictures; may be empty.
        lone_tags: Per such caption, the ids of its tags.
    """

    indices: np.ndarray
    views: np.ndarray
    rows: Tensor
    caption_tags: list[tuple[int, ...]]
    guidance: list[str]
    found_counts: list[int]
    found_shifts: list[float]
    lone_captions: Tensor
    lone_tags: list[tuple[int, ...]]


class LiteBatches(Batches):
    """Draws batches that depend on the step only, so that a run resumes exactly.

    ``texts`` are captions without pictures, ``tags`` the size of the vocabulary; ``reader`` is for stages that train on
    pixels.

    Raises:
        UsageError: If there are fewer pictures than ``batch_size``.
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        texts: Sequence[CaptionRecord],
        tags: int,
        config: TrainingConfig,
        reader: PictureReader | None = None,
    ):
        self.pairs, self.texts, self.tags, self.config, self.reader = pairs, texts, tags, config, reader
        self.batch_size, self.seed = config.batch_size, config.seed
        self._several = np.array([i for i, p in enumerate(pairs.pictures) if len(p.captions) > 1])
        self.steps_per_epoch = len(pairs) // self.batch_size
        if not self.steps_per_epoch:
            raise UsageError(f"batch_size {self.batch_size} is more than the {len(pairs)} training pictures")

    def indices(self, step: int, several: float = 0.0) -> np.ndarray:
        """Draw the pictures of a step; every epoch is a new permutation, whose last partial batch is dropped.

        A share ``several`` of the batch is drawn from pictures with several captions, if there are any.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self.seed, 1, epoch)).permutation(len(self.pairs))
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        if count := min(round(several * self.batch_size), len(self._several)):
            epoch, place = divmod(step, len(self._several) // count)
            order = np.random.default_rng((self.seed, 3, epoch)).permutation(self._several)
            chosen = np.concatenate([order[place * count : (place + 1) * count], chosen[: len(chosen) - count]])
        return chosen

    def draw(self, step: int, stage: TrainingStage, share: Share | None = None) -> LiteBatch:
        """Draw the batch of a step, counted over the whole run; ``share``: the part of it, ``None``: all."""
        objective = stage.objective or self.config.objective
        assert isinstance(objective, LiteConfig)
        share = share or Share()
        rng = np.random.default_rng((self.seed, 2, step, share.index) if share.index else (self.seed, 2, step))
        chosen = self.indices(step, stage.several)[share.rows(self.batch_size)]
        pictures = [self.pairs.pictures[i] for i in chosen]
        views = min(stage.views or self.config.views, self.config.views)
        drawn, flips = rng.integers(0, views, len(chosen)), rng.random(len(chosen)) < 0.5
        maps = self.pairs.maps(chosen, drawn, flips) if stage.cached == "maps" else None
        positives = np.unique(np.concatenate([p.tags for p in pictures]))
        sampled = rng.choice(self.tags, min(objective.negatives, self.tags), replace=False)
        tag_ids = np.union1d(positives, sampled).astype(np.int64)
        targets = np.stack([np.isin(tag_ids, p.tags) for p in pictures])
        which = [rng.permutation(len(p.captions))[: stage.captions] for p in pictures]
        captions = [p.captions[k] for p, ks in zip(pictures, which, strict=True) for k in ks]
        embedded = [p.text_embeddings[ks[0]] for p, ks in zip(pictures, which, strict=True)]
        none, found = objective.no_tags, objective.no_tags + objective.found_tags
        draw = rng.random(len(captions))
        guidance = ["none" if d < none else "found" if d < found else "given" for d in draw]
        count = min(self.config.text_batch_size // share.count, len(self.texts))
        texts = [self.texts[i] for i in rng.integers(0, len(self.texts), count)] if count else []
        return LiteBatch(
            pixels=self.reader.batch(chosen, step) if stage.cached == "nothing" and self.reader else None,
            maps=maps,
            indices=chosen,
            views=drawn,
            tag_ids=torch.from_numpy(tag_ids),
            tags=torch.from_numpy(targets),
            text_embeddings=self.pairs.caption_embeddings[torch.tensor(embedded)],
            rows=torch.from_numpy(np.repeat(np.arange(len(which)), [len(ks) for ks in which])),
            captions=pad([c.ids for c in captions]),
            caption_tags=[_some(c.tags, rng) for c in captions],
            guidance=guidance,
            found_counts=rng.integers(3, objective.found_most + 1, len(captions)).tolist(),
            found_shifts=np.random.default_rng((self.seed, 4, step)).uniform(-1, 1, len(captions)).tolist(),
            lone_captions=pad([t.ids for t in texts]),
            lone_tags=[_some(t.tags, rng) for t in texts],
        )


def _some(tags: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """Most of the tags in random order, like tags that a user would give."""
    kept = [t for t in tags if rng.random() < 0.8]
    rng.shuffle(kept)
    return tuple(kept)


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Ragged ids to ``[B, longest]``, padded with 0."""
    return torch.from_numpy(padded(rows))


class TagPrompts(Shared):
    """Builds the tag lists for the interaction encoder, of at most ``limit`` word pieces, from tag ids."""

    def __init__(self, vocabulary: TagVocabulary, tokenizer: CaptionTokenizer, limit: int):
        self.tokenizer, self.limit = tokenizer, limit
        self._pieces = [tokenizer.encode(tag.name) for tag in vocabulary]
        self._vocabulary = vocabulary

    def leaves(self, ids: Sequence[int]) -> list[int]:
        """Drop ids that others imply: "dog", not "dog, animal"."""
        kept = self._vocabulary.most_specific(ids)
        return [i for i in ids if i in kept]

    def join(self, ids: Sequence[int], given: bool) -> list[int]:
        return self.tokenizer.join_tags([self._pieces[i] for i in ids], given, self.limit)
