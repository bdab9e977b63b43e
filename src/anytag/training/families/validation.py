"""Validation: losses and metrics of a task on held-out pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from anytag.datasets.samples import Sample, TagName
from anytag.datasets.stream import SampleStream
from anytag.evaluation.captioning import score_captions
from anytag.evaluation.ranking import average_precisions, best_common_threshold
from anytag.evaluation.retrieval import recall_at_k
from anytag.pictures import Preprocessing
from anytag.training.families.augmentation import PLAIN
from anytag.training.families.batch import picture_features
from anytag.training.families.batches import Collator, Example, ExampleLoader, SampleTags
from anytag.training.families.data_sources import RunData
from anytag.training.families.task import RecognitionTask
from anytag.training.recipes.config import TrainingConfig

#: Pictures that captions are written for, except in the final validation.
_CAPTIONED = 200

#: Maximum number of tags that guide a caption.
_MOST_GUIDES = 14

#: Iterates over the validation pictures, the same ones every time.
Examples = Callable[[], Iterator[Example]]


def labeled(example: Example, sample: Sample, tags: SampleTags) -> Example:
    """Add human labels and all captions, which only validation may use, to an example."""
    labels = tags.ids.of_names([TagName(name) for name in sample.labels])
    return replace(example, labels=tuple(sorted(labels)), references=sample.captions)


def stream_examples(config: TrainingConfig, run_data: RunData, preprocessing: Preprocessing) -> Examples:
    """Validation pictures drawn from all sources, without augmentation, always with the same captions."""
    load = ExampleLoader(run_data.tags, preprocessing, PLAIN, config.tags, config.words)

    def load_labeled(sample: Sample, epoch: int) -> Example:
        return labeled(load(sample, 0), sample, run_data.tags)

    def examples() -> Iterator[Example]:
        stream = SampleStream(
            run_data.validation,
            shuffle=True,
            epochs=1,
            load=load_labeled,
            threads=config.stream.threads,
            bad_share=1.0,
        )
        return islice(iter(stream), config.validation_pictures)

    return examples


class Validator:
    """Losses, mean average precision and F1 of tags, retrieval by contrast, CIDEr-D of captions."""

    def __init__(self, examples: Examples, collate: Collator, batch_size: int):
        self.examples, self.collate, self.batch_size = examples, collate, batch_size

    @torch.inference_mode()
    def __call__(self, task: RecognitionTask, final: bool = False) -> dict[str, float]:
        """Compute metrics by name; the task is left in eval mode.

        ``map`` is over tags with positives, ``label_map`` over human labels. ``f1`` is micro-F1 at the best single
        ``threshold``, which is fitted on the same pictures: watch it, but do not quote it. ``cider`` is over pictures
        with several captions, guided by the recognized tags: 200 of them, in the final validation all.
        """
        task.eval()
        losses: dict[str, list[float]] = {}
        scores: list[np.ndarray] = []
        truths: list[Sequence[int]] = []
        labels: list[Sequence[int]] = []
        known: list[bool] = []
        vectors: list[tuple[Tensor, Tensor]] = []
        numbers: list[int] = []
        described = _Described(None if final else _CAPTIONED)
        with torch.random.fork_rng(devices=[]):
            pictures = self.examples()
            while examples := list(islice(pictures, self.batch_size)):
                batch = self.collate(examples)
                for name, value in task.losses(batch).items():
                    losses.setdefault(name, []).append(value)
                features = picture_features(task.model, batch)
                if task.writes_captions:
                    described.add(examples, features, len(truths))
                scores.append(task.model.recognize(features).float().sigmoid().cpu().numpy())
                truths += [example.tags for example in examples]
                known += [example.tags_known for example in examples]
                labels += [example.labels for example in examples]
                if task.encoder is not None and batch.texts is not None:
                    rows = batch.texts[:, 0] != 0
                    encoder = task.encoder
                    vectors.append((encoder.embed_pictures(features[rows]), encoder.embed_texts(batch.texts[rows])))
                    numbers += [e.number for e, has in zip(examples, rows.tolist(), strict=True) if has]
            figures = {name: float(np.mean(values)) for name, values in losses.items()}
            all_scores = np.concatenate(scores)
            if (truth := _multi_hot(truths, all_scores)[known]).any():
                threshold, f1 = best_common_threshold(all_scores[known], truth)
                figures |= {"map": _mean_ap(all_scores[known], truth), "f1": float(f1), "threshold": float(threshold)}
            if (human := _multi_hot(labels, all_scores)).any():
                figures["label_map"] = _mean_ap(all_scores, human)
            if "threshold" in figures:
                figures |= described.figures(task, all_scores, figures["threshold"])
        return figures | _retrieval_figures(vectors, numbers)


class _Described:
    """Pictures to caption: features, references, and their rows among all."""

    def __init__(self, most: int | None):
        self.most = most
        self._features: list[Tensor] = []
        self._references: list[list[str]] = []
        self._places: list[int] = []

    def add(self, examples: Sequence[Example], features: Tensor, first: int) -> None:
        rows = [row for row, example in enumerate(examples) if len(example.references) > 1]
        if self.most is not None:
            rows = rows[: self.most - len(self._places)]
        if rows:
            self._features.append(features[rows].float())
            self._references += [list(examples[row].references) for row in rows]
            self._places += [first + row for row in rows]

    def figures(self, task: RecognitionTask, scores: np.ndarray, threshold: float) -> dict[str, float]:
        if not self._places:
            return {}
        found = [
            [int(i) for i in np.argsort(-row)[:_MOST_GUIDES] if row[i] >= threshold] for row in scores[self._places]
        ]
        captions = task.captions(torch.cat(self._features), found)
        return {"cider": float(score_captions(captions, self._references).cider)}


def _multi_hot(rows: Sequence[Sequence[int]], scores: np.ndarray) -> np.ndarray:
    table = np.zeros(scores.shape, bool)
    for row, ids in zip(table, rows, strict=True):
        row[list(ids)] = True
    return table


def _mean_ap(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean average precision over the tags with positives."""
    named = truth.any(0)
    return float(average_precisions(scores[:, named], truth[:, named]).mean())


def _retrieval_figures(vectors: Sequence[tuple[Tensor, Tensor]], numbers: Sequence[int]) -> dict[str, float]:
    if not vectors:
        return {}
    pictures, texts = (torch.cat(part).float().cpu().numpy() for part in zip(*vectors, strict=True))
    # A picture may have several texts, but counts once.
    _, first, picture_of_text = np.unique(np.array(numbers), return_index=True, return_inverse=True)
    recall = recall_at_k(pictures[first] @ texts.T, picture_of_text, ks=(1, 5))
    return {f"text_recall_{k}": float(v) for k, v in recall.text.items()} | {
        f"picture_recall_{k}": float(v) for k, v in recall.picture.items()
    }
