"""Check that there is memory for the libraries before they are loaded, since some end the process if there is not.

OpenBLAS, which comes with NumPy, starts its threads on import and allocates memory for each at its first product. If
the address space or the number of processes is limited (``ulimit -v``, ``-u``, batch systems), it ends the process with
a message of its own, and Python cannot catch that. So the limits are checked first. If little is left, OpenBLAS gets
one thread and allocates early; if too little is left, a :class:`~anytag.errors.ResourceError` is raised. Later
shortages become errors in :mod:`anytag.foundations.shortage`. The numbers come from ``benchmarks/scarcity.py``.

Without such limits, nothing happens.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import cache
from pathlib import Path

from anytag.errors import ResourceError
from anytag.foundations.cpu_count import available_processors

#: Address space, in bytes, that importing NumPy and a command's other libraries takes.
_FOR_LIBRARIES = 100_000_000

#: Twice what OpenBLAS allocates at its first product.
_FOR_PRODUCTS = 64_000_000

#: Enough for any number of processors.
_PLENTY = 8 << 30

#: One and a half times what importing ONNX Runtime takes.
FOR_ONNX_RUNTIME = 80_000_000

#: Rows and columns of a product for which OpenBLAS allocates its memory.
_LARGE = 256

_THREADS_OF_OPENBLAS = "OPENBLAS_NUM_THREADS"


def prepare_libraries() -> None:
    """Make sure that NumPy can be imported, if it is not yet.

    Raises:
        ResourceError: If the limit of address space leaves too little memory.
    """
    if "numpy" in sys.modules:
        return
    left = address_space_left()
    need_room(_FOR_LIBRARIES)
    if (left is not None and left < _PLENTY) or not _start_threads(available_processors()):
        os.environ.setdefault(_THREADS_OF_OPENBLAS, "1")


def allocate_blas_buffers() -> None:
    """Let OpenBLAS allocate its memory now, if there may be too little later.

    Raises:
        ResourceError: If the limit of address space leaves too little memory.
    """
    left = address_space_left()
    if left is not None and left <= _PLENTY:
        _multiply()


@cache
def _multiply() -> None:
    need_room(_FOR_PRODUCTS)
    import numpy as np

    square = np.ones((_LARGE, _LARGE), np.float32)
    np.dot(square, square)


def need_room(needed: int) -> None:
    """Make sure that so many bytes can be mapped.

    Raises:
        ResourceError: If the limit of address space leaves fewer.
    """
    left = address_space_left()
    if left is not None and left < needed:
        raise ResourceError(
            f"the limit of address space (ulimit -v) leaves {left / 1e6:.0f} MB of memory, and about "
            f"{needed / 1e6:.0f} MB are needed; raise it"
        )


def address_space_left() -> int | None:
    """Return the bytes that this process may still map; ``None`` if there is no limit, or it is unknown."""
    try:
        import resource
    except ImportError:  # Windows has no such limits.
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return None
    return int(max(0, limit - pages * resource.getpagesize()))


def _start_threads(count: int) -> bool:
    """Return whether the system can start so many threads at once."""
    end, started = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        end.set()
        for thread in started:
            thread.join()
    return True
