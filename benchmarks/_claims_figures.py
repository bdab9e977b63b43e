"""Metrics of a trained model on cached validation features: tags, captions, hidden tags, retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from _claims_config import Setting
from _claims_data import ClaimsData
from _claims_held_out import mean_precision
from _claims_tokens import to_tokens
from numpy.typing import NDArray
from torch import Tensor

from anytag.evaluation.captioning import score_captions
from anytag.evaluation.ranking import RankedScores, average_precisions, best_common_threshold
from anytag.evaluation.retrieval import recall_at_k
from anytag.inference.decoding_options import DecodingOptions
from anytag.nn.model import RecognitionModel
from anytag.nn.recognition_decoder import RecognitionDecoder
from anytag.training.engine.autocast import autocast
from anytag.training.lite.captions import caption_pictures

#: Maximum number of tags that guide a caption, as in training.
_MOST_GUIDES = 14


@dataclass(frozen=True)
class _Shard:
    """A validation shard: its rows among all validation pictures, tokens, human labels."""

    rows: NDArray[np.int64]
    tokens: Tensor
    labels: list[list[str]]
    captions: list[list[int]]

    @property
    def labeled(self) -> bool:
        return any(self.labels)


class Judge:
    """Measures models.

    Thresholds are fitted on pictures with even indices; F1 and captions are measured on the others. Average precision
    and retrieval, which need no thresholds, are measured on all.

    Args:
        data: The validation pictures.
    """

    def __init__(self, data: ClaimsData):
        self.data = data
        self._shards: list[_Shard] = []

    @torch.inference_mode()
    def __call__(self, model: RecognitionModel, setting: Setting, seed: int, retrieval: bool) -> dict[str, float]:
        """Compute all metrics of a setting."""
        model.eval()
        figures: dict[str, float] = {}
        with autocast("cpu"):
            self._read(model)
            everything: list[NDArray[np.float32]] = []
            ids = torch.arange(len(self.data.prepared.vocabulary))
            queries = model.label_queries(ids)
            for shard in self._shards:
                features = torch.cat([model.features(part.float()) for part in shard.tokens.split(32)]).float()
                scores = score_queries(model.recognition_decoder, features, queries, 16)
                everything.append(scores)
                threshold, f1 = split_f1(scores, self.data.truth[shard.rows])
                figures["f1_coco" if shard.labeled else "f1_flickr"] = f1
                if shard.labeled:
                    figures["map"] = self._category_map(scores, shard)
                    continue
                if "captioning" not in setting.loss:
                    figures |= self._captions(model, features, scores, threshold, shard)
                if retrieval:
                    figures |= self._retrieval(model, features, shard)
        if setting.hold_out:
            rows = np.concatenate([shard.rows for shard in self._shards])
            figures |= self._hidden(np.concatenate(everything), self.data.truth[rows], seed)
        return figures

    def _read(self, model: RecognitionModel) -> None:
        """Tokens of the validation pictures; all runs have the same encoder."""
        if self._shards:
            return
        first, caption = 0, 0
        for shard in self.data.prepared.held_out:
            ends = np.cumsum([caption, *(len(record["captions"]) for record in shard.records)]).tolist()
            count = min(len(shard.records), self.data.config.limit or len(shard.records))
            self._shards.append(
                _Shard(
                    np.arange(first, first + count),
                    to_tokens(model.image_encoder, shard.maps[0][:count]),
                    [record["labels"] for record in shard.records[:count]],
                    [list(range(ends[i], ends[i + 1])) for i in range(count)],
                )
            )
            first, caption = first + len(shard.records), ends[-1]

    @cached_property
    def _categories(self) -> list[int]:
        found = [self.data.prepared.vocabulary.find(name) for name in self.data.config.categories]
        return [tag.id for tag in found if tag is not None]

    def _category_map(self, scores: NDArray[np.float32], shard: _Shard) -> float:
        names = self.data.config.categories
        if len(self._categories) != len(names):
            raise ValueError("the vocabulary lacks one of the categories")
        targets = np.array([[name in labels for name in names] for labels in shard.labels])
        return float(np.nanmean(average_precisions(scores[:, self._categories], targets)))

    def _captions(
        self,
        model: RecognitionModel,
        features: Tensor,
        scores: NDArray[np.float32],
        threshold: float,
        shard: _Shard,
    ) -> dict[str, float]:
        """Write captions guided by predicted tags, by none, and by the tags of the first human caption."""
        prepared, judged = self.data.prepared, range(1, len(features), 2)
        texts, tags, _ = self.data.validation_captions
        references = [[texts[i] for i in shard.captions[row]] for row in judged]
        found = [
            [int(i) for i in np.argsort(-scores[row])[:_MOST_GUIDES] if scores[row, i] >= threshold] for row in judged
        ]
        given = [list(tags[shard.captions[row][0]]) for row in judged]

        def write(guides: Sequence[list[int]], named: bool) -> list[str]:
            lists = [
                prepared.prompts.join(ids if named else prepared.prompts.leaves(ids), given=named) for ids in guides
            ]
            options = DecodingOptions(num_beams=1, max_length=24, min_length=6)
            return caption_pictures(model, features[1::2], lists, prepared.prompts.tokenizer, options)

        guided, free, asked = write(found, False), write([[] for _ in judged], False), write(given, True)
        fewer = [captions[1:] for captions in references]
        by_found, by_none = score_captions(guided, references), score_captions(free, references)
        return {
            "cider_found": by_found.cider,
            "bleu_found": by_found.bleu[3],
            "cider_free": by_none.cider,
            "bleu_free": by_none.bleu[3],
            "cider_free_four": score_captions(free, fewer).cider,
            "cider_given": score_captions(asked, fewer).cider,
        }

    def _retrieval(self, model: RecognitionModel, features: Tensor, shard: _Shard) -> dict[str, float]:
        _, _, embeddings = self.data.validation_captions
        chosen = [i for captions in shard.captions for i in captions]
        owner = np.repeat(np.arange(len(shard.captions)), [len(captions) for captions in shard.captions])
        queries = model.label_queries.project(embeddings[chosen])
        recall = recall_at_k(score_queries(model.recognition_decoder, features, queries, 4), owner)
        return {f"text_recall_{k}": value for k, value in recall.text.items()} | {
            f"picture_recall_{k}": value for k, value in recall.picture.items()
        }

    def _hidden(self, scores: NDArray[np.float32], truth: NDArray[np.bool_], seed: int) -> dict[str, float]:
        hidden = self.data.held_out(seed)
        classes = [tag for tag in self.data.classes if tag is not None]
        support = self.data.truth.sum(0)
        alike = np.flatnonzero(support >= self.data.config.held_out_support)
        unseen = mean_precision(scores, truth, hidden)
        new = mean_precision(scores, truth, hidden[~np.isin(hidden, classes)])
        seen = mean_precision(scores, truth, alike[~np.isin(alike, hidden)])
        return {
            "ap_unseen": unseen.ap,
            "chance_unseen": unseen.chance,
            "tags_unseen": unseen.tags,
            "ap_unseen_new": new.ap,
            "chance_unseen_new": new.chance,
            "tags_unseen_new": new.tags,
            "ap_seen": seen.ap,
            "chance_seen": seen.chance,
        }


def score_queries(decoder: RecognitionDecoder, features: Tensor, queries: Tensor, pictures: int) -> NDArray[np.float32]:
    """Predict probabilities ``[B, T]``, in batches.

    The last layer always runs in single precision: in bfloat16, logits have only 256 values between 2 and 4, so
    hundreds of five thousand captions would have the same score.
    """
    parts = []
    for part in features.split(pictures):
        hidden = decoder.embed(part, queries)
        with torch.autocast("cpu", enabled=False):
            parts.append(decoder.score(hidden.float()).squeeze(-1).sigmoid())
    return torch.cat(parts).numpy()


def split_f1(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit the best common threshold on rows with even indices, and compute micro-F1 on the others."""
    threshold, _ = best_common_threshold(scores[::2], truth[::2])
    return threshold, RankedScores(scores[1::2], truth[1::2]).counts(threshold).micro[2]
