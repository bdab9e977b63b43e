"""Check and unpack the weight arrays of a model directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.errors import ModelError


def check_shapes(file: str, arrays: Mapping[str, NDArray[Any]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Check that arrays are present and have the expected shapes.

    Raises:
        ModelError: If not; names the file and the first such array.
    """
    for name, shape in expected.items():
        if name not in arrays or np.shape(arrays[name]) != shape:
            problem = f"has the shape {np.shape(arrays[name])}" if name in arrays else "is missing"
            raise ModelError(f"{file}: {name} {problem}, where {shape} is expected; copy the model again")


def dequantize(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """Float32 matrix of int8 ``{name}_weight`` ``[R, C]`` with one ``{name}_scale`` ``[R]`` per row."""
    weight: NDArray[np.float32] = arrays[f"{name}_weight"].astype(np.float32)
    return weight * arrays[f"{name}_scale"][:, None].astype(np.float32)
