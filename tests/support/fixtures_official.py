"""Models built like the official ones, small enough for tests; they need PyTorch."""

from __future__ import annotations

import torch

from anytag.model.config import (
    CaptionerConfig,
    ImageEncoderConfig,
    LabelQueryConfig,
    ModelConfig,
    RecognitionConfig,
    SwinConfig,
)
from anytag.nn.model import RecognitionModel

#: Tags of every small model, side of its pictures, and width of CLIP's embeddings.
TAGS, SIDE, CLIP = 6, 16, 10


def small_config(family: str, vocabulary: int = 40, dropout: float = 0.0) -> ModelConfig:
    """A Swin of two stages, two layers of recognition decoder, and (but for RAM++) a captioner of two layers."""
    kinds = {"tag2text": "learned", "ram": "embedded", "ram_plus": "described"}
    projected = family != "tag2text"
    captioner = CaptionerConfig(
        layers=2,
        interaction_layers=3,
        heads=2,
        inner=12,
        vocabulary=vocabulary,
        positions=40,
        picture_memory=False,
        shared_words=False,
        tokenizer="bert",
        guides="all",
        tag_length=40,
        mask_padding=False,
        prompt="a picture of ",
        dropout=dropout,
    )
    return ModelConfig(
        family=family,  # type: ignore[arg-type]
        width=8,
        feature_width=CLIP if projected else 12,
        image_encoder=ImageEncoderConfig(
            name="swin",
            swin=SwinConfig(width=6, depths=(1, 1), heads=(1, 2), window=2, drop_path=dropout),
            projection="linear" if projected else "none",
            resolution=SIDE,
            width=12,
            tokens=5,
            classes=0,
        ),
        recognition=RecognitionConfig(
            layers=2, heads=2, inner=12, dropout=dropout, score="shared" if projected else "per_tag"
        ),
        labels=LabelQueryConfig(kind=kinds[family], width=CLIP, offsets=False, descriptions=3),  # type: ignore[arg-type]
        captioner=captioner if family != "ram_plus" else None,
    )


def small_model(family: str, seed: int = 0, vocabulary: int = 40, dropout: float = 0.0) -> RecognitionModel:
    """A model of random weights, in eval mode."""
    torch.manual_seed(seed)
    model = RecognitionModel(small_config(family, vocabulary, dropout), TAGS)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()
