"""From an official checkpoint file to a model directory (``anytag convert``)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from anytag.checkpoints.clip import read_clip_text, write_clip_text
from anytag.checkpoints.official import refuse_clip
from anytag.checkpoints.official_keys import Geometry, official_config, official_key
from anytag.checkpoints.swin import resize_position_table
from anytag.checkpoints.tag_lists import official_vocabulary, read_list
from anytag.checkpoints.weight_files import read_checkpoint
from anytag.errors import ModelError, UsageError
from anytag.foundations.atomic_files import DISK_FULL
from anytag.foundations.report import Report
from anytag.language.tokenizers.bert_tokenizer import build_official_tokenizer
from anytag.language.tokenizers.wordpieces import bert_wordpieces
from anytag.model.config import ModelConfig
from anytag.model.directory import new_model, refuse_existing, write_config
from anytag.nn.weights import WEIGHTS_FILE, empty_model, write_weights


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
        out: The model directory; it must not exist, or be empty.
        family: ``tag2text``, ``ram`` or ``ram_plus``.
        tags: The tag list, a name a line, in the order of the checkpoint.
        tags_zh: The same in Chinese.
        thresholds: A number a line; ``None``: the family's default for every tag.
        clip: Folder of a CLIP model whose text encoder goes into the directory, for categories beyond the tag list.
        resolution: Pictures' side, if not that of the checkpoint: position tables are resized for it.
        name: What the model is called; ``None``: after the checkpoint's file.
        geometry: What the checkpoint's tensors do not tell; ``None``: as in the official models.
        report: Receives a line per step.

    Raises:
        ModelError: If the file is no such checkpoint, or does not fit the lists.
        UsageError: If ``out`` holds something, the family has no use for CLIP, or the resolution is not one that Swin
            can look at.
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
                f"{clip}: gives text embeddings of width {text.config.embedding}, but the model asks in "
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
    """Refuse before gigabytes are written; lists and tokenizers take a few megabytes beside the weights."""
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors) + 16_000_000
    free = shutil.disk_usage(part).free
    if free < needed:
        raise UsageError(
            f"{part.parent}: {needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free; "
            "free some space or choose another folder"
        )


def _is_finite(tensor: Tensor) -> bool:
    """Part by part: asking a whole tensor makes another of its size."""
    return all(bool(torch.isfinite(some).all()) for some in tensor.reshape(-1).split(2**22))


def rename_state(state: Mapping[str, Tensor], config: ModelConfig, tags: int) -> dict[str, Tensor]:
    """An official state dict under this project's names, every name accounted for.

    Raises:
        ModelError: If a parameter is missing, unexpected or misshapen; the message names it.
    """
    expected = {name: tuple(p.shape) for name, p in empty_model(config, tags).named_parameters()}
    found: dict[str, Tensor] = {}
    for official, tensor in state.items():
        name = official_key(official)
        if name is None:
            continue
        if name in found:
            raise ModelError(
                f"{official}: the checkpoint has this parameter under two names, so which counts is unclear"
            )
        if name not in expected:
            raise ModelError(f"{official}: a {config.family} model of these sizes has no such parameter")
        shape = expected[name]
        if "position" in name.rpartition(".")[2]:
            tensor = _resized(tensor, shape)
        # Official files keep some tables flat, or with a leading axis of one.
        if tuple(tensor.shape) != shape and tensor.numel() == torch.Size(shape).numel() and _is_table(official):
            tensor = tensor.reshape(shape)
        if tuple(tensor.shape) != shape:
            raise ModelError(f"{official}: has the shape {tuple(tensor.shape)}, but {shape} is expected")
        found[name] = tensor
    if missing := sorted(expected.keys() - found.keys()):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"the checkpoint lacks {missing[0]}{more} (by the names used here); it is incomplete")
    return found


def _is_table(official: str) -> bool:
    return official in ("label_embed", "fc.W", "fc.b", "reweight_scale")


def _resized(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(table.shape) == shape or table.dim() != 2 or table.shape[1] != shape[-1]:
        return table
    return resize_position_table(table, (round(shape[0] ** 0.5) + 1) // 2)


def at_resolution(config: ModelConfig, resolution: int) -> ModelConfig:
    """A Swin's config for pictures of another side; windows grow with them.

    Raises:
        UsageError: If no Swin can look at pictures of that side.
    """
    encoder = config.image_encoder
    assert encoder.swin is not None
    stride = 4 * 2 ** (len(encoder.swin.depths) - 1)  # Pixels to a cell of the last stage's map.
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
