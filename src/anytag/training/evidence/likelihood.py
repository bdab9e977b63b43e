"""Likelihood of a picture's captions or class, given the probabilities of its tags."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

#: Log-probability of omitting a true tag where a class is given.
_NEVER = -1e4


def log_omission(captions: Tensor, rates: Tensor) -> Tensor:
    """Return the log-probability that no caption names a tag that is there.

    Args:
        captions: Number of captions of a picture; 0: a class is given.
        rates: Probability that one caption names a tag that is there; broadcast with ``captions``.
    """
    omitted = captions * torch.log1p(-rates)
    return torch.where(captions > 0, omitted, torch.full_like(omitted, _NEVER))


def description_loss(odds: Tensor, is_true: Tensor, omitted: Tensor) -> Tensor:
    """Return the negative log-likelihood of each pair of picture and tag.

    A named tag is true. One that is not named may be true and omitted:
    ``p(unnamed) = 1 - p(true) + p(true) p(omitted | true)``.

    Args:
        odds: Log-odds that the tag is true.
        is_true: Whether it is named.
        omitted: From :func:`log_omission`.
    """
    true = softplus(-odds)
    return torch.where(is_true, true, true - torch.logaddexp(-odds, omitted))
