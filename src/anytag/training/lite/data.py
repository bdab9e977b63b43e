"""Prepare the data of the ``lite`` objective: features, tags, captions, embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anytag.errors import UsageError
from anytag.foundations.atomic_files import save_array
from anytag.foundations.report import Report
from anytag.language.tags.vocabulary_builder import imagenet_tag_ids
from anytag.language.tokenizers.tokenizer import CaptionTokenizer
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.training.engine.task import Shared
from anytag.training.families.batches import Example, SampleTags, sample_key
from anytag.training.families.data_sources import RunData
from anytag.training.families.feature_cache import CachedShard
from anytag.training.families.initialization import InitialModel
from anytag.training.families.validation import labeled
from anytag.training.lite.batches import CaptionRecord, PictureRecord, TagPrompts, TrainingPairs
from anytag.training.lite.feature_cache import FeatureCache
from anytag.training.recipes.config import LiteConfig, TrainingConfig


@dataclass
class LiteData(Shared):
    """Data of a run of the ``lite`` objective.

    Attributes:
        vocabulary: Tags with their support in the training pictures.
        shards: Cached features of the training pictures.
        texts: Captions without pictures.
        held_out: Cached features of the validation pictures.
    """

    vocabulary: TagVocabulary
    prompts: TagPrompts
    shards: list[CachedShard]
    pairs: TrainingPairs
    texts: list[CaptionRecord]
    held_out: list[CachedShard]


def prepare(
    config: TrainingConfig,
    start: InitialModel,
    run_data: RunData,
    cache: Path,
    untouched: EfficientNetLite,
    report: Report,
) -> LiteData:
    """Compute features, tags, token ids and embeddings, or load them from the cache.

    ``untouched`` is the image encoder with its classifier, as trained on ImageNet.

    Raises:
        UsageError: If the model has no captioner, or a picture no caption.
    """
    objective = config.objective
    assert isinstance(objective, LiteConfig)
    tokenizer = start.caption_tokenizer
    if tokenizer is None:
        raise UsageError(f"a {start.config.family} model without a lite captioner cannot be trained by LiteConfig")
    features = FeatureCache(
        untouched,
        cache,
        start.config.image_encoder,
        config.seed,
        report,
        run_data.bad_samples,
        own=_changed(start.model.image_encoder, untouched),
    )
    corners = any(isinstance(used, LiteConfig) and used.corners > 0 for used in config.objectives)
    shards = features.open(run_data.sources, config.views, corners)
    held_out = features.open(run_data.validation, 1) if run_data.validation else []
    pictures = _annotate(config, shards, start.vocabulary, run_data.tags, tokenizer, objective.caption_tokens)
    vocabulary = _with_support(start.vocabulary, pictures)
    positives = sum(len(p.tags) for p in pictures) / len(pictures)
    report(f"{len(pictures)} pictures, {positives:.1f} true tags a picture, {len(run_data.texts)} texts")
    captions = [caption for shard in shards for record in shard.records for caption in record["captions"]]
    aligned = any(isinstance(used, LiteConfig) and used.alignment > 0 for used in config.objectives)
    sentences = _embedded(start, captions, cache, report) if aligned else torch.zeros(len(captions), 0)
    parsed = run_data.tags.ids
    texts = [
        CaptionRecord(tokenizer.encode_caption(text, objective.caption_tokens), parsed.of_caption(text) or ())
        for text in run_data.texts
    ]
    prompts = TagPrompts(vocabulary, tokenizer, objective.tag_tokens)
    return LiteData(vocabulary, prompts, shards, TrainingPairs(shards, pictures, sentences), texts, held_out)


def held_out_examples(
    shards: Sequence[CachedShard], tags: SampleTags, pictures: int
) -> Callable[[], Iterator[Example]]:
    """Return up to ``pictures`` cached validation pictures, evenly spread."""
    cached = [(sample, shard.maps[0], row) for shard in shards for row, sample in enumerate(shard.samples())]
    kept = np.linspace(0, len(cached) - 1, min(pictures, len(cached))).round().astype(int).tolist()
    found = []
    for place in sorted(set(kept)):
        sample, maps, row = cached[place]
        ids = tags.of_picture(sample, "picture")
        key = sample_key(sample.source or sample.id)
        known = Example(None, tuple(sorted(ids or ())), ids is not None, "", (), key, key)
        found.append((labeled(known, sample, tags), maps, row))

    def examples() -> Iterator[Example]:
        for example, array, row in found:
            yield replace(example, maps=array[row])

    return examples


def _changed(own: EfficientNetLite, untouched: EfficientNetLite) -> EfficientNetLite | None:
    """The model's own image encoder, if it differs from ImageNet's."""
    before = untouched.state_dict()
    return None if all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items()) else own


def _embedded(start: InitialModel, captions: list[str], cache: Path, report: Report) -> Tensor:
    """Sentence embeddings ``[captions, D]``."""
    assert start.texts is not None
    made_of = hashlib.sha256("\n".join([start.texts.fingerprint, *captions]).encode()).hexdigest()[:16]
    path = cache / f"caption-embeddings-{made_of}.npy"
    if not path.exists():
        report(f"embedding {len(captions)} captions")
        save_array(path, start.texts.embed(captions).astype(np.float16))
    return torch.from_numpy(np.load(path).astype(np.float32))


def _annotate(
    config: TrainingConfig,
    shards: Sequence[CachedShard],
    vocabulary: TagVocabulary,
    tags: SampleTags,
    tokenizer: CaptionTokenizer,
    limit: int,
) -> list[PictureRecord]:
    classes = imagenet_tag_ids(vocabulary)
    pictures: list[PictureRecord] = []
    first = 0
    for shard in shards:
        logits = torch.from_numpy(shard.logits.astype(np.float32))
        sure, best = logits.softmax(-1).max(-1)
        for row, sample in enumerate(shard.samples()):
            if not sample.captions:
                raise UsageError(f"{sample.source or sample.id}: has no caption; LiteConfig learns from captions")
            named = tags.of_captions(sample)
            captions = [
                CaptionRecord(tokenizer.encode_caption(caption, limit), ids or ())
                for caption, ids in zip(sample.captions, named, strict=True)
            ]
            ids = tags.of_picture(sample, config.tags, named[0], named) or set()
            taught = classes[int(best[row])]
            if taught is not None and float(sure[row]) >= config.teacher.classifier_threshold:
                ids = vocabulary.with_implied({*ids, taught})
            pictures.append(
                PictureRecord(np.array(sorted(ids), np.int64), captions, range(first, first + len(captions)))
            )
            first += len(captions)
    return pictures


def _with_support(vocabulary: TagVocabulary, pictures: Sequence[PictureRecord]) -> TagVocabulary:
    """Set each tag's support in the training data (captions, implications, classifier), and its ImageNet classes."""
    counts = np.bincount(np.concatenate([p.tags for p in pictures]), minlength=len(vocabulary))
    classes: dict[int, list[int]] = {}
    for index, id in enumerate(imagenet_tag_ids(vocabulary)):
        if id is not None:
            classes.setdefault(id, []).append(index)
    return TagVocabulary(
        replace(tag, support=int(n), classes=tuple(classes.get(tag.id, ())))
        for tag, n in zip(vocabulary, counts, strict=True)
    )
