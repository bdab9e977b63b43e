"""Map parameter names of official Tag2Text, RAM and RAM++ checkpoints, and infer their configs.

Every official name is either mapped or known and dropped for a reason; anything else is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from anytag.checkpoints.swin import swin_key
from anytag.errors import ModelError
from anytag.model.config import (
    CaptionerConfig,
    ImageEncoderConfig,
    LabelQueryConfig,
    ModelConfig,
    RecognitionConfig,
    SwinConfig,
)
from anytag.model.families import CAPTIONER, DECODING, THRESHOLDS, encoder_of

Family = Literal["tag2text", "ram", "ram_plus"]
Shape = tuple[int, ...]

FAMILIES: tuple[Family, ...] = ("tag2text", "ram", "ram_plus")

#: Patterns of official names that are not loaded, and why.
LEFT_OUT = {
    r"visual_encoder\..*\.(relative_position_index|attn_mask)": "computed from the window's size",
    r".*\.embeddings\.position_ids": "the numbers 0, 1, 2, ...",
    r"text_decoder\.cls\.predictions\.decoder\.(weight|bias)": "tied to the word embeddings and to predictions.bias",
    r"tag_encoder\.encoder\.layer\.[01]\.(crossattention|intermediate|output)\..*": "tied to the tagging head",
}

_LAYER_PARTS = {
    "attention.self": "self_attention",
    "attention.output.dense": "self_attention.output",
    "attention.output.LayerNorm": "self_attention.norm",
    "crossattention.self": "cross_attention",
    "crossattention.output.dense": "cross_attention.output",
    "crossattention.output.LayerNorm": "cross_attention.norm",
    "intermediate.dense": "feed_forward.inner",
    "output.dense": "feed_forward.output",
    "output.LayerNorm": "feed_forward.norm",
}

_EMBEDDING_PARTS = {
    "word_embeddings": "embedding.words",
    "position_embeddings": "embedding.positions",
    "LayerNorm": "embedding.norm",
}

_STACKS = (
    (r"(?:tagging_head|vision_multi)\.encoder\.layer\.(\d+)\.(.+)", "recognition_decoder"),
    (r"tag_encoder\.encoder\.layer\.(\d+)\.(.+)", "interaction_encoder"),
    (r"text_decoder\.bert\.encoder\.layer\.(\d+)\.(.+)", "text_decoder"),
)

_SINGLE = {
    "text_decoder.cls.predictions.bias": "text_decoder.bias",
    "text_decoder.cls.predictions.transform.dense": "text_decoder.transform",
    "text_decoder.cls.predictions.transform.LayerNorm": "text_decoder.norm",
    "image_proj": "image_projection",
    "wordvec_proj": "label_queries.projection",
    "reweight_scale": "label_queries.scale",
    "label_embed": "label_queries.embeddings",
    "label_embed.weight": "label_queries.weight",
    "fc": "recognition_decoder.score",
    "fc.W": "recognition_decoder.score.weight",
    "fc.b": "recognition_decoder.score.bias",
}


def official_key(name: str) -> str | None:
    """Rename an official parameter to its name in :class:`~anytag.nn.model.RecognitionModel`.

    Returns:
        The name; ``None`` if the parameter is not loaded (:data:`LEFT_OUT`).

    Raises:
        ModelError: If the name is unknown.
    """
    if any(re.fullmatch(pattern, name) for pattern in LEFT_OUT):
        return None
    if name.startswith("visual_encoder."):
        inner = swin_key(name.removeprefix("visual_encoder."))
        return None if inner is None else f"image_encoder.{inner}"
    for pattern, part in _STACKS:
        if match := re.fullmatch(pattern, name):
            return f"{part}.layers.{match[1]}.{_layer_key(match[2], name)}"
    for prefix, part in (("tag_encoder.", "interaction_encoder"), ("text_decoder.bert.", "text_decoder")):
        if name.startswith(prefix + "embeddings."):
            inner, _, leaf = name.removeprefix(prefix + "embeddings.").rpartition(".")
            if inner in _EMBEDDING_PARTS:
                return f"{part}.{_EMBEDDING_PARTS[inner]}.{leaf}"
    module, _, leaf = name.rpartition(".")
    if name in _SINGLE:
        return _SINGLE[name]
    if module in _SINGLE and leaf in ("weight", "bias"):
        return f"{_SINGLE[module]}.{leaf}"
    raise ModelError(f"{name}: no official model has a parameter of that name")


def _layer_key(inner: str, name: str) -> str:
    for official, ours in _LAYER_PARTS.items():
        if inner.startswith(official + "."):
            return f"{ours}.{inner.removeprefix(official + '.')}"
    raise ModelError(f"{name}: no official model has a parameter of that name")


@dataclass(frozen=True)
class Geometry:
    """Sizes that cannot be inferred from a checkpoint's tensors; the defaults are those of the official models.

    Attributes:
        image_size: Resolution in pixels, if no table determines it; ``None``: 32 times Swin's window.
        text_heads: Heads of the text parts; ``None``: one per 64 channels.
        tag_length: Word pieces to which tag lists are padded.
    """

    image_size: int | None = None
    recognition_heads: int = 4
    text_heads: int | None = None
    prompt: str = CAPTIONER.prompt
    tag_length: int = CAPTIONER.tag_length


def guess_family(shapes: Mapping[str, Shape]) -> Family:
    """The family of a state dict, by its names."""
    if "reweight_scale" in shapes:
        return "ram_plus"
    return "tag2text" if "label_embed.weight" in shapes else "ram"


def official_config(
    family: str,
    shapes: Mapping[str, Shape],
    name: str,
    tags: int,
    geometry: Geometry | None = None,
) -> ModelConfig:
    """Infer the config of an official model from the shapes of its parameters.

    Args:
        family: ``tag2text``, ``ram`` or ``ram_plus``.
        shapes: Shapes by official name.
        geometry: Sizes that shapes do not determine; ``None``: those of the official models.

    Raises:
        ModelError: If the parameters belong to another family, some are missing, or the tag list has another length.
    """
    geometry = geometry or Geometry()
    if family not in FAMILIES:
        raise ModelError(f"unknown family {family!r}; families are {', '.join(FAMILIES)}")
    if (guess := guess_family(shapes)) != family:
        raise ModelError(f"this is a {guess} checkpoint, not {family}; give --family {guess}")

    def shape(key: str) -> Shape:
        if key not in shapes:
            raise ModelError(f"the checkpoint has no {key}; it is incomplete or of another model")
        return shapes[key]

    width = shape("tagging_head.encoder.layer.0.crossattention.self.query.weight")[0]
    inner = shape("tagging_head.encoder.layer.0.intermediate.dense.weight")[0]
    layers = _count(shapes, r"tagging_head\.encoder\.layer\.(\d+)\.")
    encoder = _swin_config(shapes, "image_proj.weight" in shapes, geometry.image_size)
    labels = LabelQueryConfig(kind="learned", encoder="", width=width, offsets=False)
    rows = shape("label_embed.weight" if family == "tag2text" else "label_embed")
    if family == "ram":
        labels = LabelQueryConfig(kind="embedded", encoder="clip-vit-base-patch16", width=rows[1], offsets=False)
    elif family == "ram_plus":
        if tags and rows[0] % tags:
            raise ModelError(
                f"the checkpoint has {rows[0]} descriptions, which is not a multiple of the tag list's {tags} tags"
            )
        labels = LabelQueryConfig(
            kind="described",
            encoder="clip-vit-base-patch16",
            width=rows[1],
            offsets=False,
            descriptions=rows[0] // max(1, tags),
        )
    count = rows[0] // labels.descriptions
    if count != tags:
        raise ModelError(f"the checkpoint knows {count} tags, but the tag list has {tags}; give the list it came with")
    return ModelConfig(
        family=family,
        name=name,
        width=width,
        feature_width=encoder.width if encoder.projection == "none" else shape("image_proj.weight")[0],
        image_encoder=encoder,
        recognition=RecognitionConfig(
            layers=layers,
            heads=geometry.recognition_heads,
            inner=inner,
            dropout=0.1,
            score="per_tag" if family == "tag2text" else "shared",
        ),
        labels=labels,
        captioner=_captioner_config(shapes, width, geometry) if family != "ram_plus" else None,
        decoding=DECODING,
        default_threshold=THRESHOLDS[family],
        open_threshold=0.5,
    )


def _count(shapes: Mapping[str, Shape], pattern: str) -> int:
    return 1 + max((int(match[1]) for name in shapes if (match := re.match(pattern, name))), default=-1)


def _swin_config(shapes: Mapping[str, Shape], projected: bool, image_size: int | None) -> ImageEncoderConfig:
    prefix = "visual_encoder.layers"
    stages = _count(shapes, rf"{re.escape(prefix)}\.(\d+)\.")
    tables = [shapes.get(f"{prefix}.{stage}.blocks.0.attn.relative_position_bias_table") for stage in range(stages)]
    if not stages or None in tables or "visual_encoder.patch_embed.proj.weight" not in shapes:
        raise ModelError("the checkpoint has no Swin image encoder (visual_encoder.*); it is not an official model")
    # A table's side is 2 x window - 1, and the first stage's window is never reduced to a smaller grid.
    windows = [(round(table[0] ** 0.5) + 1) // 2 for table in tables if table]
    swin = SwinConfig(
        width=shapes["visual_encoder.patch_embed.proj.weight"][0],
        depths=tuple(_count(shapes, rf"{re.escape(prefix)}\.{stage}\.blocks\.(\d+)\.") for stage in range(stages)),
        heads=tuple(table[1] for table in tables if table),
        window=windows[0],
    )
    side = _picture_side(shapes, prefix, windows)
    if side is not None and image_size not in (None, side):
        raise ModelError(
            f"the checkpoint's tables are those of pictures of {side} px, not {image_size}; leave --image-size out, "
            "and give --resolution to convert it for another side"
        )
    # The official models have a resolution of 32 windows: 224 px with 7, 384 px with 12.
    return encoder_of(swin, side or image_size or 32 * windows[0], projected)


def _picture_side(shapes: Mapping[str, Shape], prefix: str, windows: Sequence[int]) -> int | None:
    """The resolution that a Swin was trained with, in pixels; ``None`` if its tables do not determine it."""
    for stage, window in enumerate(windows):
        cell = 4 * 2**stage
        if mask := shapes.get(f"{prefix}.{stage}.blocks.1.attn_mask"):
            return round(mask[0] ** 0.5) * window * cell  # One mask per shifted window.
        if window < windows[0]:
            return window * cell  # Windows are reduced to smaller grids.
    return None


def _captioner_config(shapes: Mapping[str, Shape], width: int, geometry: Geometry) -> CaptionerConfig:
    words = shapes["text_decoder.bert.embeddings.word_embeddings.weight"]
    sizes = {
        "layers": _count(shapes, r"text_decoder\.bert\.encoder\.layer\.(\d+)\."),
        "interaction_layers": _count(shapes, r"tag_encoder\.encoder\.layer\.(\d+)\."),
        "heads": geometry.text_heads or max(1, width // 64),
        "prompt": geometry.prompt,
        "tag_length": geometry.tag_length,
        "inner": shapes["text_decoder.bert.encoder.layer.0.intermediate.dense.weight"][0],
        "vocabulary": words[0],
        "positions": shapes["text_decoder.bert.embeddings.position_embeddings.weight"][0],
    }
    return CAPTIONER.model_copy(update=sizes)
