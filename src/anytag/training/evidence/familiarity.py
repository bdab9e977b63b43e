"""How to tell pictures that are unlike those that captions were written for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from anytag.training.evidence.network import scale_of

#: How strongly weights are drawn towards 0, beside a mean loss a picture.
_STRENGTH = 1e-3

_STEPS = 100


def fit_unfamiliarity(
    inputs: NDArray[np.float32], described: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logistic regression: weight ``[I]`` and bias ``[1]`` of a picture's being one without captions.

    Both kinds count alike, however many there are of each.

    Args:
        inputs: ``[N, I]``, see :func:`anytag.training.evidence.network.inputs_of`.
        described: ``[N]``, whether it has captions; some do and some do not.
    """
    mean, deviation = scale_of(inputs)
    scaled = torch.from_numpy((inputs - mean) / deviation)
    truth = torch.from_numpy(~described).float()
    shares = torch.where(truth > 0, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    weight, bias = torch.zeros(inputs.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        wrong = functional.binary_cross_entropy_with_logits(scaled @ weight + bias, truth, shares)
        total: torch.Tensor = wrong + _STRENGTH / 2 * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    raw = weight.detach().numpy() / deviation
    return raw.astype(np.float32), (bias.detach().numpy() - raw @ mean).astype(np.float32)
