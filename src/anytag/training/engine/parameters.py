"""What an optimizer and a moving average make of a model's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anytag.training.engine.config import LoopConfig
from anytag.training.engine.distributed import local_part

#: Model and config to parameter groups of an optimizer. Beside ``params`` a group has ``part``, which tells whether
#: the stage's ``encoder_learning_rate`` (``"encoder"``) or its ``learning_rate`` is the group's, and it may have
#: ``weight_decay`` and ``scale``, by which the rate is multiplied.
GroupFunction = Callable[[nn.Module, LoopConfig], list[dict[str, Any]]]


def parameter_groups(model: nn.Module, config: LoopConfig) -> list[dict[str, Any]]:
    """The usual groups: what is decayed, what is not, and the image encoder, which is not either.

    Norms, biases and embeddings are not decayed: shrinking them only undoes what they learn.
    """
    encoder = [p for n, p in model.named_parameters() if n.startswith("image_encoder.")]
    others = [(n, p) for n, p in model.named_parameters() if not n.startswith("image_encoder.")]
    plain = [p for n, p in others if p.ndim < 2 or "embedding" in n or "positions" in n or n == "no_picture"]
    decayed = [p for n, p in others if not any(p is q for q in plain)]
    return [
        {"params": decayed, "weight_decay": config.weight_decay, "part": "decoder"},
        {"params": plain, "weight_decay": 0.0, "part": "decoder"},
        {"params": encoder, "weight_decay": 0.0, "part": "encoder"},
    ]


def of_one_kind(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups without those that nothing is in, and with divided parameters apart: an optimizer takes no mixture."""
    kinds: list[dict[str, Any]] = []
    for group in groups:
        by_type: dict[bool, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_type.setdefault(local_part(parameter) is parameter, []).append(parameter)
        kinds += [{**group, "params": parameters} for parameters in by_type.values()]
    return kinds


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential moving average of parameters that forgets the random start sooner: (1 + n) / (10 + n) at first."""

    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        n = int(count)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        torch._foreach_lerp_([local_part(t) for t in averages], [local_part(t) for t in current], weight)

    return update
