"""Configs of the official models, for training from scratch and for benchmarks."""

from __future__ import annotations

from typing import Literal

from anytag.model.config import (
    CaptionerConfig,
    DecodingConfig,
    ImageEncoderConfig,
    LabelQueryConfig,
    ModelConfig,
    RecognitionConfig,
    SwinConfig,
)
from anytag.pictures.normalization import IMAGENET

SwinSize = Literal["base", "large"]

SWIN = {
    "base": SwinConfig(width=128, heads=(4, 8, 16, 32)),
    "large": SwinConfig(width=192, heads=(6, 12, 24, 48)),
}

#: Default threshold of each family.
THRESHOLDS = {"tag2text": 0.68, "ram": 0.65, "ram_plus": 0.65}

#: Captioner of Tag2Text and RAM: interaction encoder and text decoder are BERT-base each.
CAPTIONER = CaptionerConfig(
    layers=12,
    interaction_layers=12,
    heads=12,
    inner=3072,
    vocabulary=30524,
    positions=512,
    picture_memory=False,
    shared_words=False,
    tokenizer="bert",
    guides="all",
    tag_length=40,
    mask_padding=False,
    prompt="a picture of ",
)

DECODING = DecodingConfig(num_beams=3, max_length=50, min_length=10)


def swin_encoder(size: SwinSize, resolution: int, projected: bool) -> ImageEncoderConfig:
    """Swin-B or Swin-L for a resolution of 224, 384 or another multiple of 32; windows scale with it."""
    return encoder_of(SWIN[size].model_copy(update={"window": resolution // 32}), resolution, projected)


def encoder_of(swin: SwinConfig, resolution: int, projected: bool) -> ImageEncoderConfig:
    """A Swin encoder of any size, with the preprocessing of official inference."""
    halvings = len(swin.depths) - 1
    mean, std = IMAGENET.of_bytes()
    return ImageEncoderConfig(
        name="swin",
        swin=swin,
        projection="linear" if projected else "none",
        resolution=resolution,
        width=swin.width * 2**halvings,
        tokens=(resolution // (4 * 2**halvings)) ** 2 + 1,
        classes=0,
        mean=mean,
        std=std,
        interpolation="bilinear",
        alpha="drop",
    )


def tag2text(swin: SwinSize = "base", resolution: int = 384) -> ModelConfig:
    """Tag2Text (Huang et al., 2023): learned queries, separate score heads per tag, tag-guided captions."""
    encoder = swin_encoder(swin, resolution, projected=False)
    return ModelConfig(
        family="tag2text",
        name=f"tag2text_swin_{swin}",
        width=768,
        feature_width=encoder.width,
        image_encoder=encoder,
        recognition=RecognitionConfig(layers=2, heads=4, inner=3072, score="per_tag"),
        labels=LabelQueryConfig(kind="learned", encoder="", width=768, offsets=False),
        captioner=CAPTIONER,
        decoding=DECODING,
        default_threshold=THRESHOLDS["tag2text"],
    )


def ram(swin: SwinSize = "large", resolution: int = 384) -> ModelConfig:
    """Recognize Anything (Zhang et al., 2023): queries are CLIP text embeddings, which supports any category."""
    return ModelConfig(
        family="ram",
        name=f"ram_swin_{swin}",
        width=768,
        feature_width=512,
        image_encoder=swin_encoder(swin, resolution, projected=True),
        recognition=RecognitionConfig(layers=2, heads=4, inner=3072),
        labels=LabelQueryConfig(kind="embedded", encoder="clip-vit-base-patch16", width=512, offsets=False),
        captioner=CAPTIONER,
        decoding=DECODING,
        default_threshold=THRESHOLDS["ram"],
    )


def ram_plus(swin: SwinSize = "large", resolution: int = 384, descriptions: int = 51) -> ModelConfig:
    """RAM++ (Huang et al., 2023): queries are descriptions of the tag, weighted by the picture; no captions."""
    plain = ram(swin, resolution)
    labels = plain.labels.model_copy(update={"kind": "described", "descriptions": descriptions})
    return plain.model_copy(
        update={"family": "ram_plus", "name": f"ram_plus_swin_{swin}", "labels": labels, "captioner": None}
    )
