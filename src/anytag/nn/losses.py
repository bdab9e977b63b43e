"""Losses of the papers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    gamma_negative: float = 7.0,
    gamma_positive: float = 0.0,
    clip: float = 0.05,
    weights: Tensor | None = None,
    epsilon: float = 1e-8,
    constant_focus: bool = True,
) -> Tensor:
    """Asymmetric loss for multi-label classification (Ridnik et al., 2021), summed.

    Negatives are shifted by ``clip`` and focused more strongly than positives, so that easy negatives, and positives
    missing from the labels, count little. The gradient does not pass through the focusing weight, as in the papers'
    code (``AsymmetricLoss`` in ``ram/models/utils.py``). Unlike that code, this does not enable gradients globally.

    Args:
        logits: Any shape.
        targets: The same shape, 1 for positives.
        gamma_negative: Focusing of negatives (7 for tags, 4 for RAM++'s texts).
        clip: Probability margin of negatives.
        weights: Factor per element, such as 0 to ignore one.
        epsilon: Lower bound of probabilities in logarithms.
        constant_focus: ``False``: the gradient passes through the focusing weight (the official code's
            ``disable_torch_grad_focal_loss=False``).
    """
    targets = targets.to(logits.dtype)
    p = logits.sigmoid()
    q = (1 - p + clip).clamp(max=1) if clip else 1 - p
    loss = targets * p.clamp(min=epsilon).log() + (1 - targets) * q.clamp(min=epsilon).log()
    if gamma_negative or gamma_positive:
        if constant_focus:
            p, q = p.detach(), q.detach()
        right = p * targets + q * (1 - targets)
        loss = loss * (1 - right) ** (gamma_positive * targets + gamma_negative * (1 - targets))
    return -(loss if weights is None else loss * weights).sum()


def language_modeling_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.1) -> Tensor:
    """Mean cross entropy of the next token.

    Args:
        logits: ``[..., vocabulary]``.
        targets: ``[...]``; positions with -100 are ignored.
    """
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=-100, label_smoothing=smoothing)


def rescaled(loss: Tensor, to: Tensor) -> Tensor:
    """Scale a loss to the magnitude of another without changing its gradient's direction (the papers' balancing)."""
    return loss / (loss / to).detach().clamp(min=1e-6)
