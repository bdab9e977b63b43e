"""Decoders keep their remarks to themselves: they name no file, and what matters about it is in our errors."""

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

#: As :mod:`warnings` keeps a filter: what to do, message, category, module, line.
_FILTER = ("ignore", None, Warning, re.compile(r"PIL\.|pillow_heif|pillow_jxl"), 0)

_lock = threading.Lock()
_readers = 0

# Without it, Python prints a library's log messages where the program has set nothing up.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silence Pillow's warnings while any thread reads a picture.

    :func:`warnings.catch_warnings` cannot be used by several threads at once; one filter for all of them can. It is put
    in and taken out without :func:`warnings.filterwarnings`, which would make warnings that a program shows once come
    again.
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
    """Stop libtiff from printing its errors ("tempfile.tif: …"); Pillow does the same with its warnings."""
    import ctypes

    from PIL import _imaging

    # Where libtiff is built in without its names, it goes on printing.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


#: What LibRaw says of a file that it reads from memory.
_LIBRAW = re.compile(rb"^unknown file: .*\n?", re.MULTILINE)

_stderr_lock = threading.Lock()


@contextlib.contextmanager
def quiet_libraw() -> Iterator[None]:
    """Keep what LibRaw prints from standard error; what others write there meanwhile comes when it is done.

    LibRaw has a switch for that, but rawpy does not pass it on.
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
