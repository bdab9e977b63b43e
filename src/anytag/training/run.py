"""A training run from data folder to trained model: what ``anytag train`` does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from anytag.language.parser import ParsedTag
from anytag.language.tokenizer import CaptionTokenizer, build_caption_tokenizer, clean_caption
from anytag.language.vocabulary_builder import TagMapper, build_vocabulary, imagenet_tag_ids
from anytag.model_directory import install_model, write_config
from anytag.nn.efficientnet_lite import load_imagenet_lite
from anytag.nn.label_queries import label_text
from anytag.nn.model import RecognitionModel
from anytag.nn.text_encoder import embed_texts, load_sentence_encoder, sentence_encoder_folder
from anytag.training.config import StageConfig, TrainingConfig
from anytag.training.consensus import ConsensusReward
from anytag.training.corners import CornerTargets, look_closer, taught_tags
from anytag.training.features import CachedShard, cache_features, open_cache
from anytag.training.loop import Report, TrainingLoop
from anytag.training.model_card import model_card
from anytag.training.objective import Objective
from anytag.training.pairs import Batcher, CaptionRecord, PictureRecord, TagPrompts, TrainingPairs
from anytag.training.pixels import PictureReader
from anytag.training.prepare import find_shards, parse_all, read_captions
from anytag.training.validation import ValidationData, Validator
from anytag.vocabulary import TagVocabulary


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


def prepare(config: TrainingConfig, data: Path, cache: Path, report: Report = print) -> Prepared:
    """Cache features, parse captions, build vocabulary and tokenizer, embed labels and captions.

    Args:
        config: The recipe.
        data: Folder that the recipe's patterns are relative to.
        cache: Folder for what is kept; a second call takes up what is there.
        report: Receives progress.
    """
    cache.mkdir(parents=True, exist_ok=True)
    held_out = find_shards(data, config.data.validation)
    training = find_shards(data, config.data.train, exclude=held_out)
    encoder = load_imagenet_lite(variant=config.model.image_encoder.name)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    corners = any((stage.loss or config.loss).corners for stage in config.stages)
    cache_features(encoder, training, cache, config.data.views, config.seed, report, corners)
    cache_features(encoder, held_out, cache, 1, config.seed, report)
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

    vocabulary = _vocabulary(config, shards, parsed, cache, report)
    tokenizer = _tokenizer(captions + texts, cache)
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
    held_tags, start = [], 0
    for shard in validation:
        for record in shard.records:
            own = held_parsed[start : start + len(record["captions"])]
            start += len(own)
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


def train(
    config: TrainingConfig,
    data: Path,
    folder: Path,
    cache: Path | None = None,
    report: Report = print,
    stop_after: float | None = None,
) -> bool:
    """Run a recipe, or go on with it; the run folder receives the resolved recipe, the log and the model.

    Returns:
        Whether the run reached its end (it does not if ``stop_after`` seconds passed first).
    """
    folder.mkdir(parents=True, exist_ok=True)
    prepared = prepare(config, data, cache or folder / "cache", report)
    config = prepared.config
    (folder / "recipe.json").write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    torch.manual_seed(config.seed)
    model = RecognitionModel(config.model, len(prepared.vocabulary))
    encoder = load_imagenet_lite(variant=config.model.image_encoder.name)
    assert encoder.classifier is not None
    model.classifier.load_state_dict(encoder.classifier.state_dict())
    encoder.classifier = None
    model.image_encoder.load_state_dict(encoder.state_dict())
    untouched = encoder.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]
    model.image_encoder.to(memory_format=torch.channels_last)
    batcher = Batcher(
        prepared.pairs,
        prepared.texts,
        prepared.vocabulary,
        batch_size=config.batch_size,
        text_batch_size=config.text_batch_size,
        negatives=config.loss.negatives,
        views=config.data.views,
        no_tags=config.loss.no_tags,
        found_tags=config.loss.found_tags,
        found_most=config.loss.found_most,
        seed=config.seed,
    )
    losses = [stage.loss or config.loss for stage in config.stages]
    tokenizer, reward = prepared.tokenizer, None
    if any(loss.consensus for loss in losses):
        reward = ConsensusReward(prepared.pairs.pictures, tokenizer.start_id, tokenizer.end_id)
    objectives = [Objective(loss, prepared.label_embeddings, prepared.prompts, reward) for loss in losses]
    pictures = held_out = None
    if any(stage.end_to_end for stage in config.stages):
        shards = find_shards(data, config.data.validation)
        held_out = PictureReader(shards, config.model.image_encoder.resolution, config.seed)
        shards = find_shards(data, config.data.train, exclude=shards)
        pictures = PictureReader(shards, config.model.image_encoder.resolution, config.seed)
    validator = Validator(
        prepared.validation,
        prepared.vocabulary,
        prepared.label_embeddings,
        prepared.tokenizer,
        prepared.prompts,
        held_out,
    )

    seen: dict[str, CornerTargets] = {}

    def corner_targets(stage: StageConfig) -> CornerTargets:
        """What the moving average finds when the stage begins; a resumed stage reads what was kept."""
        if stage.name not in seen:
            taught = taught_tags(prepared.vocabulary, config.data.corner_support)
            kept = folder / f"corners-{config.stages.index(stage)}"
            logits = look_closer(loop.average.module, prepared.shards, prepared.label_embeddings, taught, kept, report)
            seen[stage.name] = CornerTargets(logits, taught, len(prepared.vocabulary))
        return seen[stage.name]

    def step(model: torch.nn.Module, number: int, stage: StageConfig) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, RecognitionModel)
        objective = objectives[config.stages.index(stage)]
        corners = corner_targets(stage) if objective.config.corners else None
        model.image_encoder.set_drop_path(stage.drop_path)
        batch = batcher.batch(number, with_maps=not stage.end_to_end, views=stage.views, captions=stage.captions)
        teacher, maps = None, batch.maps
        if stage.end_to_end:
            assert pictures is not None
            pixels = pictures.batch(batch.indices, number)
            # Sixteen pictures at a time: activations at full resolution fill the processor's cache soon.
            maps = torch.cat([model.image_encoder.trunk(piece) for piece in pixels.split(16)])
        with torch.set_grad_enabled(stage.encoder_learning_rate > 0):
            # Without gradients small pieces stay in the processor's cache; with them the whole batch is faster.
            pieces = maps.split(len(maps) if stage.encoder_learning_rate else 8)
            tokens = torch.cat([model.image_encoder.crown(piece) for piece in pieces])
        if stage.encoder_learning_rate and objective.config.distillation:
            with torch.no_grad():
                source = pixels.split(4) if stage.end_to_end else batch.maps.split(8)
                heads = [untouched.crown(untouched.trunk(p) if stage.end_to_end else p) for p in source]
                teacher = model.classifier(torch.cat(heads))
        return objective(model, batch, tokens, teacher, corners)

    def validate(model: torch.nn.Module, final: bool) -> dict[str, float]:
        assert isinstance(model, RecognitionModel)
        return validator(model, final)

    loop = TrainingLoop(config, model, step, validate, batcher.steps_per_epoch, folder, report)
    if loop.resume():
        report(f"resumed at step {loop.step}")
    finished = loop.run(stop_after)
    save_weights(loop.average.module, prepared, folder / "model")
    card = model_card(
        config,
        prepared.vocabulary,
        len(prepared.pairs),
        len(prepared.pairs.caption_embeddings),
        len(prepared.texts),
        _last_figures(folder / "log.jsonl"),
    )
    (folder / "model" / "README.md").write_text(card, encoding="utf-8")
    return finished


def _last_figures(log: Path) -> dict[str, float]:
    """The figures of the last validation in a run's log; none before the first."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    found = [record["validation"] for record in records if "validation" in record]
    return found[-1] if found else {}


def save_weights(model: torch.nn.Module, prepared: Prepared, folder: Path) -> None:
    """Write the torch half of a model directory: weights, config, vocabulary, tokenizer, label embeddings.

    A kill on the way leaves what was there before, or the new model whole.
    """
    from safetensors.torch import save_file, save_model

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_model(model, str(part / "model.safetensors"))
    save_file({"text_embeddings": prepared.label_embeddings}, part / "label_queries.safetensors")
    prepared.vocabulary.save(part / "vocabulary.json")
    prepared.tokenizer.save(part / "tokenizer.json")
    write_config(part, prepared.config.model, [path.name for path in part.iterdir()])
    install_model(part, folder)


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
        np.save(path, embed_texts(encoder, tokenizer, list(captions)).numpy().astype(np.float16))
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


def load_recipe_file(path: Path) -> TrainingConfig:
    """Run a recipe file's ``recipe()`` and return its config."""
    import runpy

    from anytag.errors import UsageError

    if not path.exists():
        raise UsageError(f"{path}: no such recipe; recipes are Python files with a function recipe()")
    made = runpy.run_path(str(path))
    if "recipe" not in made:
        raise UsageError(f"{path}: a recipe needs a function recipe() that returns a TrainingConfig")
    config = made["recipe"]()
    if not isinstance(config, TrainingConfig):
        raise UsageError(f"{path}: recipe() returned {type(config).__name__}, not a TrainingConfig")
    return config
