"""From shards and caption files to everything that training reads; each step is kept and taken up again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from anytag.errors import UsageError
from anytag.foundations.atomic_files import save_array, whole_file
from anytag.foundations.report import Report
from anytag.language.parsing.parser import ParsedTag, load_parser
from anytag.language.tags.vocabulary_builder import TagMapper, build_vocabulary, imagenet_tag_ids
from anytag.language.tokenizers.tokenizer import CaptionTokenizer, build_caption_tokenizer, clean_caption
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.efficientnet_lite import load_imagenet_lite
from anytag.nn.label_queries import label_text
from anytag.nn.text_encoder import embed_texts, load_sentence_encoder, sentence_encoder_folder
from anytag.training.lite.config import TrainingConfig
from anytag.training.lite.feature_cache import CachedShard, cache_features, open_cache
from anytag.training.lite.pairs import CaptionRecord, PictureRecord, TagPrompts, TrainingPairs
from anytag.training.lite.validation import ValidationData


def find_shards(root: Path, patterns: Iterable[str], exclude: Iterable[Path] = ()) -> list[Path]:
    """Files under ``root`` that match any of the glob patterns, sorted.

    Raises:
        UsageError: If a pattern matches nothing.
    """
    found: set[Path] = set()
    for pattern in patterns:
        matches = set(root.glob(pattern))
        if not matches:
            raise UsageError(f"no file under {root} matches {pattern!r}; does --data name the right folder?")
        found |= matches
    return sorted(found - set(exclude))


def read_captions(path: Path) -> list[str]:
    """The lines of a text file, gzipped or not; blank ones dropped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as handle:
        return [line.strip() for line in handle if line.strip()]


def parse_all(captions: Sequence[str], kept: Path, parser: str, report: Report) -> list[list[ParsedTag]]:
    """Parse captions, or read what an earlier call kept.

    Args:
        captions: Sentences.
        kept: JSON lines file for the result.
        parser: ``auto``, ``light`` or ``spacy``.
        report: Receives progress.
    """
    if kept.exists():
        with kept.open(encoding="utf-8") as handle:
            tags = [[ParsedTag(name, kind) for name, kind in json.loads(line)] for line in handle]
        if len(tags) == len(captions):
            return tags
    reader = load_parser(parser)  # type: ignore[arg-type]
    tags = []
    with whole_file(kept) as part, part.open("w", encoding="utf-8") as handle:
        for number, parsed in enumerate(reader.parse_many(captions), 1):
            tags.append(parsed)
            handle.write(json.dumps([(t.name, t.kind) for t in parsed]) + "\n")
            if number % 20000 == 0:
                report(f"parsed {number}/{len(captions)} captions with {reader.name}")
    return tags


@dataclass
class Prepared:
    """Everything that a run reads, after preparation."""

    config: TrainingConfig
    vocabulary: TagVocabulary
    tokenizer: CaptionTokenizer
    prompts: TagPrompts
    label_embeddings: Tensor
    shards: list[CachedShard]
    pairs: TrainingPairs
    texts: list[CaptionRecord]
    validation: ValidationData


def prepare(
    config: TrainingConfig,
    data: Path,
    cache: Path,
    report: Report = print,
    start: ModelDirectory | None = None,
) -> Prepared:
    """Cache features, parse captions, build vocabulary and tokenizer, embed labels and captions.

    Args:
        config: The recipe.
        data: Folder that the recipe's patterns are relative to.
        cache: Folder for what is kept; a second call takes up what is there.
        report: Receives progress.
        start: Model to go on from, whose vocabulary and tokenizer are taken instead of built.
    """
    cache.mkdir(parents=True, exist_ok=True)
    held_out = find_shards(data, config.data.validation)
    training = find_shards(data, config.data.train, exclude=held_out)
    encoder = load_imagenet_lite(variant=config.model.image_encoder.name)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    side = config.model.image_encoder.resolution
    corners = any((stage.loss or config.loss).corners for stage in config.stages)
    cache_features(encoder, training, cache, config.data.views, config.seed, report, corners, side)
    cache_features(encoder, held_out, cache, 1, config.seed, report, resolution=side)
    shards = open_cache(cache, [s.stem for s in training], config.data.views, corners)
    validation = open_cache(cache, [s.stem for s in held_out], 1)

    captions = [c for shard in shards for record in shard.records for c in record["captions"]]
    held_captions = [c for shard in validation for record in shard.records for c in record["captions"]]
    parser = config.data.parser
    parsed = parse_all(captions, cache / "parsed-train.jsonl", parser, report)
    held_parsed = parse_all(held_captions, cache / "parsed-validation.jsonl", parser, report)
    # Caption collections overlap: a sentence of a validation picture must not be learnt from elsewhere.
    held_texts = {clean_caption(c) for c in held_captions}
    files = find_shards(data, config.data.texts) if config.data.texts else []
    texts = [c for file in files for c in read_captions(file) if clean_caption(c) not in held_texts]
    texts_parsed = parse_all(texts, cache / "parsed-texts.jsonl", parser, report)

    if start is None:
        vocabulary = _vocabulary(config, shards, parsed, cache, report)
        tokenizer = _tokenizer(captions + texts, cache)
    else:
        vocabulary = start.vocabulary
        tokenizer = CaptionTokenizer.load(start.file("tokenizer.json"))
    sizes: dict[str, Any] = {"training_pictures": sum(len(shard.records) for shard in shards)}
    if config.model.captioner is not None:
        sizes["captioner"] = config.model.captioner.model_copy(update={"vocabulary": len(tokenizer)})
    config = config.model_copy(update={"model": config.model.model_copy(update=sizes)})
    labels, sentences = _embeddings(vocabulary, captions, cache, report)
    mapper = TagMapper(vocabulary)

    def encode(sentence: str, tags: Sequence[ParsedTag]) -> CaptionRecord:
        return CaptionRecord(tokenizer.encode_caption(sentence, config.data.caption_tokens), _in_order(mapper, tags))

    pictures = _annotate(config, shards, parsed, vocabulary, mapper, encode)
    vocabulary = _with_support(vocabulary, pictures)
    positives = sum(len(p.tags) for p in pictures) / len(pictures)
    report(f"{len(pictures)} pictures, {len(vocabulary)} tags, {positives:.1f} true tags a picture, {len(texts)} texts")
    held_tags, place = [], 0
    for shard in validation:
        for record in shard.records:
            own = held_parsed[place : place + len(record["captions"])]
            place += len(own)
            held_tags.append(_sorted(mapper(tag for tags in own for tag in tags)))
    return Prepared(
        config=config,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        prompts=TagPrompts(vocabulary, tokenizer, config.data.tag_tokens),
        label_embeddings=labels,
        shards=shards,
        pairs=TrainingPairs(shards, pictures, sentences),
        texts=[encode(c, t) for c, t in zip(texts, texts_parsed, strict=True)],
        validation=ValidationData(validation, held_tags, config.data.categories),
    )


def _in_order(mapper: TagMapper, tags: Sequence[ParsedTag]) -> tuple[int, ...]:
    """Ids of a caption's tags in the order of the caption, each once, without what they imply."""
    return tuple(dict.fromkeys(id for tag in tags for id in mapper.ids(tag)))


def _sorted(ids: set[int]) -> np.ndarray:
    return np.array(sorted(ids), dtype=np.int64)


def _vocabulary(
    config: TrainingConfig,
    shards: Sequence[CachedShard],
    parsed: Sequence[list[ParsedTag]],
    cache: Path,
    report: Report,
) -> TagVocabulary:
    path = cache / "vocabulary.json"
    if not path.exists():
        grouped, start = [], 0
        for shard in shards:
            for record in shard.records:
                end = start + len(record["captions"])
                grouped.append([tag for tags in parsed[start:end] for tag in tags])
                start = end
        vocabulary = build_vocabulary(grouped, min_support=config.data.min_support)
        vocabulary.save(path)
        report(f"vocabulary: {len(vocabulary)} tags")
    return TagVocabulary.load(path)


def _tokenizer(captions: Sequence[str], cache: Path) -> CaptionTokenizer:
    path = cache / "tokenizer.json"
    if not path.exists():
        pieces = (sentence_encoder_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
        build_caption_tokenizer(pieces, captions).save(path)
    return CaptionTokenizer.load(path)


def _embeddings(
    vocabulary: TagVocabulary, captions: Sequence[str], cache: Path, report: Report
) -> tuple[Tensor, Tensor]:
    folder = sentence_encoder_folder()
    encoder = load_sentence_encoder(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    labels = embed_texts(encoder, tokenizer, [label_text(tag.name, tag.kind) for tag in vocabulary])
    path = cache / "caption-embeddings.npy"
    if not path.exists():
        report(f"embedding {len(captions)} captions")
        save_array(path, embed_texts(encoder, tokenizer, list(captions)).numpy().astype(np.float16))
    return labels, torch.from_numpy(np.load(path).astype(np.float32))


def _annotate(config, shards, parsed, vocabulary, mapper, encode) -> list[PictureRecord]:  # type: ignore[no-untyped-def]
    classes = imagenet_tag_ids(vocabulary)
    pictures, start = [], 0
    for shard in shards:
        logits = torch.from_numpy(shard.logits.astype(np.float32))
        sure, best = logits.softmax(-1).max(-1)
        for row, record in enumerate(shard.records):
            end = start + len(record["captions"])
            captions = [encode(c, t) for c, t in zip(record["captions"], parsed[start:end], strict=True)]
            ids = {i for caption in captions for i in caption.tags}
            taught = classes[int(best[row])]
            if taught is not None and float(sure[row]) >= config.data.teacher_threshold:
                ids.add(taught)
            pictures.append(PictureRecord(_sorted(vocabulary.with_implied(ids)), captions, range(start, end)))
            start = end
    return pictures


def _with_support(vocabulary: TagVocabulary, pictures: Sequence[PictureRecord]) -> TagVocabulary:
    """The vocabulary with each tag's support as trained (captions, implications, teacher) and the teacher's classes."""
    counts = np.bincount(np.concatenate([p.tags for p in pictures]), minlength=len(vocabulary))
    classes: dict[int, list[int]] = {}
    for index, id in enumerate(imagenet_tag_ids(vocabulary)):
        if id is not None:
            classes.setdefault(id, []).append(index)
    return TagVocabulary(
        replace(tag, support=int(n), classes=tuple(classes.get(tag.id, ())))
        for tag, n in zip(vocabulary, counts, strict=True)
    )
