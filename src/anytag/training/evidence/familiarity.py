"""Detect pictures that differ from the captioned training pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from anytag.training.evidence.optimization import mean_and_deviation, minimize

#: L2 regularization, beside a mean loss per picture.
_STRENGTH = 1e-3


def fit_unfamiliarity(
    inputs: NDArray[np.float32], described: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit a logistic regression that a picture has no captions: weight ``[I]`` and bias ``[1]``.

    Both kinds of pictures have the same total weight.

    Args:
        inputs: ``[N, I]``, from :func:`anytag.training.evidence.network.network_inputs`.
        described: ``[N]``, whether the picture has captions; must contain both values.
    """
    mean, deviation = mean_and_deviation(inputs)
    scaled = torch.from_numpy((inputs - mean) / deviation)
    truth = torch.from_numpy(~described).float()
    shares = torch.where(truth > 0, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    weight, bias = torch.zeros(inputs.shape[1]), torch.zeros(1)

    def loss() -> torch.Tensor:
        error = functional.binary_cross_entropy_with_logits(scaled @ weight + bias, truth, shares)
        total: torch.Tensor = error + _STRENGTH / 2 * weight.square().sum()
        return total

    minimize(loss, [weight, bias], steps=100)
    raw = weight.detach().numpy() / deviation
    return raw.astype(np.float32), (bias.detach().numpy() - raw @ mean).astype(np.float32)
