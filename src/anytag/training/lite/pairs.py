"""Training pairs: cached features with tags and captions, ready for batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anytag.errors import UsageError
from anytag.language.tokenizers.tokenizer import CaptionTokenizer
from anytag.model.vocabulary import TagVocabulary
from anytag.training.engine.distributed import Share
from anytag.training.lite.config import LossConfig
from anytag.training.lite.feature_cache import CachedShard

_Numbers = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class CaptionRecord:
    """One caption: its pieces and the vocabulary ids of the tags that were parsed from it."""

    ids: list[int]
    tags: tuple[int, ...]


@dataclass(frozen=True)
class PictureRecord:
    """One picture: the tags that are true of it (with all that they imply) and its captions."""

    tags: np.ndarray
    captions: list[CaptionRecord]
    text_embeddings: range


class TrainingPairs:
    """Random access to pictures' cached maps and annotations.

    Args:
        shards: Cached shards, in order.
        pictures: Annotations, aligned with the shards' records one after another.
        caption_embeddings: ``[captions, D]`` sentence embeddings, indexed by ``PictureRecord.text_embeddings``.
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
        """Stride-16 maps ``[B, C, H, W]``, float32, channels-last; ``flips`` mirrors a map left to right."""
        rows = []
        for index, view, flip in zip(indices, views, flips, strict=True):
            shard, row = self._places[index]
            features = shard.maps[view][row]
            rows.append(features[:, ::-1] if flip else features)
        return torch.from_numpy(np.stack(rows)).float().permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    Attributes:
        indices: ``[B]``, the pictures' numbers.
        views: ``[B]``, which cached view of each.
        maps: ``[B, C, H, W]`` cached maps; empty if they were not asked for.
        tag_ids: ``[T]`` vocabulary ids that are asked for: the batch's positives and sampled negatives.
        targets: ``[B, T]``, 1 for true.
        text_embeddings: ``[B, D]`` of one caption per picture.
        rows: ``[C]``, the picture (0 … B − 1) of each caption; at least one each.
        captions: ``[C, L]`` ids, padded with 0.
        caption_tags: Per caption, the ids parsed from it.
        guidance: Per caption ``"none"``, ``"given"`` or ``"found"``.
        found_counts: Per caption, how many of the best-scored tags a ``"found"`` list is made from.
        found_shifts: Per caption, in (-1, 1): how much stricter than usual a list of remembered tags is, in log-odds.
        texts, text_tags: The same for captions without pictures; both may be empty.
    """

    indices: np.ndarray
    views: np.ndarray
    maps: Tensor
    tag_ids: Tensor
    targets: Tensor
    text_embeddings: Tensor
    rows: Tensor
    captions: Tensor
    caption_tags: list[tuple[int, ...]]
    guidance: list[str]
    found_counts: list[int]
    found_shifts: list[float]
    texts: Tensor
    text_tags: list[tuple[int, ...]]


class Batcher:
    """Draws the batch of any step: the same step gives the same batch, so that a resumed run goes on exactly.

    Args:
        pairs: Pictures.
        texts: Captions without pictures.
        vocabulary: For its size.
        batch_size: Pictures a batch.
        text_batch_size: Further captions a batch.
        views: How many cached views there are.
        loss: The run's objective; a batch may have another.
        seed: Seed of everything drawn.
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        texts: Sequence[CaptionRecord],
        vocabulary: TagVocabulary,
        *,
        batch_size: int,
        text_batch_size: int,
        views: int,
        loss: LossConfig,
        seed: int,
    ):
        self.pairs, self.texts = pairs, texts
        self.tags = len(vocabulary)
        self.batch_size, self.text_batch_size = batch_size, text_batch_size
        self.views, self.loss, self.seed = views, loss, seed
        self._several = np.array([i for i, p in enumerate(pairs.pictures) if len(p.captions) > 1])
        self.steps_per_epoch = len(pairs) // batch_size
        if not self.steps_per_epoch:
            raise UsageError(f"batch_size {batch_size} is more than the {len(pairs)} training pictures")

    def indices(self, step: int, several: float = 0.0) -> np.ndarray:
        """The pictures of a step: every epoch is a new permutation, its last partial batch is dropped.

        Args:
            step: Counted over the whole run.
            several: Share of the batch that is drawn from pictures with several captions instead, if there are any.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self.seed, 1, epoch)).permutation(len(self.pairs))
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        if count := min(round(several * self.batch_size), len(self._several)):
            epoch, place = divmod(step, len(self._several) // count)
            order = np.random.default_rng((self.seed, 3, epoch)).permutation(self._several)
            chosen = np.concatenate([order[place * count : (place + 1) * count], chosen[: len(chosen) - count]])
        return chosen

    def batch(
        self,
        step: int,
        with_maps: bool = True,
        views: int | None = None,
        captions: int = 1,
        several: float = 0.0,
        loss: LossConfig | None = None,
        share: Share | None = None,
    ) -> Batch:
        """The batch of a step.

        Args:
            step: Counted over the whole run.
            with_maps: Read cached features.
            views: Draw from the first so many views; ``None``: from all.
            captions: Captions of a picture, where it has as many.
            several: As for :meth:`indices`.
            loss: The objective, whose negatives and guidance are drawn; ``None``: the run's.
            share: Which part of it; ``None``: all.
        """
        loss = loss or self.loss
        share = share or Share()
        rng = np.random.default_rng((self.seed, 2, step, share.index) if share.index else (self.seed, 2, step))
        chosen = self.indices(step, several)[share.rows(self.batch_size)]
        pictures = [self.pairs.pictures[i] for i in chosen]
        drawn, flips = rng.integers(0, min(views or self.views, self.views), len(chosen)), rng.random(len(chosen)) < 0.5
        maps = self.pairs.maps(chosen, drawn, flips) if with_maps else torch.empty(0)
        positives = np.unique(np.concatenate([p.tags for p in pictures]))
        sampled = rng.choice(self.tags, min(loss.negatives, self.tags), replace=False)
        tag_ids = np.union1d(positives, sampled).astype(np.int64)
        targets = np.stack([np.isin(tag_ids, p.tags) for p in pictures])
        which = [rng.permutation(len(p.captions))[:captions] for p in pictures]
        chosen_captions = [p.captions[k] for p, ks in zip(pictures, which, strict=True) for k in ks]
        embedded = [p.text_embeddings[ks[0]] for p, ks in zip(pictures, which, strict=True)]
        draw = rng.random(len(chosen_captions))
        guidance = [
            "none" if d < loss.no_tags else "found" if d < loss.no_tags + loss.found_tags else "given" for d in draw
        ]
        count = min(self.text_batch_size // share.count, len(self.texts))
        texts = [self.texts[i] for i in rng.integers(0, len(self.texts), count)] if count else []
        return Batch(
            indices=chosen,
            views=drawn,
            maps=maps,
            tag_ids=torch.from_numpy(tag_ids),
            targets=torch.from_numpy(targets),
            text_embeddings=self.pairs.caption_embeddings[torch.tensor(embedded)],
            rows=torch.from_numpy(np.repeat(np.arange(len(which)), [len(ks) for ks in which])),
            captions=pad([c.ids for c in chosen_captions]),
            caption_tags=[_some(c.tags, rng) for c in chosen_captions],
            guidance=guidance,
            found_counts=rng.integers(3, loss.found_most + 1, len(chosen_captions)).tolist(),
            found_shifts=np.random.default_rng((self.seed, 4, step)).uniform(-1, 1, len(chosen_captions)).tolist(),
            texts=pad([t.ids for t in texts]),
            text_tags=[_some(t.tags, rng) for t in texts],
        )


def _some(tags: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """Most of the tags in random order: a user names some, in any order."""
    kept = [t for t in tags if rng.random() < 0.8]
    rng.shuffle(kept)
    return tuple(kept)


def pad(rows: Sequence[Sequence[int]], to: int = 0) -> Tensor:
    """Ragged ids to ``[B, longest]``, padded with 0."""
    longest = max([to, *(len(r) for r in rows)])
    out = torch.zeros(len(rows), longest, dtype=torch.long)
    for row, ids in zip(out, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return out


class TagPrompts:
    """Tag ids to the tag lists that the interaction encoder reads.

    Args:
        vocabulary: Names of the tags.
        tokenizer: Word pieces.
        limit: Longest list, in pieces.
    """

    def __init__(self, vocabulary: TagVocabulary, tokenizer: CaptionTokenizer, limit: int):
        self.tokenizer, self.limit = tokenizer, limit
        self._pieces = [tokenizer.encode(tag.name) for tag in vocabulary]
        self._vocabulary = vocabulary

    def leaves(self, ids: Sequence[int]) -> list[int]:
        """The ids without those that another of them implies: "dog", not "dog, animal"."""
        kept = self._vocabulary.most_specific(ids)
        return [i for i in ids if i in kept]

    def join(self, ids: Sequence[int], given: bool) -> list[int]:
        """One tag list."""
        return self.tokenizer.join_tags([self._pieces[i] for i in ids], given, self.limit)
