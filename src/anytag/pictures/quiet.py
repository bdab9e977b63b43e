"""Silence the warnings of decoders, which do not name the file; errors report what matters."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, cast

#: A filter in the format of :mod:`warnings`: action, message, category, module, line.
_FILTER = ("ignore", None, Warning, re.compile(r"PIL\.|pillow_heif|pillow_jxl"), 0)

_lock = threading.Lock()
_readers = 0

# Without it, Python prints log messages if the program did not configure logging.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silence Pillow's warnings while any thread reads a picture.

    :func:`warnings.catch_warnings` is not thread-safe, so all threads share one filter. It is not added by
    :func:`warnings.filterwarnings`, which would make warnings that are shown once appear again.
    """
    global _readers
    filters = cast(list[Any], warnings.filters)
    with _lock:
        _readers += 1
        if _readers == 1:
            filters.insert(0, _FILTER)
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                for current in (filters, cast(list[Any], warnings.filters)):
                    with contextlib.suppress(ValueError):
                        current.remove(_FILTER)


@lru_cache(maxsize=1)
def silence_libtiff() -> None:
    """Stop libtiff from printing its errors ("tempfile.tif: …"); Pillow already does so for its warnings."""
    import ctypes

    from PIL import _imaging

    # If Pillow does not export libtiff's symbols, it goes on printing.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


#: LibRaw's messages for files in memory.
_LIBRAW = re.compile(rb"^unknown file: .*\n?", re.MULTILINE)

_stderr_lock = threading.Lock()


@contextlib.contextmanager
def quiet_libraw() -> Iterator[None]:
    """Remove LibRaw's messages from standard error; other output appears at the end of the block.

    LibRaw has an option for this, but rawpy does not offer it.
    """
    with _stderr_lock, contextlib.ExitStack() as stack:
        try:
            kept = os.dup(2)
        except OSError:  # It is closed.
            yield
            return
        stack.callback(os.close, kept)
        held = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            held.seek(0)
            rest = _LIBRAW.sub(b"", held.read())
            with contextlib.suppress(OSError):
                os.write(2, rest)
