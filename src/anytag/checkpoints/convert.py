"""Convert an official checkpoint to a model directory (``anytag convert``)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from anytag.checkpoints.clip import read_clip_text, write_clip_text
from anytag.checkpoints.official import refuse_clip
from anytag.checkpoints.official_keys import Geometry, official_config, official_key
from anytag.checkpoints.swin import fit_position_table
from anytag.checkpoints.tag_lists import official_vocabulary, read_list
from anytag.checkpoints.weight_files import map_parameters, read_checkpoint
from anytag.errors import ModelError, UsageError
from anytag.foundations.atomic_files import DISK_FULL
from anytag.foundations.report import Report
from anytag.language.tokenizers.bert_tokenizer import build_official_tokenizer
from anytag.language.tokenizers.wordpieces import bert_wordpieces
from anytag.model.config import ModelConfig
from anytag.model.directory import new_model, refuse_existing, write_config
from anytag.nn.weights import WEIGHTS_FILE, empty_model, write_weights

#: Parameters that may have another number of axes in official files.
_TABLES = ("label_embed", "fc.W", "fc.b", "reweight_scale")


def convert_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    family: str,
    tags: Path,
    tags_zh: Path | None = None,
    thresholds: Path | None = None,
    clip: Path | None = None,
    resolution: int | None = None,
    name: str | None = None,
    geometry: Geometry | None = None,
    report: Report = print,
) -> ModelConfig:
    """Write the model directory of an official checkpoint; nothing is written unless everything fits.

    Args:
        checkpoint: ``.pth`` file: a dict with ``model``, or the state dict itself.
        out: The model directory; must not exist or be empty.
        family: ``tag2text``, ``ram`` or ``ram_plus``.
        tags: The tag list, one name per line, in the order of the checkpoint.
        thresholds: One number per line; ``None``: the family's default for every tag.
        clip: Folder of a CLIP model, whose text encoder is added for categories outside the tag list.
        resolution: Resolution of the converted model, to which position tables are resized; ``None``: the checkpoint's.
        name: Name of the model; ``None``: that of the checkpoint file.
        geometry: Sizes that cannot be inferred from the tensors; ``None``: those of the official models.

    Raises:
        ModelError: If the file is not such a checkpoint, or does not fit the lists.
        UsageError: If ``out`` is not empty, the family does not use CLIP, or Swin does not support the resolution.
    """
    refuse_existing(out)
    if clip is not None:
        refuse_clip(family)
    names = read_list(tags, "tag list")
    vocabulary = official_vocabulary(
        family,
        names,
        read_list(tags_zh, "Chinese tag list") if tags_zh else None,
        read_list(thresholds, "threshold list") if thresholds else None,
        thresholds.name if thresholds else None,
    )
    state = read_checkpoint(checkpoint)
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    config = official_config(family, shapes, name or checkpoint.stem, len(names), geometry)
    report(f"{checkpoint.name}: {family}, {len(state)} parameters by name, {len(names)} tags")
    if resolution is not None and resolution != config.image_encoder.resolution:
        config = at_resolution(config, resolution)
    text = read_clip_text(clip) if clip is not None else None
    if text is not None:
        if text.config.embedding != config.labels.width:
            raise ModelError(
                f"{clip}: has text embeddings of width {text.config.embedding}, but the model's have "
                f"{config.labels.width}; the official models were made with openai/clip-vit-base-patch16"
            )
        labels = config.labels.model_copy(update={"clip_text": text.config})
        config = config.model_copy(update={"labels": labels})
    ours = rename_state(state, config, len(names))
    for key, tensor in ours.items():
        if tensor.is_floating_point() and not _is_finite(tensor):
            raise ModelError(f"{checkpoint}: {key} holds values that are not numbers; the file is damaged")
    with _explained_full_disk(out.parent), new_model(out) as part:
        _check_space(part, [*ours.values(), *(text.state.values() if text is not None else ())])
        write_weights(ours, part / WEIGHTS_FILE)
        report(f"{WEIGHTS_FILE}: {(part / WEIGHTS_FILE).stat().st_size / 1e6:.0f} MB")
        vocabulary.save(part / "vocabulary.json")
        files = [WEIGHTS_FILE, "vocabulary.json", "README.md"]
        if config.captioner is not None:
            build_official_tokenizer(bert_wordpieces()).save(part / "tokenizer.json")
            files.append("tokenizer.json")
        if text is not None:
            files += write_clip_text(text, part)
        (part / "README.md").write_text(_card(config, checkpoint.name, thresholds), encoding="utf-8")
        write_config(part, config, files)
    report(f"{out}: ready; try: anytag tag PICTURE --model {out}")
    return config


@contextmanager
def _explained_full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise UsageError(f"{folder}: the disk is full; free some space or choose another folder") from None
        raise


def _check_space(part: Path, tensors: Sequence[Tensor]) -> None:
    """Check free space before writing gigabytes; other files than weights take a few megabytes."""
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors) + 16_000_000
    free = shutil.disk_usage(part).free
    if free < needed:
        raise UsageError(
            f"{part.parent}: {needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free; "
            "free some space or choose another folder"
        )


def _is_finite(tensor: Tensor) -> bool:
    """Check in parts, because ``isfinite`` of a whole tensor needs as much memory again."""
    return all(bool(torch.isfinite(some).all()) for some in tensor.reshape(-1).split(2**22))


def rename_state(state: Mapping[str, Tensor], config: ModelConfig, tags: int) -> dict[str, Tensor]:
    """Rename an official state dict to the names of this project.

    Raises:
        ModelError: If a parameter is missing, unexpected or has the wrong shape.
    """
    expected = {name: tuple(p.shape) for name, p in empty_model(config, tags).named_parameters()}

    def adapt(official: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        # Official files store some tables flat, or with a leading axis of one.
        if official in _TABLES and tensor.numel() == math.prod(shape):
            return tensor.reshape(shape)
        if official.endswith("relative_position_bias_table"):
            return fit_position_table(tensor, shape)
        return tensor

    return map_parameters(state, expected, official_key, adapt, f"a {config.family} model")


def at_resolution(config: ModelConfig, resolution: int) -> ModelConfig:
    """The config of a Swin model for another resolution; windows scale with it.

    Raises:
        UsageError: If Swin does not support the resolution.
    """
    encoder = config.image_encoder
    assert encoder.swin is not None
    stride = 4 * 2 ** (len(encoder.swin.depths) - 1)  # Pixels per cell of the last stage's grid.
    if resolution < stride or resolution % stride:
        lower = max(stride, resolution // stride * stride)
        raise UsageError(
            f"resolution {resolution} is not a multiple of {stride}; the nearest are {lower} and {lower + stride}"
        )
    window, rest = divmod(encoder.swin.window * resolution, encoder.resolution)
    if rest or not window:
        raise UsageError(
            f"resolution {resolution} leaves no whole window: it has {encoder.swin.window} cells at "
            f"{encoder.resolution} px, and grows with the picture; give a multiple of {encoder.resolution}"
        )
    changed = encoder.model_copy(
        update={
            "resolution": resolution,
            "swin": encoder.swin.model_copy(update={"window": window}),
            "tokens": (resolution // stride) ** 2 + 1,
        }
    )
    return config.model_copy(update={"image_encoder": changed})


def _card(config: ModelConfig, source: str, thresholds: Path | None) -> str:
    encoder = config.image_encoder
    limits = f"from {thresholds.name}" if thresholds else f"{config.default_threshold} for every tag"
    captions = "writes captions" if config.captioner else "writes no captions"
    return f"""---
license: apache-2.0
tags: [image-tagging, {config.family}]
---
# {config.name}

The official {config.family} model, converted from `{source}`: the same weights under other names.

- Image encoder: Swin, width {encoder.swin.width if encoder.swin else "?"}, {encoder.resolution} px.
- Label queries: {config.labels.kind}; thresholds: {limits}.
- It {captions}.

Training data, figures and limits: Tag2Text (arXiv 2303.05657), RAM (arXiv 2306.03514), RAM++ (arXiv 2310.15200).
Its authors released it under Apache-2.0.
"""
