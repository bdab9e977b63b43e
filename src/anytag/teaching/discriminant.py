"""One tag told apart from everything else, by a line through what the image encoder sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anytag.evaluation.calibration import fit_slope
from anytag.foundations.log_odds import sigmoid

#: Least slope of scores; below, the margin says nothing of the tag.
_LEAST_SLOPE = 0.1


@dataclass(frozen=True)
class Discriminant:
    """A line, on the scale of log-odds, 0 where the tag begins to count as found.

    Attributes:
        weights: ``[D]``.
        bias: Added to the product with them.
        pictures: How many the tag is true of.
        found: Share of these that are found by lines which were fitted without them; NaN of a single one.
        false_positives: Share of negatives that are found by lines which were fitted without them.
    """

    weights: NDArray[np.float64]
    bias: float
    pictures: int
    found: float
    false_positives: float


def fit_discriminant(
    own: NDArray[np.floating],
    truth: NDArray[np.bool_],
    negatives: NDArray[np.floating],
    *,
    penalty: float = 10.0,
    max_false_positives: float = 0.003,
    folds: int = 5,
    seed: int = 0,
) -> Discriminant:
    """Tell one's own pictures of a tag from one's other ones and from negatives.

    A logistic regression with a penalty on the squares of its weights. What it says of pictures that it was fitted on
    means little, so it is fitted again without a part of them in turn, and the margins of the parts left out decide:
    the line's zero lies above all but ``max_false_positives`` of the negatives and all but a hundredth of one's other
    pictures, and a quarter of the way from there to where the tag's own pictures begin (their fifth percentile); its
    slope is Platt's.

    Args:
        own: ``[N, V, D]`` coordinates of one's own pictures, the plain view of each first.
        truth: ``[N]``, which of them show the tag: at least one.
        negatives: ``[M, D]`` coordinates of pictures that do not show it.
        penalty: On the squares.
        max_false_positives: Share of the negatives that may be found.
        folds: Parts.
        seed: Of the parts.
    """
    draw = np.random.default_rng(seed)
    positives = int(truth.sum())
    folds = max(2, min(folds, positives))
    part_own, part_negatives = _parts(truth, folds, draw), draw.permutation(len(negatives)) % folds
    weights, bias = _fit(own, truth, negatives, penalty)
    scored, other_scores = np.empty(len(own)), np.empty(len(negatives))
    for part in range(folds):
        kept, tested = part_own != part, part_own == part
        if truth[kept].any():
            partly, partly_bias = _fit(own[kept], truth[kept], negatives[part_negatives != part], penalty, weights)
        else:  # The tag has a single picture.
            partly, partly_bias = weights, bias
        scored[tested] = own[tested, 0] @ partly + partly_bias
        other_scores[part_negatives == part] = negatives[part_negatives == part] @ partly + partly_bias
    below = [np.quantile(other_scores, 1 - max_false_positives)] if len(other_scores) else []
    below += [np.quantile(scored[~truth], 0.99)] if not truth.all() else []
    # If there is nothing to separate the tag from, most of its own pictures are found.
    edge = max(below, default=np.quantile(scored[truth], 0.1))
    edge += max(0.0, 0.25 * (np.quantile(scored[truth], 0.05) - edge))
    slope = 1.0
    if below:
        named = np.concatenate([truth, np.zeros(len(other_scores), bool)])
        slope = max(fit_slope(np.concatenate([scored, other_scores]), named)[0], _LEAST_SLOPE)
    return Discriminant(
        weights=slope * weights,
        bias=slope * (bias - edge),
        pictures=positives,
        found=float((scored[truth] >= edge).mean()) if positives > 1 else float("nan"),
        false_positives=float((other_scores >= edge).mean()) if len(other_scores) else float("nan"),
    )


def _parts(truth: NDArray[np.bool_], folds: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Part of each picture; those with the tag and those without are spread evenly, each by itself."""
    parts = np.empty(len(truth), np.int64)
    for group in (truth, ~truth):
        parts[group] = draw.permutation(int(group.sum())) % folds
    return parts


def _fit(
    own: NDArray[np.floating],
    truth: NDArray[np.bool_],
    negatives: NDArray[np.floating],
    penalty: float,
    start: NDArray[np.float64] | None = None,
    steps: int = 50,
) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of a logistic regression, by Newton's method; the views of a picture count as one together."""
    count, views, width = own.shape
    points = np.ones((count * views + len(negatives), width + 1))
    points[: count * views, :width], points[count * views :, :width] = own.reshape(-1, width), negatives
    wanted = np.concatenate([np.repeat(truth, views), np.zeros(len(negatives), bool)]).astype(float)
    counts = np.concatenate([np.full(count * views, 1 / views), np.ones(len(negatives))])
    shrink = np.full(width + 1, float(penalty))
    shrink[-1] = 1e-6  # The bias is free, but finite where everything shows the tag.

    def loss(line: NDArray[np.float64]) -> float:
        odds = points @ line
        return float(counts @ (np.logaddexp(0, odds) - wanted * odds) + 0.5 * shrink @ line**2)

    line = np.zeros(width + 1)
    if start is not None:
        line[:width] = start
        if loss(line) > loss(np.zeros(width + 1)):
            line[:] = 0
    now = loss(line)
    for _ in range(steps):
        likely = sigmoid(np.clip(points @ line, -500, 500))
        gradient = points.T @ (counts * (likely - wanted)) + shrink * line
        curve = (points * (counts * likely * (1 - likely))[:, None]).T @ points + np.diag(shrink)
        change = np.linalg.solve(curve, gradient)
        while (then := loss(line - change)) > now + 1e-12 and np.abs(change).max() > 1e-8:
            change = change / 2
        line, now = line - change, then
        if np.abs(change).max() < 1e-6:
            break
    return line[:-1], float(line[-1])
