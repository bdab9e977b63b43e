"""How likely it is that pictures are described as they are, given how likely tags are true of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

#: Stands for the logarithm of nothing: with a class given, what is true cannot have been left unsaid.
_NEVER = -1e4


def silence(captions: Tensor, rates: Tensor) -> Tensor:
    """Log-probability that nobody names a tag that is there.

    Args:
        captions: Captions of a picture; 0: a class was given.
        rates: Of each tag, how likely one caption is to name it; of a shape that goes with the other.
    """
    unsaid = captions * torch.log1p(-rates)
    return torch.where(captions > 0, unsaid, torch.full_like(unsaid, _NEVER))


def description_loss(odds: Tensor, is_true: Tensor, unsaid: Tensor) -> Tensor:
    """Negative log-likelihood of what is said, one value for each pair of picture and tag.

    A tag that is named is true. One that is not may be true and left out:
    ``p(unsaid) = 1 - p(true) + p(true) p(unsaid | true)``.

    Args:
        odds: Log-odds that the tag is true.
        is_true: Whether it was named.
        unsaid: From :func:`silence`.
    """
    true = softplus(-odds)
    return torch.where(is_true, true, true - torch.logaddexp(-odds, unsaid))
