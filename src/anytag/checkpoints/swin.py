"""Public Swin Transformers: what their names mean here, and position tables of other windows.

Names come in two layouts: that of Microsoft's own files, which the official Tag2Text, RAM and RAM++ checkpoints
share, and that of the ``transformers`` library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytag.checkpoints.weight_files import read_weights
from anytag.errors import ModelError
from anytag.nn.swin import SwinTransformer

#: Official names (as patterns) that have no place here, and why.
LEFT_OUT = {
    r".*\.(relative_position_index|attn_mask)": "a table that follows from the window's size",
    r"(head|classifier)\..*": "the ImageNet classifier",
    r"(swin\.)?embeddings\.mask_token": "for pre-training with hidden patches only",
}

_PARTS = {
    "patch_embed.proj": "embedding",
    "patch_embed.norm": "embedding_norm",
    "norm": "norm",
    "embeddings.patch_embeddings.projection": "embedding",
    "embeddings.norm": "embedding_norm",
    "layernorm": "norm",
}

_STAGE_PARTS = {"downsample.norm": "merging.norm", "downsample.reduction": "merging.reduction"}

_BLOCK_PARTS = {
    "norm1": "attention_norm",
    "attn.qkv": "attention.query_key_value",
    "attn.proj": "attention.output",
    "norm2": "feed_forward_norm",
    "mlp.fc1": "feed_forward.inner",
    "mlp.fc2": "feed_forward.output",
    "layernorm_before": "attention_norm",
    "attention.self.query_key_value": "attention.query_key_value",
    "attention.output.dense": "attention.output",
    "layernorm_after": "feed_forward_norm",
    "intermediate.dense": "feed_forward.inner",
    "output.dense": "feed_forward.output",
}

_TABLES = ("attn.relative_position_bias_table", "attention.self.relative_position_bias_table")


def swin_key(name: str) -> str | None:
    """The name of a public Swin's parameter in :class:`~anytag.nn.swin.SwinTransformer`.

    Args:
        name: In either layout. ``transformers`` keeps queries, keys and values apart; here they are one parameter,
            which :func:`load_swin_backbone` puts together under the name ``attention.self.query_key_value``.

    Returns:
        The name; ``None`` if the parameter is left out (:data:`LEFT_OUT` says why).

    Raises:
        ModelError: If no Swin has a parameter of that name.
    """
    if any(re.fullmatch(pattern, name) for pattern in LEFT_OUT):
        return None
    match = re.fullmatch(r"(layers\.\d+\.)?(blocks\.\d+\.)?(.+)", re.sub(r"^(swin\.)?(encoder\.(?=layers))?", "", name))
    if match is not None:
        stage, block, rest = match[1] or "", match[2] or "", match[3]
        part, _, leaf = rest.rpartition(".")
        parts = _BLOCK_PARTS if block else _STAGE_PARTS if stage else _PARTS
        if block and rest in _TABLES:
            return f"{stage}{block}attention.position_table"
        if part in parts and leaf in ("weight", "bias") and bool(stage) >= bool(block):
            return f"{stage}{block}{parts[part]}.{leaf}"
    raise ModelError(f"{name}: no Swin Transformer has a parameter of that name")


def load_swin_backbone(path: Path, encoder: SwinTransformer) -> None:
    """Fill an encoder with public weights; it is left alone unless every parameter fits.

    Position tables of another window are resized.

    Args:
        path: A ``.pth`` file as Microsoft publishes it, or a ``.safetensors`` file or directory of ``transformers``.
        encoder: Changed in place.

    Raises:
        ModelError: If the file cannot be read, or a parameter is missing, unexpected or misshapen; the message
            names it.
    """
    expected = dict(encoder.named_parameters())
    ready: dict[str, Tensor] = {}
    state = read_weights(path)
    try:
        for official, tensor in _fuse(state).items():
            name = swin_key(official)
            if name is None:
                continue
            if name not in expected:
                raise ModelError(f"{official}: an encoder of these sizes has no such parameter")
            if name in ready:
                raise ModelError(f"{official}: a second parameter for {name}")
            shape = tuple(expected[name].shape)
            if name.endswith(".position_table") and tensor.dim() == 2 and tensor.shape[0] != shape[0]:
                tensor = resize_position_table(tensor, _window(shape[0]))
            if tuple(tensor.shape) != shape:
                raise ModelError(f"{official}: has the shape {tuple(tensor.shape)}, but {shape} is expected")
            ready[name] = tensor
        if missing := sorted(expected.keys() - ready.keys()):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ModelError(f"lacks {missing[0]}{more} (by the names used here); the weights are of another size")
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(ready[name])


def _fuse(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the separate queries, keys and values of ``transformers`` together."""
    fused: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = re.fullmatch(r"(.*\.attention\.self\.)(?:query|key|value)\.(weight|bias)", name)
        if match is None:
            fused[name] = tensor
            continue
        names = [f"{match[1]}{part}.{match[2]}" for part in ("query", "key", "value")]
        if lacking := [part for part in names if part not in state]:
            raise ModelError(f"lacks {lacking[0]}")
        fused[f"{match[1]}query_key_value.{match[2]}"] = torch.cat([state[part] for part in names])
    return fused


def resize_position_table(table: Tensor, window: int) -> Tensor:
    """A position table for windows of another size, as BEiT and the official code resize it.

    Relative positions near 0 matter most, so the known ones are spread as a geometric progression: 1, 1 + q,
    1 + q + q^2, ... to either side of 0, with the q (1.01 to 1.5) that makes the outermost reach the new table's
    edge. A bicubic spline through them gives the new positions; beyond its ends the edge value holds.

    Args:
        table: ``[(2 v - 1)^2, heads]``, for windows of side v of at least 3.
        window: New side.

    Returns:
        ``[(2 * window - 1)^2, heads]``, of the same type; ``table`` itself if the window is the same.

    Raises:
        ModelError: If the table is none of square windows, or too small for a cubic spline.
    """
    known = _window(table.shape[0])
    if known == window:
        return table
    if known < 3:
        raise ModelError(f"position tables of windows of {known} are too small to be resized; at least 3 is needed")
    positive = np.cumsum(_ratio(known - 1, window - 1) ** np.arange(known - 1))
    points = np.concatenate([-positive[::-1], [0.0], positive])
    spline = _spline(points, np.arange(1.0 - window, window))
    side = 2 * known - 1
    values = table.detach().double().cpu().numpy().reshape(side, side, -1)
    resized = np.einsum("ai,ijh,bj->abh", spline, values, spline, optimize=True)
    return torch.from_numpy(resized.reshape(-1, table.shape[1])).to(table)


def _window(rows: int) -> int:
    """Side of the windows that a position table of so many rows is for."""
    side = math.isqrt(rows)
    if side * side != rows or side % 2 == 0:
        raise ModelError(f"a position table of {rows} rows is not one of square windows")
    return (side + 1) // 2


def _ratio(count: int, reach: int) -> float:
    """The q of 1.01 to 1.5 for which 1 + q + ... + q^(count - 1) is ``reach``: the official code's bisection."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio**count) / (1 - ratio) > reach:
            high = ratio
        else:
            low = ratio
    return ratio


def _spline(points: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix that takes values at ``points`` to those of the cubic spline through them at ``targets``.

    Its second derivatives at the points solve the usual tridiagonal system; the ends are closed by "not a knot":
    the third derivative does not jump at the second and the last but one point.

    Args:
        points: ``[n]``, ascending, at least 4.
        targets: ``[m]``; those outside are taken as the nearest end.

    Returns:
        ``[m, n]``.
    """
    count, steps = len(points), np.diff(points)
    slopes = np.diff(np.eye(count), axis=0) / steps[:, None]
    system, right = np.zeros((count, count)), np.zeros((count, count))
    for row in range(1, count - 1):
        before, after = steps[row - 1 : row + 1]
        system[row, row - 1 : row + 2] = before, 2 * (before + after), after
        right[row] = 6 * (slopes[row] - slopes[row - 1])
    system[0, :3] = steps[1], -(steps[0] + steps[1]), steps[0]
    system[-1, -3:] = steps[-1], -(steps[-2] + steps[-1]), steps[-2]
    curvature = np.linalg.solve(system, right)
    inside = np.clip(targets, points[0], points[-1])
    left = np.clip(np.searchsorted(points, inside, side="right") - 1, 0, count - 2)
    step = steps[left]
    a, b = (points[left + 1] - inside) / step, (inside - points[left]) / step
    values = a[:, None] * np.eye(count)[left] + b[:, None] * np.eye(count)[left + 1]
    bend_a, bend_b = (a**3 - a) * step**2 / 6, (b**3 - b) * step**2 / 6
    return np.asarray(values + bend_a[:, None] * curvature[left] + bend_b[:, None] * curvature[left + 1])
