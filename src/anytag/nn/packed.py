"""Prepack linear layers with oneDNN for faster inference on a CPU.

PyTorch multiplies float32 matrices with MKL, which does not use the full vector width of some processors, and reorders
bfloat16 weights at every call. With oneDNN's kernels, which PyTorch ships, weights are reordered once, and GELU is
fused into the product. Sums are computed in another order, so results differ in the last digits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anytag.nn.swin import SwinFeedForward, WindowAttention
from anytag.nn.transformer import FeedForward


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether PyTorch and the device support the kernels; bfloat16 needs AVX-512 or similar."""
    known = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if device.type != "cpu" or not known:
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PackedLinear(nn.Module):
    """A linear layer whose weights oneDNN reorders at the first call; for inference on a CPU.

    Args:
        linear: The layer; its own weights are released at the first call.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, gelu: bool = False):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype, self.activation = dtype, "gelu" if gelu else "none"
        # In a list, so that its parameters are not listed and converted with the model's.
        self._linear: list[nn.Linear] = [linear]
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None

    def pack(self) -> tuple[Tensor, Tensor | None]:
        """The reordered weights and the bias."""
        if self._weight is None:
            [linear] = self._linear
            if linear.bias is not None:
                self._bias = linear.bias.detach().to(self.dtype)
            self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(self.dtype).contiguous())
            self._linear = []
        return self._weight, self._bias

    def forward(self, values: Tensor) -> Tensor:
        """Map ``[..., in]`` to ``[..., out]``."""
        weight, bias = self.pack()
        return torch.ops.mkldnn._linear_pointwise(values, weight, bias, self.activation, [], "none")


class _PackedFeedForward(nn.Module):
    """BERT's feed-forward with GELU fused into the first product."""

    def __init__(self, part: FeedForward, dtype: torch.dtype):
        super().__init__()
        self.inner, self.output = PackedLinear(part.inner, dtype, gelu=True), PackedLinear(part.output, dtype)
        self.norm = part.norm

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(self.output(self.inner(hidden)).add_(hidden))


class _PackedSwinFeedForward(nn.Module):
    def __init__(self, part: SwinFeedForward, dtype: torch.dtype):
        super().__init__()
        self.inner, self.output = PackedLinear(part.inner, dtype, gelu=True), PackedLinear(part.output, dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.output(self.inner(tokens))


class _PackedWindowAttention(nn.Module):
    """Window attention that caches its bias, which is otherwise looked up in the position table at every call."""

    def __init__(self, part: WindowAttention, dtype: torch.dtype):
        super().__init__()
        self.part = part
        pack_linears(part, dtype)
        # Computed at the first call, when the tables have their final precision.
        self._bias: Tensor | None = None

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        if self._bias is None:
            self._bias = self.part.bias(positions, mask).to(tokens.dtype)
        return self.part.attend(tokens, self._bias)


def pack_linears(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace a model's linear layers by packed ones, in place; shared modules stay shared.

    Layers with a single output are not replaced. The model can no longer be trained or saved.

    Args:
        model: In eval mode, on a CPU for which :func:`can_pack` is true.
        dtype: Precision of the linear layers; other modules keep theirs.
    """
    made: dict[nn.Module, nn.Module] = {}

    def packed(module: nn.Module) -> nn.Module | None:
        if isinstance(module, FeedForward):
            return _PackedFeedForward(module, dtype)
        if isinstance(module, SwinFeedForward):
            return _PackedSwinFeedForward(module, dtype)
        if isinstance(module, WindowAttention):
            return _PackedWindowAttention(module, dtype)
        if isinstance(module, nn.Linear) and module.out_features > 1:
            return PackedLinear(module, dtype)
        return None

    def replace(parent: nn.Module) -> None:
        for name, child in list(parent.named_children()):
            replacement = made.get(child) or packed(child)
            if replacement is None:
                replace(child)
            else:
                made[child] = replacement
                setattr(parent, name, replacement)

    replace(model)
