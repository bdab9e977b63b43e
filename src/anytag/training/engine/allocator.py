"""How training asks the C library to treat memory."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Make glibc keep large freed blocks instead of handing them back to the system.

    PyTorch on a CPU asks for every activation anew; by default each of them is mapped, page-faulted and unmapped
    again, which here cost three times the arithmetic of a convolutional network's forward pass.

    Returns:
        Whether the C library took the settings (glibc only; elsewhere nothing happens).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    limit = 2**31 - 1
    return bool(mallopt(_M_MMAP_THRESHOLD, limit)) and bool(mallopt(_M_TRIM_THRESHOLD, limit))
