"""Turn errors that mean too little memory, or too few threads or open files, into a clear :class:`ResourceError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anytag.errors import AnytagError, MissingExtraError, ResourceError

#: Parts of the messages of Python, ONNX Runtime, OpenVINO, PyTorch and tokenizers, in lower case.
_NO_THREADS = (
    "can't start new thread",
    "pthread_create",
    "thread constructor failed",
    "resource temporarily unavailable",
    "threadpoolbuilderror",
)
_NO_MEMORY = (
    "allocate memory",
    "memory allocation",
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "not enough memory",
    "failed to map segment",
    "pyobject pointer is null",
    # Python itself, if there is no memory for the exception.
    "error return without exception set",
    "without setting an exception",
)
_NO_FILES = ("too many open files",)

#: The exception of a panic in a Rust library; not an ``Exception``, and in a module that cannot be imported.
_PANIC = "pyo3_runtime.PanicException"


def shortage_of(error: BaseException) -> ResourceError | None:
    """Return the error to raise instead if the error, or one of its causes, comes from a shortage; else ``None``."""
    step: BaseException | None = error
    while step is not None:
        if (found := _shortage_of(step)) is not None:
            return found
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return None


def _shortage_of(error: BaseException) -> ResourceError | None:
    message = str(error).lower()
    if any(sign in message for sign in _NO_THREADS):
        return ResourceError(
            "the system gives no more threads; ask for fewer (threads=1, --threads 1), or raise the limit (ulimit -u)"
        )
    if isinstance(error, MemoryError) or any(sign in message for sign in _NO_MEMORY):
        return ResourceError(
            "there is not enough memory; use a smaller batch_size or model, or fewer threads, or end other programs"
        )
    if any(sign in message for sign in _NO_FILES):
        return ResourceError("too many files are open; end other programs, or raise the limit (ulimit -n)")
    return None


def is_panic(error: BaseException) -> bool:
    """Return whether an exception is a panic of a Rust library."""
    return f"{type(error).__module__}.{type(error).__qualname__}" == _PANIC


@contextmanager
def explain_shortages() -> Iterator[None]:
    """Raise a :class:`~anytag.errors.ResourceError` in place of errors that come from a shortage."""
    try:
        yield
    except MissingExtraError as error:
        raise shortage_of(error) or error from None
    except AnytagError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        explained = shortage_of(error)
        if explained is None:
            raise
        raise explained from error
