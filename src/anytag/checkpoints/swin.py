"""Load public Swin Transformers, and resize position tables to other windows.

Parameters have names in one of two layouts: Microsoft's, which the official Tag2Text, RAM and RAM++ checkpoints share,
or that of the ``transformers`` library.
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

from anytag.checkpoints.weight_files import map_parameters, read_weights
from anytag.errors import ModelError
from anytag.nn.swin import SwinTransformer

#: Patterns of official names that are not loaded, and why.
LEFT_OUT = {
    r".*\.(relative_position_index|attn_mask)": "computed from the window's size",
    r"(head|classifier)\..*": "the ImageNet classifier",
    r"(swin\.)?embeddings\.mask_token": "only for masked pre-training",
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

_POSITION_TABLES = ("attn.relative_position_bias_table", "attention.self.relative_position_bias_table")


def swin_key(name: str) -> str | None:
    """Rename a parameter of a public Swin to its name in :class:`~anytag.nn.swin.SwinTransformer`.

    Args:
        name: In either layout; separate queries, keys and values of ``transformers`` under the fused name
            ``attention.self.query_key_value``.

    Returns:
        The name; ``None`` if the parameter is not loaded (:data:`LEFT_OUT`).

    Raises:
        ModelError: If the name is unknown.
    """
    if any(re.fullmatch(pattern, name) for pattern in LEFT_OUT):
        return None
    match = re.fullmatch(r"(layers\.\d+\.)?(blocks\.\d+\.)?(.+)", re.sub(r"^(swin\.)?(encoder\.(?=layers))?", "", name))
    if match is not None:
        stage, block, rest = match[1] or "", match[2] or "", match[3]
        part, _, leaf = rest.rpartition(".")
        parts = _BLOCK_PARTS if block else _STAGE_PARTS if stage else _PARTS
        if block and rest in _POSITION_TABLES:
            return f"{stage}{block}attention.position_table"
        if part in parts and leaf in ("weight", "bias") and bool(stage) >= bool(block):
            return f"{stage}{block}{parts[part]}.{leaf}"
    raise ModelError(f"{name}: no Swin Transformer has a parameter of that name")


def load_swin_backbone(path: Path, encoder: SwinTransformer) -> None:
    """Load public weights into an encoder, in place, if every parameter fits; position tables are resized.

    Args:
        path: A ``.pth`` file from Microsoft, or a ``.safetensors`` file or folder of ``transformers``.
        encoder: Unchanged if there is an error.

    Raises:
        ModelError: If the file cannot be read, or a parameter is missing, unexpected or has the wrong shape.
    """
    expected = dict(encoder.named_parameters())
    state = read_weights(path)

    def adapt(official: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        return fit_position_table(tensor, shape) if official.endswith(_POSITION_TABLES) else tensor

    try:
        shapes = {name: tuple(parameter.shape) for name, parameter in expected.items()}
        ready = map_parameters(_fuse(state), shapes, swin_key, adapt, "an encoder")
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(ready[name])


def _fuse(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Concatenate the separate queries, keys and values of ``transformers``."""
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


def fit_position_table(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Resize a position table to a shape, if only the window differs."""
    if table.dim() != 2 or table.shape[0] == shape[0] or tuple(table.shape[1:]) != shape[1:]:
        return table
    return resize_position_table(table, _window(shape[0]))


def resize_position_table(table: Tensor, window: int) -> Tensor:
    """Resize a position table to windows of another size, like BEiT and the official code.

    Relative positions near 0 matter most, so the old ones are spaced as a geometric progression: 1, 1 + q,
    1 + q + q^2, ... to either side of 0, with the q (1.01 to 1.5) for which the outermost reach the edge of the new
    table. A bicubic spline through them gives the new values; beyond its ends the edge value is used.

    Args:
        table: ``[(2 v - 1)^2, heads]``, for windows of side v of at least 3.
        window: New side.

    Returns:
        ``[(2 * window - 1)^2, heads]``; ``table`` itself if the window is the same.

    Raises:
        ModelError: If the table is not one of square windows, or too small for a cubic spline.
    """
    old = _window(table.shape[0])
    if old == window:
        return table
    if old < 3:
        raise ModelError(f"position tables of windows of {old} are too small to be resized; at least 3 is needed")
    positive = np.cumsum(_ratio(old - 1, window - 1) ** np.arange(old - 1))
    points = np.concatenate([-positive[::-1], [0.0], positive])
    spline = _spline(points, np.arange(1.0 - window, window))
    side = 2 * old - 1
    values = table.detach().double().cpu().numpy().reshape(side, side, -1)
    resized = np.einsum("ai,ijh,bj->abh", spline, values, spline, optimize=True)
    return torch.from_numpy(resized.reshape(-1, table.shape[1])).to(table)


def _window(rows: int) -> int:
    """Side of the windows of a position table, by its number of rows."""
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
    """Matrix ``[m, n]`` that interpolates values at ``points`` by a cubic spline, evaluated at ``targets``.

    Second derivatives at the points solve the usual tridiagonal system, with "not-a-knot" boundary conditions: the
    third derivative is continuous at the second and the last but one point.

    Args:
        points: ``[n]``, ascending, at least 4.
        targets: ``[m]``, clipped to the range of the points.
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
