"""Arrays on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file, whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as handle:
        np.save(handle, array)
    part.replace(path)
