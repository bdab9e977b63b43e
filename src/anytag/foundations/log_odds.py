"""Probabilities and their log-odds, ``log(p / (1 - p))``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Where probabilities are cut off that must stay comparable: log-odds from -13.8 to 13.8.
EDGE = 1e-6


def sigmoid(log_odds: ArrayLike) -> NDArray[Any]:
    """The probabilities of log-odds, in (0, 1); in the precision of what is given."""
    probabilities: NDArray[Any] = 1 / (1 + np.exp(-np.asarray(log_odds)))
    return probabilities


def log_odds(probability: ArrayLike, edge: float = 0.0) -> NDArray[np.float64]:
    """The log-odds of probabilities.

    Args:
        probability: Any shape, in [0, 1].
        edge: Probabilities below it, or above 1 less it, count as that; 0: as they are, so that 0 and 1 are infinite.
    """
    exact = np.asarray(probability, np.float64)
    kept = np.clip(exact, edge, 1 - edge) if edge else exact
    odds: NDArray[np.float64] = np.log(kept) - np.log1p(-kept)
    return odds


def lowered(probability: ArrayLike, by: float) -> NDArray[np.float64]:
    """Probabilities that are so much less in log-odds; those beyond :data:`EDGE` count as that first."""
    return sigmoid(log_odds(probability, EDGE) - by)
