"""Room for the libraries before they are loaded: some of them end the process where they find none.

OpenBLAS, which comes with NumPy, starts its threads while it is loaded, and takes memory for each when it first
multiplies. Where the address space or the number of processes is limited (``ulimit -v``, ``-u``, batch systems), it
gives up in its own words, and Python never hears of it. So what is left is looked at first: with little, OpenBLAS gets
one thread, and takes its memory while there is some; with too little, that is said. Whatever runs out later is an error
that :mod:`anytag.foundations.shortage` explains. The figures are those of ``benchmarks/scarcity.py``.

Nothing of this happens in a process without such limits.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from anytag.errors import ResourceError
from anytag.foundations.cpu_count import available_processors

#: Address space, in bytes, that NumPy and what comes with a command take while they are loaded.
_FOR_LIBRARIES = 100_000_000

#: What OpenBLAS takes when it first multiplies, twice over.
_FOR_PRODUCTS = 64_000_000

#: Beyond this nothing of the kind happens, on however many processors.
_PLENTY = 8 << 30

#: What ONNX Runtime takes while it is loaded, half as much again.
FOR_ONNX_RUNTIME = 80_000_000

#: Numbers of rows and columns that OpenBLAS takes its memory for.
_LARGE = 256

_THREADS_OF_OPENBLAS = "OPENBLAS_NUM_THREADS"


def prepare_libraries() -> None:
    """Make sure that NumPy and what comes with it can be loaded; nothing if it is loaded already.

    Raises:
        ResourceError: If the limit of address space leaves too little for that.
    """
    if "numpy" in sys.modules:
        return
    left = address_space_left()
    need_room(_FOR_LIBRARIES)
    if (left is not None and left < _PLENTY) or not _start_threads(available_processors()):
        os.environ.setdefault(_THREADS_OF_OPENBLAS, "1")


def prepare_products() -> None:
    """Let OpenBLAS take its memory now, if there may be too little later.

    Raises:
        ResourceError: If the limit of address space leaves too little for that.
    """
    left = address_space_left()
    if left is None or left > _PLENTY or _Taken.done:
        return
    need_room(_FOR_PRODUCTS)
    import numpy as np

    square = np.ones((_LARGE, _LARGE), np.float32)
    np.dot(square, square)
    _Taken.done = True


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


class _Taken:
    """Whether OpenBLAS has its memory."""

    done = False


def address_space_left() -> int | None:
    """Bytes that this process may still map; ``None``: there is no limit, or none that is known."""
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
    """Whether the system gives so many threads at once."""
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
