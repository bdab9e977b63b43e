"""Figures of a model on pictures that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anytag.backends.base import Cache
from anytag.evaluation.captioning import score_captions
from anytag.evaluation.tagging import best_common_threshold, mean_average_precision
from anytag.inference.generation import DecodingOptions, generate
from anytag.language.tokenizers.tokenizer import CaptionTokenizer
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.model import RecognitionModel
from anytag.training.engine.autocast import autocast
from anytag.training.lite.feature_cache import CachedShard
from anytag.training.lite.pairs import TagPrompts, pad
from anytag.training.lite.pixels import PictureReader


@dataclass(frozen=True)
class ValidationData:
    """Held-out pictures.

    Attributes:
        shards: Their cached features.
        tags: Per picture, the vocabulary ids parsed from its own captions, with what they imply.
        categories: Names that human labels use; empty where a shard has none.
    """

    shards: Sequence[CachedShard]
    tags: Sequence[np.ndarray]
    categories: Sequence[str]


class Validator:
    """Mean average precision over human categories, tag F1 against captions, CIDEr-D.

    Args:
        data: Held-out pictures.
        vocabulary: To find categories by name or alias.
        label_embeddings: ``[tags, D]``.
        tokenizer: For captions.
        prompts: Tag lists for guidance.
        pictures: Reads the shards' pictures, where the whole image encoder was trained; ``None``: cached maps do.
        quick: Pictures that F1 and CIDEr-D are measured on, except in the final validation.
    """

    def __init__(
        self,
        data: ValidationData,
        vocabulary: TagVocabulary,
        label_embeddings: Tensor,
        tokenizer: CaptionTokenizer,
        prompts: TagPrompts,
        pictures: PictureReader | None = None,
        quick: int = 200,
    ):
        self.data, self.vocabulary, self.label_embeddings = data, vocabulary, label_embeddings
        self.tokenizer, self.prompts, self.pictures, self.quick = tokenizer, prompts, pictures, quick

    @torch.inference_mode()
    def __call__(self, model: RecognitionModel, final: bool = False) -> dict[str, float]:
        """Figures by name; the model is left in eval mode."""
        model.eval()
        with autocast("cpu"):
            figures, offset = {}, 0
            for shard in self.data.shards:
                tags = self.data.tags[offset : offset + len(shard.records)]
                features = self._features(model, shard, offset)
                offset += len(shard.records)
                labelled = any(record["labels"] for record in shard.records)
                if labelled:
                    figures["map"] = self._category_map(model, shard, features)
                count = len(features) if final else self.quick
                found, f1 = self._found(model, features[:count], tags[:count])
                figures["f1_coco" if labelled else "f1_flickr"] = f1
                if not labelled and model.config.captioner is not None:
                    references = [list(r["captions"]) for r in shard.records[:count]]
                    figures["cider"] = self._cider(model, features[:count], found, references)
        return figures

    def _features(self, model: RecognitionModel, shard: CachedShard, offset: int) -> Tensor:
        parts = []
        for start in range(0, len(shard.records), 8):
            end = min(start + 8, len(shard.records))
            if self.pictures is not None:
                maps = model.image_encoder.trunk(self.pictures.batch(range(offset + start, offset + end)))
            else:
                maps = torch.from_numpy(shard.maps[0][start:end].copy()).float().permute(0, 3, 1, 2)
            parts.append(model.features(model.image_encoder.crown(maps)).float())
        return torch.cat(parts)

    def scores(self, model: RecognitionModel, features: Tensor, ids: Sequence[int]) -> np.ndarray:
        """Probabilities ``[B, len(ids)]``."""
        chosen = torch.tensor(list(ids))
        queries = model.label_queries(self.label_embeddings[chosen], chosen)
        parts = [model.recognition_decoder(f, queries).float().sigmoid() for f in features.split(16)]
        return torch.cat(parts).numpy()

    def _category_map(self, model: RecognitionModel, shard: CachedShard, features: Tensor) -> float:
        tags = [self.vocabulary.find(name) for name in self.data.categories]
        if missing := [n for n, t in zip(self.data.categories, tags, strict=True) if t is None]:
            raise ValueError(f"the vocabulary has no tag for {missing}")
        targets = np.array([[c in r["labels"] for c in self.data.categories] for r in shard.records])
        scores = self.scores(model, features, [t.id for t in tags if t is not None])
        return float(mean_average_precision(scores, targets))

    def _found(
        self, model: RecognitionModel, features: Tensor, tags: Sequence[np.ndarray]
    ) -> tuple[list[list[int]], float]:
        """The best tags of every picture, and micro-F1 against the captions' tags at the best single threshold.

        Scores are uncalibrated during training, so the threshold is fitted on the very pictures: a figure to watch,
        not one to quote.
        """
        scores = self.scores(model, features, range(len(self.vocabulary)))
        truth = np.zeros(scores.shape, dtype=bool)
        for row, ids in zip(truth, tags, strict=True):
            row[ids] = True
        threshold, f1 = best_common_threshold(scores, truth)
        found = [[int(i) for i in np.argsort(-row)[:14] if row[i] >= threshold] for row in scores]
        return found, f1

    def _cider(
        self, model: RecognitionModel, features: Tensor, found: list[list[int]], references: list[list[str]]
    ) -> float:
        lists = [self.prompts.join(self.prompts.leaves(ids), given=False) for ids in found]
        options = DecodingOptions(num_beams=1, max_length=24, min_length=6)
        captions = caption_pictures(model, features, lists, self.tokenizer, options)
        return float(score_captions(captions, references).cider)


@torch.inference_mode()
def caption_pictures(
    model: RecognitionModel,
    features: Tensor,
    tag_lists: Sequence[Sequence[int]],
    tokenizer: CaptionTokenizer,
    options: DecodingOptions,
    batch_size: int = 32,
) -> list[str]:
    """Captions of features ``[B, N, width]``, guided by encoded tag lists."""
    captions = []
    layers, heads = len(model.text_decoder.layers), model.text_decoder.heads
    width = model.config.width // heads
    for start in range(0, len(features), batch_size):
        part = features[start : start + batch_size]
        fused, mask = model.fuse(pad(tag_lists[start : start + batch_size]), part)
        fused, mask = (x.repeat_interleave(options.rows_per_picture, 0) for x in (fused, mask))
        memory = model.text_decoder.memory(fused)

        def step(ids: np.ndarray, cache: Cache, memory=memory, mask=mask) -> tuple[np.ndarray, Cache]:  # type: ignore[no-untyped-def]
            empty = torch.zeros(len(ids), heads, 0, width)
            past = [
                (torch.from_numpy(cache[f"k{i}"]), torch.from_numpy(cache[f"v{i}"])) if cache else (empty, empty)
                for i in range(layers)
            ]
            logits, grown = model.text_decoder.step(torch.from_numpy(ids), past, memory, mask)
            new = {f"k{i}": k.float().numpy() for i, (k, _) in enumerate(grown)}
            new |= {f"v{i}": v.float().numpy() for i, (_, v) in enumerate(grown)}
            return logits.float().numpy(), new

        prompt = np.array([tokenizer.start_id])
        results = generate(
            step,
            prompt,
            num_pictures=len(part),
            eos_id=tokenizer.end_id,
            pad_id=tokenizer.pad_id,
            options=options,
            banned=tokenizer.special_ids,
        )
        captions += [tokenizer.decode(result.tokens) for result in results]
    return captions
