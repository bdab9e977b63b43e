"""The whole network, assembled from its config."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.model.config import ImageEncoderConfig, LabelQueryConfig, ModelConfig
from anytag.nn.captioner import InteractionEncoder, TextDecoder
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.nn.label_queries import (
    DescribedLabelQueries,
    EmbeddedLabelQueries,
    LearnedLabelQueries,
    TextLabelQueries,
)
from anytag.nn.recognition_decoder import PerTagScore, RecognitionDecoder
from anytag.nn.swin import SwinTransformer
from anytag.nn.transformer import TextEmbedding


class FrozenClassifier(nn.Module):
    """The linear classifier of the pretrained image encoder; its weights are buffers, so they are never trained.

    With ``classes=0`` it is empty.
    """

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.weight = nn.Buffer(torch.zeros(classes, width), persistent=bool(classes))
        self.bias = nn.Buffer(torch.zeros(classes), persistent=bool(classes))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens ``[B, N, width]`` to logits ``[B, classes]`` of their mean."""
        return F.linear(tokens.mean(1), self.weight, self.bias)


def encoder_input(pixels: Tensor, config: ImageEncoderConfig) -> Tensor:
    """Normalize pixels ``[B, R, R, 3]`` in [0, 255] to ``[B, 3, R, R]``, in channels-last memory format."""
    mean = torch.tensor(config.mean, device=pixels.device)
    scale = 1 / torch.tensor(config.std, device=pixels.device)
    return ((pixels.float() - mean) * scale).permute(0, 3, 1, 2)


def build_image_encoder(config: ImageEncoderConfig) -> nn.Module:
    """Build an image encoder, which returns tokens ``[B, N, C]``.

    Raises:
        ValueError: If the config's sizes contradict each other.
    """
    swin = config.swin
    if swin is None:
        return EfficientNetLite(config.name, folded=True)
    encoder = SwinTransformer(
        config.resolution, swin.width, swin.depths, swin.heads, swin.window, drop_path=swin.drop_path
    )
    if (encoder.tokens + 1, encoder.out_width) != (config.tokens, config.width):
        raise ValueError(
            f"this Swin gives {encoder.tokens} tokens of width {encoder.out_width}, with their mean one more; "
            f"the config says {config.tokens} of width {config.width}"
        )
    return encoder


def build_label_queries(config: LabelQueryConfig, width: int, tags: int) -> nn.Module:
    """Build the label queries for a number of tags."""
    if config.kind == "learned":
        return LearnedLabelQueries(tags, width)
    if config.kind == "embedded":
        return EmbeddedLabelQueries(tags, config.width, width)
    if config.kind == "described":
        return DescribedLabelQueries(tags, config.descriptions, config.width, width)
    return TextLabelQueries(config.width, width, config.inner, tags if config.offsets else 0)


class RecognitionModel(nn.Module):
    """Image encoder, label queries, recognition decoder and captioner.

    Args:
        config: Sizes of all parts; with a captioner, ``captioner.vocabulary`` must be set.
        tags: Number of tags in the vocabulary.

    Raises:
        ValueError: If the config's sizes contradict each other.
    """

    def __init__(self, config: ModelConfig, tags: int = 0):
        super().__init__()
        self.config = config
        if misfit := config.misfit():
            raise ValueError(misfit)
        width, recognition, encoder = config.width, config.recognition, config.image_encoder
        #: Untyped, as is ``label_queries``, because their methods depend on the family.
        self.image_encoder: Any = build_image_encoder(encoder)
        self.classifier = FrozenClassifier(encoder.width, encoder.classes)
        if encoder.projection != "none":
            self.image_projection = nn.Linear(encoder.width, config.features)
        if encoder.projection == "normalized":
            self.image_norm = nn.LayerNorm(config.features)
            self.image_positions = nn.Parameter(torch.randn(encoder.tokens, config.features) * 0.02)
        self.label_queries: Any = build_label_queries(config.labels, width, tags)
        self.recognition_decoder = RecognitionDecoder(
            width,
            recognition.layers,
            recognition.heads,
            recognition.inner,
            config.features,
            recognition.dropout,
            tags if recognition.score == "per_tag" else 0,
        )
        captioner = config.captioner
        if captioner is not None:

            def embedding() -> TextEmbedding:
                return TextEmbedding(captioner.vocabulary, width, captioner.positions, dropout=captioner.dropout)

            words = embedding()
            self.interaction_encoder = InteractionEncoder(
                words,
                self.recognition_decoder,
                captioner.heads,
                captioner.dropout,
                captioner.interaction_layers,
                captioner.inner,
                captioner.attention_dropout,
            )
            self.text_decoder = TextDecoder(
                words if captioner.shared_words else embedding(),
                width,
                captioner.layers,
                captioner.heads,
                captioner.inner,
                width,
                captioner.dropout,
                captioner.attention_dropout,
            )
            if captioner.picture_memory:
                #: Replaces the picture when the captioner is trained on captions without pictures.
                self.no_picture = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self._initialize()

    def _initialize(self) -> None:
        """Initialize all parts as in BERT, except the image encoder, whose weights are pretrained on ImageNet."""
        for name, module in self.named_modules():
            if name.startswith("image_encoder"):
                continue
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02 if module.out_features > 1 else 0.05)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding) and "offsets" not in name:
                nn.init.normal_(module.weight, std=0.02)
        if isinstance(self.label_queries, TextLabelQueries):
            for layer in (self.image_projection, self.label_queries.projection[0], self.label_queries.projection[2]):
                nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
        # Most tags are absent from most pictures.
        nn.init.constant_(self.recognition_decoder.score.bias, -3.0)  # type: ignore[arg-type]

    def features(self, tokens: Tensor) -> Tensor:
        """Map image tokens ``[B, N, C]`` to features ``[B, 1 + N, F]``; the first is projected from their mean."""
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        kind = self.config.image_encoder.projection
        if kind != "none":
            tokens = self.image_projection(tokens)
        return self.image_norm(tokens) + self.image_positions if kind == "normalized" else tokens

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalized pixels ``[B, 3, R, R]`` to features ``[B, 1 + N, F]`` and class logits ``[B, classes]``."""
        tokens = self.image_encoder(pixels)
        return self.features(tokens), self.classifier(tokens)

    def label_inputs(self, text_embeddings: Tensor | None = None) -> dict[str, Tensor]:
        """Inputs of the recognition decoder for all tags, by name; they do not depend on the picture.

        Args:
            text_embeddings: ``[T, E]``, for label queries of the kind ``text``.

        Returns:
            ``queries`` and ``projected`` ``[T, W]``, with separate score heads also ``weights`` ``[T, W]`` and
            ``biases`` ``[T]``; in RAM++ only ``descriptions`` ``[T, D, E]``.
        """
        labels, decoder = self.label_queries, self.recognition_decoder
        if isinstance(labels, DescribedLabelQueries):
            return {"descriptions": labels.embeddings}
        if text_embeddings is not None:
            queries = labels(text_embeddings, torch.arange(len(text_embeddings), device=text_embeddings.device))
        else:
            queries = labels()
        inputs = {"queries": queries, "projected": decoder.project(queries)}
        if isinstance(decoder.score, PerTagScore):
            inputs |= {"weights": decoder.score.weight, "biases": decoder.score.bias}
        return inputs

    def recognize(self, features: Tensor, ids: Tensor | None = None) -> Tensor:
        """Score tags, in models whose label queries store them (all families but lite).

        Args:
            features: ``[B, 1 + N, F]``.
            ids: Tag ids ``[T]``; ``None``: all tags.

        Returns:
            Logits ``[B, T]``.
        """
        labels = self.label_queries
        queries = labels(features[:, 0], ids) if isinstance(labels, DescribedLabelQueries) else labels(ids)
        return self.recognition_decoder(features, queries, ids=ids)

    def fuse(self, tag_ids: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse tags and picture into the memory that the text decoder attends to.

        Args:
            tag_ids: Tag tokens ``[B, T]``, padded with 0.
            features: ``[B, N, width]``.

        Returns:
            The memory ``[B, T (+ N), width]`` and its mask ``[B, 1, 1, T (+ N)]``, false at padding. The N image
            features are part of it if ``captioner.picture_memory`` is set.
        """
        fused = self.interaction_encoder(tag_ids, features)
        captioner = self.config.captioner
        assert captioner is not None
        mask = tag_ids != 0 if captioner.mask_padding else torch.ones_like(tag_ids, dtype=torch.bool)
        if captioner.picture_memory:
            fused = torch.cat([fused, features], 1)
            mask = torch.cat([mask, mask.new_ones(features.shape[:2])], 1)
        return fused, mask[:, None, None]
