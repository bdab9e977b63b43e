"""Optimizers and quantization that the fits of this package share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytag.foundations.report import Report
from anytag.training.recipes.evidence import NetworkConfig
from anytag.training.recipes.joint_embedding import JointEmbeddingTraining


def minimize(loss: Callable[[], Tensor], parameters: Sequence[Tensor], steps: int, **options: Any) -> None:
    """Minimize a loss by L-BFGS."""
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe", **options)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


def train_epochs(
    name: str,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[NDArray[np.int64]], Tensor],
    pictures: int,
    config: NetworkConfig | JointEmbeddingTraining,
    random: np.random.Generator,
    report: Report,
) -> None:
    """Train on shuffled batches with a one-cycle learning rate; ``loss`` takes the rows of a batch."""
    size = min(config.batch_size, pictures)
    steps = pictures // size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.epochs * steps + 1, pct_start=0.1
    )
    for epoch in range(config.epochs):
        total, order = 0.0, random.permutation(pictures)
        for step in range(steps):
            value = loss(order[step * size : (step + 1) * size])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            total += value.item()
        report(f"{name}: epoch {epoch + 1}/{config.epochs}, loss {total / steps:.3f}")


def quantize_int8(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize ``[R, C]`` to int8 with one scale per row, ``[R]``; see :func:`anytag.model.arrays.dequantize`."""
    scale = (np.abs(matrix).max(1) / 127 + 1e-12).astype(np.float32)
    return np.round(matrix / scale[:, None]).astype(np.int8), scale


def mean_and_deviation(inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation ``[I]`` of inputs ``[N, I]``; the deviation is never 0."""
    return inputs.mean(0), inputs.std(0) + np.float32(1e-3)
