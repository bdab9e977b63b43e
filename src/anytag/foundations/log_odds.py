"""Probabilities and their log-odds, ``log(p / (1 - p))``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Probabilities that must stay comparable are clipped here: log-odds from -13.8 to 13.8.
EDGE = 1e-6


def sigmoid(log_odds: ArrayLike) -> NDArray[Any]:
    """Return the probabilities of log-odds, in (0, 1) and in the input's precision."""
    probabilities: NDArray[Any] = 1 / (1 + np.exp(-np.asarray(log_odds)))
    return probabilities


def log_odds(probability: ArrayLike, edge: float = 0.0) -> NDArray[np.float64]:
    """Return the log-odds of probabilities.

    Args:
        probability: Any shape, in [0, 1].
        edge: Clip probabilities to [edge, 1 - edge]; with 0, those of 0 and 1 are infinite.
    """
    exact = np.asarray(probability, np.float64)
    kept = np.clip(exact, edge, 1 - edge) if edge else exact
    odds: NDArray[np.float64] = np.log(kept) - np.log1p(-kept)
    return odds


def lowered(probability: ArrayLike, by: float) -> NDArray[np.float64]:
    """Reduce probabilities by an amount in log-odds, after clipping them at :data:`EDGE`."""
    return sigmoid(log_odds(probability, EDGE) - by)
