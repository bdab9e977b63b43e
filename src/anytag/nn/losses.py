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

    Negatives are shifted by ``clip`` and focused harder than positives, so that the many easy ones (and the
    unmentioned, in truth positive ones) weigh little. The focusing weight is a constant for the gradient, as in
    the papers' code (``AsymmetricLoss`` in ``ram/models/utils.py``). That code has a side effect which this has not:
    after a call, gradients are switched on, even where the caller had switched them off.

    Args:
        logits: Any shape.
        targets: The same shape, 1 for true.
        gamma_negative: Focusing of negatives (7 for tags, 4 for RAM++'s texts).
        gamma_positive: Focusing of positives.
        clip: Probability margin of the negatives.
        weights: Factor per element, e.g. 0 to leave one out.
        epsilon: Probabilities below this are raised to it before their logarithm is taken.
        constant_focus: ``False`` lets the gradient pass through the focusing weight, too (the official code's
            ``disable_torch_grad_focal_loss=False``).

    Returns:
        A scalar.
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
    """Cross entropy of the next token, mean over the positions that count.

    Args:
        logits: ``[..., vocabulary]``.
        targets: ``[...]``; -100 leaves a position out.
        smoothing: Label smoothing.
    """
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=-100, label_smoothing=smoothing)


def rescaled(loss: Tensor, to: Tensor) -> Tensor:
    """``loss`` brought to the magnitude of ``to``: its gradient's direction stays (the papers' balancing of losses)."""
    return loss / (loss / to).detach().clamp(min=1e-6)
