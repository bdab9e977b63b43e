"""TResNet (Ridnik et al., 2021), the image encoder of ML-Decoder, with its weights' published names.

As in the official code (Alibaba-MIIL/ML_Decoder, ``src_files/models/tresnet``), the picture's 4 x 4 blocks become
channels; two stages of basic blocks (M) or bottlenecks (L, XL) are followed by two of bottlenecks; all but the last
stage have squeeze-and-excitation; a blur follows each stride. Normalization is "in-place activated": the scale is the
weight's absolute value plus epsilon, and a leaky ReLU follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Slopes of the leaky ReLU in the stem and in blocks.
_STEM_SLOPE, _BLOCK_SLOPE = 1e-2, 1e-3


@dataclass(frozen=True)
class TResNetConfig:
    """Sizes of a TResNet; defaults of TResNet-M.

    Attributes:
        depths: Blocks of each stage.
        width: Channels of the stem.
        bottlenecks: Whether the first two stages have bottlenecks, too.
    """

    depths: tuple[int, int, int, int] = (3, 4, 11, 3)
    width: int = 64
    bottlenecks: bool = False


def read_sizes(state: Mapping[str, Tensor]) -> TResNetConfig:
    """Infer the sizes from the weights of a checkpoint.

    Raises:
        KeyError: If it is not a TResNet.
    """
    depths = [0, 0, 0, 0]
    for name in state:
        parts = name.split(".")
        if name.startswith("body.layer"):
            stage = int(parts[1].removeprefix("layer")) - 1
            depths[stage] = max(depths[stage], int(parts[2]) + 1)
    return TResNetConfig(
        (depths[0], depths[1], depths[2], depths[3]),
        state["body.conv1.0.weight"].shape[0],
        "body.layer1.0.conv3.0.weight" in state,
    )


class ActivatedNorm(nn.Module):
    """Batch normalization with a positive scale, and a leaky ReLU if there is a slope."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, slope: float | None, epsilon: float = 1e-5):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.slope, self.epsilon = slope, epsilon

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs() + self.epsilon
        x = F.batch_norm(x, self.running_mean, self.running_var, scale, self.bias, self.training, 0.1, self.epsilon)
        return x if self.slope is None else F.leaky_relu(x, self.slope)


class _Blur(nn.Module):
    """Halves a map after a 3 x 3 binomial filter, reflecting the border (Zhang, 2019)."""

    def __init__(self, channels: int):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        kernel = row[:, None] * row / 16
        self.register_buffer("kernel", kernel.expand(channels, 1, 3, 3).contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel: Tensor = self.kernel  # type: ignore[assignment]
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), kernel.to(x.dtype), stride=2, groups=x.shape[1])


class _Excitation(nn.Module):
    """Squeeze-and-excitation (Hu et al., 2018)."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * self.fc2(F.relu(self.fc1(pooled))).sigmoid()


def _convolution(inputs: int, outputs: int, kernel: int, slope: float | None) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), ActivatedNorm(outputs, slope)
    )


def _strided(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = _convolution(inputs, outputs, 3, _BLOCK_SLOPE)
    return convolution if stride == 1 else nn.Sequential(convolution, _Blur(outputs))


class _Block(nn.Module):
    """A residual block: two 3 x 3 convolutions, or a bottleneck of four times as many channels."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool, excited: bool):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        inner = max(outputs // 8 if bottleneck else outputs // 4, 64)
        if bottleneck:
            self.conv1 = _convolution(inputs, width, 1, _BLOCK_SLOPE)
            self.conv2 = _strided(width, width, stride)
            self.conv3 = _convolution(width, outputs, 1, None)
            self.se = _Excitation(width, inner) if excited else None
        else:
            self.conv1 = _strided(inputs, width, stride)
            self.conv2 = _convolution(width, width, 3, None)
            self.se = _Excitation(width, inner) if excited else None
        self.bottleneck = bottleneck
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            shortcut: list[nn.Module] = [_convolution(inputs, outputs, 1, None)]
            if stride == 2:
                shortcut.insert(0, nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False))
            self.downsample = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv2(self.conv1(x))
        if self.se is not None:
            x = self.se(x)
        if self.bottleneck:
            x = self.conv3(x)
        return F.relu(x + shortcut)


class TResNet(nn.Module):
    """Map pixels to the last stage's features; weights have the official names, below ``body``."""

    def __init__(self, config: TResNetConfig):
        super().__init__()
        self.body = nn.ModuleDict({"conv1": _convolution(48, config.width, 3, _STEM_SLOPE)})
        channels = config.width
        for stage, depth in enumerate(config.depths):
            width, bottleneck = config.width * 2**stage, stage >= 2 or config.bottlenecks
            blocks: list[nn.Module] = []
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(_Block(channels, width, stride, bottleneck, stage < 3))
                channels = 4 * width if bottleneck else width
            self.body[f"layer{stage + 1}"] = nn.Sequential(*blocks)
        self.features = channels

    def forward(self, pixels: Tensor) -> Tensor:
        """Map ``[B, 3, H, W]``, sides divisible by 32, to ``[B, C, H / 32, W / 32]``."""
        x = pixels.unflatten(2, (-1, 4)).unflatten(4, (-1, 4))  # [B, 3, H/4, 4, W/4, 4]
        x = x.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
        for part in self.body.values():
            x = part(x)
        return x
