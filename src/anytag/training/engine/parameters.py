"""Parameter groups of an optimizer, and the moving average of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anytag.training.engine.config import LoopConfig
from anytag.training.engine.distributed import local_part

#: Model and config to parameter groups of an optimizer. Besides ``params``, a group has ``part``: ``"encoder"`` for the
#: stage's ``encoder_learning_rate``, ``"decoder"`` for its ``learning_rate``. It may have ``weight_decay``, and
#: ``scale``, a factor of the learning rate.
GroupFunction = Callable[[nn.Module, LoopConfig], list[dict[str, Any]]]


def parameter_groups(
    model: nn.Module, config: LoopConfig, encoder_weight_decay: float | None = None
) -> list[dict[str, Any]]:
    """Group parameters into image encoder and the rest, each with and without weight decay.

    The official code decays everything. Here norms, biases, temperatures, embeddings, tables of positions and the
    vector for a missing picture are not decayed: shrinking them only undoes what they learn.

    Args:
        model: A recognition model, or a module that holds one as ``model``.
        config: Has the weight decay.
        encoder_weight_decay: That of the image encoder's matrices; ``None``: as for all others.
    """
    decay = {"decoder": config.weight_decay, "encoder": config.weight_decay}
    if encoder_weight_decay is not None:
        decay["encoder"] = encoder_weight_decay
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for full_name, parameter in model.named_parameters():
        name = full_name.removeprefix("model.")
        part = "encoder" if name.startswith("image_encoder.") else "decoder"
        is_vector = parameter.ndim < 2 or name == "no_picture"
        is_decayed = not is_vector and "position" not in name and "embedding" not in name
        groups.setdefault((part, is_decayed), []).append(parameter)
    return [
        {"params": parameters, "part": part, "weight_decay": decay[part] if is_decayed else 0.0}
        for (part, is_decayed), parameters in groups.items()
    ]


def of_one_kind(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop empty groups, and separate sharded parameters from whole ones: an optimizer takes no mixture."""
    kinds: list[dict[str, Any]] = []
    for group in groups:
        by_type: dict[bool, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_type.setdefault(local_part(parameter) is parameter, []).append(parameter)
        kinds += [{**group, "params": parameters} for parameters in by_type.values()]
    return kinds


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential moving average that forgets the random start sooner: its decay is at most (1 + n) / (10 + n)."""

    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        n = int(count)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        torch._foreach_lerp_([local_part(t) for t in averages], [local_part(t) for t in current], weight)

    return update
