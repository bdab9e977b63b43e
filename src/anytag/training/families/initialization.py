"""Initialize a run: a new model from public weights, or a model directory's model with the recipe's vocabulary."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from anytag.checkpoints.bert import load_bert
from anytag.checkpoints.clip import ClipText
from anytag.checkpoints.convert import at_resolution
from anytag.checkpoints.exported import read_exported
from anytag.checkpoints.swin import load_swin_backbone
from anytag.errors import ModelError, UsageError
from anytag.language.label_texts.embedding_cache import TextEncoder
from anytag.language.parsing.parser import CaptionParser
from anytag.language.tokenizers.bert_tokenizer import OfficialTokenizer, build_official_tokenizer
from anytag.language.tokenizers.tokenizer import CaptionTokenizer, build_caption_tokenizer
from anytag.language.tokenizers.wordpieces import bert_wordpieces
from anytag.model.config import CaptionerConfig, ModelConfig
from anytag.model.directory import ModelDirectory, find_model
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.clip_text import TOKENIZER as CLIP_TOKENIZER
from anytag.nn.clip_text import WEIGHTS as CLIP_WEIGHTS
from anytag.nn.efficientnet_lite import load_imagenet_lite
from anytag.nn.label_queries import EmbeddedLabelQueries, TextLabelQueries
from anytag.nn.model import RecognitionModel
from anytag.nn.text_encoder import sentence_encoder_folder
from anytag.nn.weights import WEIGHTS_FILE, read_model
from anytag.training.families.data_sources import RunData, find_path
from anytag.training.families.label_embeddings import embed_tags, find_texts
from anytag.training.families.tag_transfer import BoundLabelQueries, carry_over
from anytag.training.families.vocabularies import choose_vocabulary
from anytag.training.recipes.config import SENTENCE_ENCODER, LiteConfig, TrainingConfig

#: The name in recipes of the model that ships with the package.
SHIPPED = "lite"

#: Text embeddings of a ``lite`` model's tags.
LABELS_FILE = "label_queries.safetensors"


@dataclass
class InitialModel:
    """The initial model of a run, and what belongs to it.

    Attributes:
        config: The model's config, sizes resolved.
        model: In training mode.
        vocabulary: Its tags.
        origins: For every tag its id in the model that the run started from, if it has one.
        tokenizer: Caption tokenizer of the official families.
        caption_tokenizer: Caption tokenizer of a ``lite`` model whose captioner is trained.
        texts: Text encoder, if there is one.
        clip: CLIP's text encoder, to save with the model.
        label_embeddings: Text embeddings of the tags, ``[T, D]``, for ``lite`` models, whose weights lack them.
        directory: The model directory that the run started from.
        files: Its files to copy unchanged.
    """

    config: ModelConfig
    model: RecognitionModel
    vocabulary: TagVocabulary
    origins: tuple[int | None, ...]
    tokenizer: OfficialTokenizer | None = None
    caption_tokenizer: CaptionTokenizer | None = None
    texts: TextEncoder | None = None
    clip: ClipText | None = None
    label_embeddings: Tensor | None = None
    directory: ModelDirectory | None = None
    files: tuple[str, ...] = ()


def find_start(start: str, data: Path) -> ModelDirectory:
    """Find a model directory: a folder, relative to ``data`` or not, a hub id, or ``lite`` for the shipped model.

    Raises:
        ModelError: If there is no such model, or it has neither PyTorch weights nor ONNX graphs of ``lite``.
    """
    path = Path(start)
    inside = data / path
    if start == SHIPPED and not path.exists() and not inside.exists():
        return find_model(None)
    directory = find_model(inside if not path.is_absolute() and inside.is_dir() else start)
    is_exported_lite = directory.config.family == "lite" and directory.has("onnx/recognition_decoder.onnx")
    if not directory.has(WEIGHTS_FILE) and not is_exported_lite:
        raise ModelError(
            f"{directory.path}: has no {WEIGHTS_FILE}, and of ONNX graphs only lite's can be trained; start from a "
            "training run's model/ or from a converted checkpoint (anytag convert, anytag pull)"
        )
    return directory


def initialize_model(
    config: TrainingConfig,
    run_data: RunData,
    cache: Path,
    directory: ModelDirectory | None,
    parser: CaptionParser | None,
) -> InitialModel:
    """Choose the vocabulary and initialize a new model, or that of a directory; the same call gives the same weights.

    The cache keeps vocabulary, word pieces and text embeddings.

    Raises:
        ModelError: If weights or sizes do not fit.
        UsageError: If a file is missing, or there are no tags.
    """
    listed, data = config.vocabulary.tags, run_data.folder
    chosen = choose_vocabulary(
        config.vocabulary,
        directory.vocabulary if directory is not None else None,
        find_path(listed, data) if listed is not None else None,
        run_data.sources,
        parser,
        cache,
    )
    teacher = config.teacher
    named = teacher.texts or teacher.clip
    if named is None and directory is None and config.model is not None and config.model.labels.kind == "text":
        named = SENTENCE_ENCODER
    texts, clip = find_texts(find_path(named, data) if named not in (None, SENTENCE_ENCODER) else named, directory)
    sizes = _sizes(config, directory, clip)
    tokenizer, caption_tokenizer = None, None
    if sizes.captioner is not None and sizes.captioner.tokenizer == "bert":
        tokenizer = _tokenizer(directory, sizes.captioner)
        sizes = _with_words(sizes, len(tokenizer))
    elif sizes.captioner is not None and isinstance(config.objective, LiteConfig):
        caption_tokenizer = _caption_tokenizer(run_data, cache, directory)
        sizes = _with_words(sizes, len(caption_tokenizer))
    torch.manual_seed(config.seed)
    try:
        model = RecognitionModel(sizes, len(chosen.vocabulary))
    except ValueError as error:
        raise UsageError(f"model: the sizes do not fit each other: {error}") from None
    fresh = [tag for tag, origin in zip(chosen.vocabulary, chosen.origins, strict=True) if origin is None]
    descriptions = find_path(teacher.descriptions, data) if teacher.descriptions is not None else None
    embeddings = embed_tags(fresh, sizes.labels, texts, cache, descriptions)
    labels = None
    if directory is None:
        _fill(config, data, model, embeddings)
        labels = embeddings if sizes.labels.kind == "text" else None
    else:
        known = _known_embeddings(directory, texts, cache) if sizes.labels.kind == "text" else None
        if directory.has(WEIGHTS_FILE):
            old = read_model(directory.config, len(directory.vocabulary), directory.file(WEIGHTS_FILE))
        else:
            assert known is not None
            old = read_exported(directory, known)
        carry_over(old, model, chosen.origins, embeddings)
        if known is not None:
            rows = iter(embeddings if embeddings is not None else ())
            labels = torch.stack([next(rows) if origin is None else known[origin] for origin in chosen.origins])
    return InitialModel(
        config=sizes,
        model=model.train(),
        vocabulary=chosen.vocabulary,
        origins=chosen.origins,
        tokenizer=tokenizer,
        caption_tokenizer=caption_tokenizer,
        texts=texts,
        clip=clip,
        label_embeddings=labels,
        directory=directory,
        files=_kept_files(directory, clip),
    )


def _sizes(config: TrainingConfig, directory: ModelDirectory | None, clip: ClipText | None) -> ModelConfig:
    sizes = directory.config if directory is not None else config.model
    assert sizes is not None
    encoder = sizes.image_encoder
    if config.resolution is not None and config.resolution != encoder.resolution:
        if encoder.swin is None:
            raise ModelError(f"{encoder.name} looks at pictures of {encoder.resolution} px only; leave resolution out")
        sizes = at_resolution(sizes, config.resolution)
        encoder = sizes.image_encoder
    if config.drop_path is not None and encoder.swin is not None:
        swin = encoder.swin.model_copy(update={"drop_path": config.drop_path})
        sizes = sizes.model_copy(update={"image_encoder": encoder.model_copy(update={"swin": swin})})
    if clip is not None and sizes.labels.kind in ("embedded", "described"):
        sizes = sizes.model_copy(update={"labels": sizes.labels.model_copy(update={"clip_text": clip.config})})
    return sizes.model_copy(update={"name": config.name, "files": {}})


def _tokenizer(directory: ModelDirectory | None, captioner: CaptionerConfig) -> OfficialTokenizer:
    if directory is None:
        return build_official_tokenizer(bert_wordpieces(), captioner.prompt, captioner.tag_length)
    return OfficialTokenizer.load(directory.file("tokenizer.json"), captioner.prompt, captioner.tag_length)


def _caption_tokenizer(run_data: RunData, cache: Path, directory: ModelDirectory | None) -> CaptionTokenizer:
    """Load the tokenizer of the model to start from, or build one for the captions of the data."""
    if directory is not None:
        return CaptionTokenizer.load(directory.file("tokenizer.json"))
    made_of = [[source.identity for source in run_data.sources], run_data.texts]
    path = cache / f"tokenizer-{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]}.json"
    if not path.exists():
        pieces = (sentence_encoder_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
        cache.mkdir(parents=True, exist_ok=True)
        build_caption_tokenizer(pieces, run_data.captions()).save(path)
    return CaptionTokenizer.load(path)


def _with_words(sizes: ModelConfig, words: int) -> ModelConfig:
    assert sizes.captioner is not None
    return sizes.model_copy(update={"captioner": sizes.captioner.model_copy(update={"vocabulary": words})})


def bind_label_queries(start: InitialModel) -> None:
    """Bind the tags' text embeddings to a ``lite`` model's label queries, so that they work like other models'."""
    queries = start.model.label_queries
    if isinstance(queries, TextLabelQueries):
        assert start.label_embeddings is not None
        start.model.label_queries = BoundLabelQueries(queries, start.label_embeddings)


def _fill(config: TrainingConfig, data: Path, model: RecognitionModel, embeddings: Tensor | None) -> None:
    """Load public weights into a new model."""
    if config.image_weights is not None:
        load_swin_backbone(find_path(config.image_weights, data), model.image_encoder)
    elif model.config.image_encoder.swin is None:
        encoder = load_imagenet_lite(variant=model.config.image_encoder.name)
        assert encoder.classifier is not None
        model.classifier.load_state_dict(encoder.classifier.state_dict())
        encoder.classifier = None
        model.image_encoder.load_state_dict(encoder.state_dict())
    if config.text_weights is not None:
        load_bert(find_path(config.text_weights, data), model)
    if isinstance(model.label_queries, EmbeddedLabelQueries):
        assert embeddings is not None
        with torch.no_grad():
            model.label_queries.embeddings.copy_(embeddings)


def _known_embeddings(directory: ModelDirectory, texts: TextEncoder | None, cache: Path) -> Tensor:
    """Text embeddings of a ``lite`` model's tags, which training runs save and exported models lack."""
    from safetensors.torch import load_file

    embeddings = load_file(directory.file(LABELS_FILE)).get("text_embeddings")
    if embeddings is None:
        embeddings = embed_tags(list(directory.vocabulary), directory.config.labels, texts, cache)
    assert embeddings is not None
    return embeddings


def _kept_files(directory: ModelDirectory | None, clip: ClipText | None) -> tuple[str, ...]:
    """Files of the model to start from that training does not change."""
    if directory is None:
        return ()
    names = ("tokenizer.json", "label_tokenizer.json", CLIP_WEIGHTS, CLIP_TOKENIZER)
    replaced = (CLIP_WEIGHTS, CLIP_TOKENIZER) if clip is not None else ()
    return tuple(dict.fromkeys(name for name in names if directory.has(name) and name not in replaced))
