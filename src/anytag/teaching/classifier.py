"""The linear classifier of one taught tag."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anytag.evaluation.calibration import fit_slope
from anytag.foundations.log_odds import sigmoid

#: Least slope of Platt scaling; below it, the margins do not predict the tag.
_LEAST_SLOPE = 0.1


@dataclass(frozen=True)
class TagClassifier:
    """A linear classifier whose outputs are log-odds; the tag counts as found from 0 on.

    Attributes:
        weights: ``[D]``.
        bias: Added to their product with the coordinates.
        pictures: How many show the tag.
        found: Share of these in which cross-validation finds the tag; NaN for a single one.
        false_positives: Share of negatives in which cross-validation finds it; NaN without negatives.
    """

    weights: NDArray[np.float64]
    bias: float
    pictures: int
    found: float
    false_positives: float


def fit_classifier(
    own: NDArray[np.floating],
    truth: NDArray[np.bool_],
    negatives: NDArray[np.floating],
    *,
    penalty: float = 5.0,
    max_false_positives: float = 0.003,
    folds: int = 5,
    seed: int = 0,
) -> TagClassifier:
    """Separate a tag's pictures from the user's other pictures and from negatives.

    The weights come from a logistic regression with an L2 penalty. The zero and the scale come from cross-validation,
    for margins of training pictures are too large. The zero lies above all but ``max_false_positives`` of the
    negatives and all but 1 % of the user's other pictures, plus a quarter of the distance from there to the fifth
    percentile of the tag's pictures. The slope is fitted by Platt scaling.

    Args:
        own: ``[N, V, D]``, the user's pictures, the plain view of each first.
        truth: ``[N]``, which of them show the tag: at least one.
        negatives: ``[M, D]``, pictures that do not show it.
        penalty: Factor of the sum of squared weights.
        max_false_positives: Share of negatives in which the tag may be found.
        folds: Of the cross-validation.
        seed: Of the assignment to folds.
    """
    draw = np.random.default_rng(seed)
    positives = int(truth.sum())
    folds = max(2, min(folds, positives))
    own_folds, negative_folds = _stratified_folds(truth, folds, draw), draw.permutation(len(negatives)) % folds
    weights, bias = start = _fit(own, truth, negatives, penalty)
    scored, other_scores = np.empty(len(own)), np.empty(len(negatives))
    for fold in range(folds):
        kept, tested = own_folds != fold, own_folds == fold
        if truth[kept].any():
            fold_weights, fold_bias = _fit(own[kept], truth[kept], negatives[negative_folds != fold], penalty, start)
        else:  # The tag has a single picture.
            fold_weights, fold_bias = weights, bias
        scored[tested] = own[tested, 0] @ fold_weights + fold_bias
        other_scores[negative_folds == fold] = negatives[negative_folds == fold] @ fold_weights + fold_bias
    below = [np.quantile(other_scores, 1 - max_false_positives)] if len(other_scores) else []
    below += [np.quantile(scored[~truth], 0.99)] if not truth.all() else []
    # If there is nothing to separate the tag from, most of its own pictures are found.
    edge = max(below, default=np.quantile(scored[truth], 0.1))
    edge += max(0.0, 0.25 * (np.quantile(scored[truth], 0.05) - edge))
    slope = 1.0
    if below:
        named = np.concatenate([truth, np.zeros(len(other_scores), bool)])
        slope = max(fit_slope(np.concatenate([scored, other_scores]), named)[0], _LEAST_SLOPE)
    return TagClassifier(
        weights=slope * weights,
        bias=slope * (bias - edge),
        pictures=positives,
        found=float((scored[truth] >= edge).mean()) if positives > 1 else float("nan"),
        false_positives=float((other_scores >= edge).mean()) if len(other_scores) else float("nan"),
    )


def _stratified_folds(truth: NDArray[np.bool_], folds: int, draw: np.random.Generator) -> NDArray[np.int64]:
    result = np.empty(len(truth), np.int64)
    for group in (truth, ~truth):
        result[group] = draw.permutation(int(group.sum())) % folds
    return result


def _fit(
    own: NDArray[np.floating],
    truth: NDArray[np.bool_],
    negatives: NDArray[np.floating],
    penalty: float,
    start: tuple[NDArray[np.float64], float] | None = None,
    steps: int = 50,
) -> tuple[NDArray[np.float64], float]:
    """Fit weights and bias of a logistic regression by Newton's method; a picture's views share a weight of 1."""
    count, views, width = own.shape
    points = np.ones((count * views + len(negatives), width + 1))
    points[: count * views, :width], points[count * views :, :width] = own.reshape(-1, width), negatives
    targets = np.concatenate([np.repeat(truth, views), np.zeros(len(negatives), bool)]).astype(float)
    sample_weights = np.concatenate([np.full(count * views, 1 / views), np.ones(len(negatives))])
    penalties = np.full(width + 1, float(penalty))
    penalties[-1] = 1e-6  # The bias is free, but finite where everything shows the tag.

    def loss(weights: NDArray[np.float64]) -> float:
        odds = points @ weights
        return float(sample_weights @ (np.logaddexp(0, odds) - targets * odds) + 0.5 * penalties @ weights**2)

    weights = np.zeros(width + 1) if start is None else np.append(*start)
    now = loss(weights)
    for _ in range(steps):
        probabilities = sigmoid(np.clip(points @ weights, -500, 500))
        gradient = points.T @ (sample_weights * (probabilities - targets)) + penalties * weights
        slopes = sample_weights * probabilities * (1 - probabilities)
        hessian = (points * slopes[:, None]).T @ points + np.diag(penalties)
        change = np.linalg.solve(hessian, gradient)
        while (then := loss(weights - change)) > now + 1e-12 and np.abs(change).max() > 1e-8:
            change = change / 2
        weights, now = weights - change, then
        if np.abs(change).max() < 1e-6:
            break
    return weights[:-1], float(weights[-1])
