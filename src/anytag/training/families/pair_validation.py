"""Figures of a learner on pictures that it never learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import cast

import numpy as np
import torch
from torch import Tensor

from anytag.datasets.samples import Log, Sample, TagName
from anytag.datasets.sources import SampleSource
from anytag.datasets.stream import SampleStream
from anytag.evaluation.retrieval import recall_at_k, similarity_scores
from anytag.evaluation.tagging import best_common_threshold, mean_average_precision
from anytag.training.families.augmentation import PLAIN
from anytag.training.families.learner import Learner
from anytag.training.families.pair_batch import PairBatch
from anytag.training.families.pair_source import PairCollator, PairExample, PairLoader, SampleTags, TagSource


class ValidationLoader(PairLoader):
    """Examples as they are, without augmentation, and with the human labels that validation alone may look at."""

    def __call__(self, sample: Sample, epoch: int) -> PairExample:
        """The sample; always with the same caption."""
        example = super().__call__(sample, 0)
        labels = self.tags.ids.of_names([TagName(name) for name in sample.labels])
        return replace(example, labels=tuple(sorted(labels)))


class PairValidator:
    """Losses, mean average precision and F1 of tags, retrieval by contrast.

    Args:
        sources: Validation data.
        tags: Which tags samples have.
        collate: Makes batches.
        kind: Which tags of a picture are true.
        pictures: Most that are looked at: the same ones every time, drawn from all sources.
        batch_size: Pictures at a time.
        words: Longest caption.
        threads: That decode.
        log: Receives a record for every picture that cannot be read.
    """

    def __init__(
        self,
        sources: Sequence[SampleSource],
        tags: SampleTags,
        collate: PairCollator,
        kind: TagSource,
        pictures: int,
        batch_size: int,
        words: int = 30,
        threads: int | None = None,
        log: Log | None = None,
    ):
        self.sources, self.collate, self.pictures, self.batch_size = sources, collate, pictures, batch_size
        self.tags, self.kind, self.words, self.threads, self.log = tags, kind, words, threads, log

    @torch.inference_mode()
    def __call__(self, learner: Learner) -> dict[str, float]:
        """Figures by name; the learner is left in eval mode.

        ``map`` is over the tags that are true of some picture, ``label_map`` over human labels; ``f1`` is micro-F1 at
        the best single ``threshold``, which is fitted on the very pictures: a figure to watch, not one to quote.
        """
        learner.eval()
        losses: dict[str, list[float]] = {}
        scores, truths, known, labels = [], [], [], []
        vectors: list[tuple[Tensor, Tensor]] = []
        numbers: list[int] = []
        with torch.random.fork_rng(devices=[]):
            for examples in self._batches(learner.model.config.image_encoder.resolution):
                batch = self.collate(examples)
                for name, value in self._losses(learner, batch).items():
                    losses.setdefault(name, []).append(value)
                features, _ = learner.model.encode(batch.pixels)
                scores.append(learner.model.recognize(features).float().sigmoid().cpu().numpy())
                truths += [example.tags for example in examples]
                known += [example.tags_known for example in examples]
                labels += [example.labels for example in examples]
                if learner.encoder is not None and batch.texts is not None:
                    rows = batch.texts[:, 0] != 0
                    encoder = learner.encoder
                    vectors.append((encoder.embed_pictures(features[rows]), encoder.embed_texts(batch.texts[rows])))
                    numbers += [e.number for e, has in zip(examples, rows.tolist(), strict=True) if has]
        figures = {name: float(np.mean(values)) for name, values in losses.items()}
        figures |= _tag_figures(np.concatenate(scores), truths, np.array(known))
        figures |= _label_figures(np.concatenate(scores), labels)
        return figures | _retrieval_figures(vectors, numbers)

    def _losses(self, learner: Learner, batch: PairBatch) -> dict[str, float]:
        # Contrast waits for other processes, which do not validate; retrieval shows what it is worth.
        _, parts = learner(replace(batch, texts=None))
        return cast(dict[str, float], parts)

    def _batches(self, resolution: int) -> Iterator[list[PairExample]]:
        loader = ValidationLoader(self.tags, resolution, PLAIN, self.kind, self.words)
        stream = SampleStream(
            self.sources, shuffle=True, epochs=1, load=loader, threads=self.threads, bad_share=1.0, log=self.log
        )
        examples = islice(iter(stream), self.pictures)
        while batch := list(islice(examples, self.batch_size)):
            yield batch


def _table(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    table = np.zeros((len(rows), width), bool)
    for row, ids in zip(table, rows, strict=True):
        row[list(ids)] = True
    return table


def _tag_figures(scores: np.ndarray, rows: Sequence[Sequence[int]], known: np.ndarray) -> dict[str, float]:
    truth = _table(rows, scores.shape[1])[known]
    if not truth.any():
        return {}
    named = truth.any(0)
    threshold, f1 = best_common_threshold(scores[known], truth)
    found = mean_average_precision(scores[known][:, named], truth[:, named])
    return {"map": float(found), "f1": float(f1), "threshold": float(threshold)}


def _label_figures(scores: np.ndarray, rows: Sequence[Sequence[int]]) -> dict[str, float]:
    truth = _table(rows, scores.shape[1])
    named = truth.any(0)
    return {"label_map": float(mean_average_precision(scores[:, named], truth[:, named]))} if named.any() else {}


def _retrieval_figures(vectors: Sequence[tuple[Tensor, Tensor]], numbers: Sequence[int]) -> dict[str, float]:
    if not vectors:
        return {}
    pictures, texts = (torch.cat(part).float().cpu().numpy() for part in zip(*vectors, strict=True))
    # A picture may come with several texts; it is asked for once.
    _, first, picture_of_text = np.unique(np.array(numbers), return_index=True, return_inverse=True)
    recall = recall_at_k(similarity_scores(pictures[first], texts), picture_of_text, ks=(1, 5))
    return {f"text_recall_{k}": float(v) for k, v in recall.text.items()} | {
        f"picture_recall_{k}": float(v) for k, v in recall.picture.items()
    }
