"""Swin Transformer (Liu et al., 2021), the image encoder of Tag2Text, RAM and RAM++.

Every second block shifts its windows by half their side. Tokens are stored window by window throughout: shifting
windows and merging 2 x 2 neighbors between stages take one reordering each, so no block has to partition a grid into
windows and reverse it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.nn.attention import attend

#: Added to the logits of two tokens from opposite edges of the picture that share a shifted window. The public weights
#: were trained with this value, not with minus infinity.
_MASKED = -100.0


def window_order(grid: int, window: int, shift: int = 0) -> Tensor:
    """Indices ``[grid * grid]`` of the cells of a square grid, window by window, row by row in each.

    Args:
        grid: Side of the grid, a multiple of ``window``.
        shift: Cyclic shift of the windows to the bottom right.

    Returns:
        A tensor on the CPU, whatever the default device is.
    """
    cells = torch.arange(grid * grid, device="cpu").reshape(grid, grid).roll((-shift, -shift), (0, 1))
    side = grid // window
    return cells.reshape(side, window, side, window).transpose(1, 2).flatten()


def _relative_positions(window: int) -> Tensor:
    """Row of the position table for every pair of a window's cells, ``[window ** 4]``."""
    cells = torch.arange(window * window, device="cpu")
    row, column = cells // window, cells % window
    rows = row[:, None] - row + window - 1
    columns = column[:, None] - column + window - 1
    return (rows * (2 * window - 1) + columns).flatten()


def _shift_mask(order: Tensor, grid: int, window: int, shift: int) -> Tensor:
    """Attention mask of shifted windows, ``[windows, 1, window ** 2, window ** 2]``."""
    side = 2 * (order // grid < shift) + (order % grid < shift).long()
    side = side.reshape(-1, window * window)
    return torch.where(side[:, :, None] == side[:, None], 0.0, _MASKED)[:, None]


def _drop_path(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Drop a residual branch for some samples and rescale it for the others (stochastic depth)."""
    if not training or not rate:
        return branch
    return branch * F.dropout(branch.new_ones(branch.shape[0], 1, 1), rate)


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for every relative position."""

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.position_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.heads, self.area = heads, window * window

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Map ``[B, N, width]``, ordered by window, to the same shape."""
        return self.attend(tokens, self.bias(positions, mask))

    def bias(self, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Bias of the logits, ``[heads or windows * heads, area, area]``; it does not depend on the picture.

        Args:
            positions: Row of the position table for every pair of cells.
            mask: Mask of shifted windows, ``[windows, 1, area, area]``.
        """
        # On a CPU, indexing is five times as slow in half precision.
        table = self.position_table.to(torch.promote_types(self.position_table.dtype, torch.float32))
        bias = table.t().index_select(1, positions).reshape(self.heads, self.area, self.area)
        return bias if mask is None else (bias + mask).flatten(0, 1)

    def attend(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """:meth:`forward` with a precomputed :meth:`bias`."""
        batch, count, width = tokens.shape
        windows, depth = count // self.area, width // self.heads
        qkv = self.query_key_value(tokens).reshape(batch, windows, self.area, 3, self.heads, depth)
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        # Windows are folded into the batch if they share a bias, else into the heads, so that the bias need not be
        # repeated for every sample.
        fold = (0, 1) if len(bias) == self.heads else (1, 2)
        query, key, value = query.flatten(*fold), key.flatten(*fold), value.flatten(*fold)
        attended = attend(query, key, value, bias[None].to(query.dtype), training=self.training)
        attended = attended.reshape(batch, windows, self.heads, self.area, depth).transpose(2, 3)
        # Attention kernels differ in the memory layout of their results, and an exported graph may use another kernel
        # than was traced: without this copy, the reshape would be traced as a view that only fits the traced one.
        attended = attended.clone(memory_format=torch.contiguous_format)
        return self.output(attended.reshape(batch, count, width))


class SwinFeedForward(nn.Module):
    """Two linear layers with GELU between them; the inner width is four times the outer."""

    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Linear(width, 4 * width)
        self.output = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[..., width]`` to the same shape."""
        return self.output(F.gelu(self.inner(tokens)))


class _Block(nn.Module):
    """Pre-norm window attention and feed-forward with residual connections."""

    def __init__(self, width: int, heads: int, window: int, drop_path: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, window)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = SwinFeedForward(width)
        self.drop_path = drop_path

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        branch = self.attention(self.attention_norm(tokens), positions, mask)
        tokens = tokens + _drop_path(branch, self.drop_path, self.training)
        branch = self.feed_forward(self.feed_forward_norm(tokens))
        return tokens + _drop_path(branch, self.drop_path, self.training)


class _Merging(nn.Module):
    """Merge groups of four consecutive tokens into one of twice the width."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        return self.reduction(self.norm(tokens.reshape(batch, count // 4, 4 * width)))


class _Stage(nn.Module):
    """The blocks on one grid, followed by merging unless it is the last stage.

    Args:
        grid: Side of the grid; a window of that side or more covers it all.
        next_order: Token order of the next stage, on a grid of half the side; ``None`` for the last stage, which
            returns its tokens row by row.
    """

    positions: Tensor
    mask: Tensor | None
    to_moved: Tensor | None
    to_still: Tensor | None
    leave: Tensor | None

    def __init__(
        self, width: int, heads: int, grid: int, window: int, drop_paths: Sequence[float], next_order: Tensor | None
    ):
        super().__init__()
        window = min(window, grid)
        self.blocks = nn.ModuleList(_Block(width, heads, window, rate) for rate in drop_paths)
        self.merging = None if next_order is None else _Merging(width)
        still = window_order(grid, window)
        last, tables = still, dict.fromkeys(("mask", "to_moved", "to_still"))
        shift = window // 2 if window < grid else 0
        if shift and len(drop_paths) > 1:
            moved = window_order(grid, window, shift)
            mask = _shift_mask(moved, grid, window, shift)
            tables = {"mask": mask, "to_moved": _steps(still, moved), "to_still": _steps(moved, still)}
            last = still if len(drop_paths) % 2 else moved
        cells = torch.arange(grid * grid, device="cpu")
        if next_order is not None:
            # The official order of four neighbors is by column.
            half = grid // 2
            cells = cells.reshape(half, 2, half, 2).permute(0, 2, 3, 1).reshape(-1, 4)[next_order].flatten()
        tables |= {"positions": _relative_positions(window), "leave": _steps(last, cells)}
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)  # Computed from the sizes.

    def forward(self, tokens: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            if number:
                tokens = _reorder(tokens, self.to_moved if number % 2 else self.to_still)
            tokens = block(tokens, self.positions, self.mask if number % 2 else None)
        tokens = _reorder(tokens, self.leave)
        return tokens if self.merging is None else self.merging(tokens)


def _steps(order: Tensor, wanted: Tensor) -> Tensor | None:
    """Positions of the ``wanted`` cells in ``order``; ``None`` if both orders are equal."""
    return None if torch.equal(order, wanted) else order.argsort()[wanted]


def _reorder(tokens: Tensor, steps: Tensor | None) -> Tensor:
    return tokens if steps is None else tokens.index_select(1, steps)


class SwinTransformer(nn.Module):
    """Map pictures to tokens. The defaults are Swin-B; the paper's section 3.3 lists the other sizes.

    Grids are not padded, so a model supports only one resolution. On a grid no larger than the window, the window
    covers all of it and is not shifted.

    Args:
        resolution: Side of a picture, in pixels.
        width: Width of the first stage's tokens; it doubles with every stage.
        window: Side of a window, in tokens.
        patch: Side of a patch, in pixels.
        drop_path: Stochastic depth rate of the last block; rates rise linearly from 0 at the first block.

    Raises:
        ValueError: If the sizes do not fit each other; for a resolution, the message names the nearest valid one.
    """

    enter: Tensor | None

    def __init__(
        self,
        resolution: int = 384,
        width: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 12,
        patch: int = 4,
        drop_path: float = 0.1,
    ):
        super().__init__()
        _check_sizes(width, depths, heads, window, patch, drop_path)
        _check_resolution(resolution, patch, window, len(depths))
        self.resolution, self.window = resolution, window
        self.grids = [resolution // patch // 2**stage for stage in range(len(depths))]
        orders = [window_order(grid, min(window, grid)) for grid in self.grids]
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").split(list(depths))
        self.embedding = nn.Conv2d(3, width, patch, patch)
        self.embedding_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            _Stage(width * 2**stage, heads[stage], grid, window, drops.tolist(), following)
            for stage, (grid, drops, following) in enumerate(zip(self.grids, rates, [*orders[1:], None], strict=True))
        )
        self.norm = nn.LayerNorm(self.out_width)
        raster = torch.arange(self.grids[0] ** 2, device="cpu")
        self.register_buffer("enter", _steps(raster, orders[0]), persistent=False)
        self.apply(_initialize)

    @property
    def out_width(self) -> int:
        """Width of the last stage's tokens."""
        return self.embedding.out_channels * 2 ** (len(self.grids) - 1)

    @property
    def tokens(self) -> int:
        """Number of the last stage's tokens."""
        return self.grids[-1] ** 2

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalized pixels ``[B, 3, R, R]`` to tokens ``[B, N, C]``, row by row.

        Raises:
            ValueError: If the pictures have another size.
        """
        tokens = self._embed(pixels)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens)

    def stages(self, pixels: Tensor) -> list[Tensor]:
        """Outputs ``[B, N, C]`` of all stages, row by row: after merging, except the last, and not normalized."""
        outputs, tokens = [], self._embed(pixels)
        for layer, grid in zip(self.layers, [*self.grids[1:], None], strict=True):
            tokens = layer(tokens)
            rows = None if grid is None else window_order(grid, min(self.window, grid)).argsort().to(tokens.device)
            outputs.append(_reorder(tokens, rows))
        return outputs

    def _embed(self, pixels: Tensor) -> Tensor:
        """Map pixels to the first stage's tokens, ordered by window."""
        side, grid, patch = self.resolution, self.grids[0], self.embedding.kernel_size[0]
        if pixels.dim() != 4 or pixels.shape[1:] != (3, side, side):
            raise ValueError(f"expected pixels of shape [B, 3, {side}, {side}], got {list(pixels.shape)}")
        batch = pixels.shape[0]
        # Patches do not overlap, so the convolution is one matrix product.
        patches = pixels.reshape(batch, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
        patches = _reorder(patches.reshape(batch, grid * grid, 3 * patch * patch), self.enter)
        return self.embedding_norm(F.linear(patches, self.embedding.weight.flatten(1), self.embedding.bias))


def _initialize(module: nn.Module) -> None:
    """The paper's initial weights."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, WindowAttention):
        nn.init.trunc_normal_(module.position_table, std=0.02)


def _check_sizes(
    width: int, depths: Sequence[int], heads: Sequence[int], window: int, patch: int, drop_path: float
) -> None:
    if not depths or len(depths) != len(heads):
        raise ValueError(f"depths and heads need a number a stage each, got {list(depths)} and {list(heads)}")
    for name, value in (("width", width), ("window", window), ("patch", patch), ("depth", min(depths))):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    for stage, number in enumerate(heads):
        if number < 1 or width * 2**stage % number:
            raise ValueError(f"stage {stage + 1} has a width of {width * 2**stage}, which {number} heads do not divide")
    if not 0 <= drop_path < 1:
        raise ValueError(f"drop_path is a share from 0 to below 1, got {drop_path}")


def _check_resolution(resolution: int, patch: int, window: int, stages: int) -> None:
    fault = _misfit(resolution, patch, window, stages)
    if fault is None:
        return
    distance = 1
    while True:
        for other in (resolution - distance, resolution + distance):
            if _misfit(other, patch, window, stages) is None:
                raise ValueError(f"resolution {resolution} does not fit: {fault}; the nearest that fits is {other}")
        distance += 1


def _misfit(resolution: int, patch: int, window: int, stages: int) -> str | None:
    """Why a resolution is invalid; ``None`` if it is valid."""
    if resolution < 1 or resolution % patch:
        return f"patches of {patch} pixels do not divide it"
    grid = resolution // patch
    for stage in range(1, stages + 1):
        if grid > window and grid % window:
            return f"windows of {window} tokens do not divide the {grid} x {grid} tokens of stage {stage}"
        if stage < stages:
            if grid % 2:
                return f"the {grid} x {grid} tokens of stage {stage} cannot be merged two by two"
            grid //= 2
    return None
