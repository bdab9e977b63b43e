"""The whole network, put together from its config."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.model_config import ModelConfig
from anytag.nn.captioner import InteractionEncoder, TextDecoder
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.nn.label_queries import TextLabelQueries
from anytag.nn.recognition_decoder import RecognitionDecoder
from anytag.nn.transformer import TextEmbedding


class FrozenClassifier(nn.Module):
    """The linear classifier that came with the image encoder; buffers, so that nothing trains it.

    Args:
        width: Width of a token.
        classes: Number of classes; 0 leaves an empty classifier.
    """

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.weight = nn.Buffer(torch.zeros(classes, width))
        self.bias = nn.Buffer(torch.zeros(classes))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, N, width]`` to logits ``[B, classes]``, of their mean as in its own training."""
        return F.linear(tokens.mean(1), self.weight, self.bias)


class RecognitionModel(nn.Module):
    """Image encoder, label queries, recognition decoder and captioner.

    Args:
        config: Sizes of every part; a captioner needs ``captioner.vocabulary``.
        tags: Number of tags with a learned query offset.
    """

    def __init__(self, config: ModelConfig, tags: int = 0):
        super().__init__()
        self.config = config
        width, recognition, labels = config.width, config.recognition, config.labels
        self.image_encoder = EfficientNetLite(config.image_encoder.name, folded=True)
        self.classifier = FrozenClassifier(config.image_encoder.width, config.image_encoder.classes)
        self.image_projection = nn.Linear(config.image_encoder.width, width)
        self.image_norm = nn.LayerNorm(width)
        self.image_positions = nn.Parameter(torch.randn(config.image_encoder.tokens, width) * 0.02)
        self.label_queries = TextLabelQueries(labels.width, width, labels.inner, tags if labels.offsets else 0)
        self.recognition_decoder = RecognitionDecoder(
            width, recognition.layers, recognition.heads, recognition.inner, width, recognition.dropout
        )
        captioner = config.captioner
        if captioner is not None:
            embedding = TextEmbedding(captioner.vocabulary, width, captioner.positions, dropout=captioner.dropout)
            self.interaction_encoder = InteractionEncoder(
                embedding, self.recognition_decoder, captioner.heads, captioner.dropout
            )
            self.text_decoder = TextDecoder(
                embedding, width, captioner.layers, captioner.heads, captioner.inner, width, captioner.dropout
            )
            #: Stands for the picture where there is none (captions without pictures train the language side).
            self.no_picture = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self._initialise()

    def _initialise(self) -> None:
        """BERT's initialisation for everything but the image encoder, whose weights come from ImageNet."""
        for name, module in self.named_modules():
            if name.startswith("image_encoder"):
                continue
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02 if module.out_features > 1 else 0.05)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding) and "offsets" not in name:
                nn.init.normal_(module.weight, std=0.02)
        for layer in (self.image_projection, self.label_queries.projection[0], self.label_queries.projection[2]):
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
        # Most tags are absent from most pictures.
        nn.init.constant_(self.recognition_decoder.score.bias, -3.0)

    def features(self, tokens: Tensor) -> Tensor:
        """Image tokens ``[B, N, C]`` to features ``[B, 1 + N, width]``; the first is the picture as a whole."""
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        return self.image_norm(self.image_projection(tokens)) + self.image_positions

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pixels ``[B, 3, R, R]`` to features ``[B, 1 + N, width]`` and class logits ``[B, classes]``."""
        tokens = self.image_encoder.crown(self.image_encoder.trunk(pixels))
        return self.features(tokens), self.classifier(tokens)

    def fuse(self, tag_ids: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Tags and picture to what the text decoder looks at.

        Args:
            tag_ids: Tag tokens ``[B, T]``, padded with 0.
            features: ``[B, N, width]``.

        Returns:
            The memory ``[B, T (+ N), width]`` and its mask ``[B, 1, 1, T (+ N)]``, true for what counts.
        """
        fused = self.interaction_encoder(tag_ids, features)
        mask = tag_ids != 0
        if self.config.captioner is not None and self.config.captioner.picture_memory:
            fused = torch.cat([fused, features], 1)
            mask = torch.cat([mask, mask.new_ones(features.shape[:2])], 1)
        return fused, mask[:, None, None]
