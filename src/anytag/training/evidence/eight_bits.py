"""Matrices in 8 bits, as models keep them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def in_eight_bits(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers ``[R, C]`` and a scale for each row, ``[R]``; their product is nearly the matrix."""
    scale = (np.abs(matrix).max(1) / 127 + 1e-12).astype(np.float32)
    return np.round(matrix / scale[:, None]).astype(np.int8), scale
