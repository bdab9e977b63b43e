"""Says it plainly where the machine has no memory or threads left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anytag.errors import AnytagError, ResourceError

#: What Python, ONNX Runtime, OpenVINO and PyTorch say then, in lower case.
_NO_THREADS = (
    "can't start new thread",
    "pthread_create",
    "thread constructor failed",
    "resource temporarily unavailable",
)
_NO_MEMORY = ("allocate memory", "bad_alloc", "bad allocation", "out of memory", "not enough memory")


def shortage_of(error: BaseException) -> ResourceError | None:
    """The error to raise instead, if it comes from a shortage; else ``None``."""
    said = str(error).lower()
    if any(sign in said for sign in _NO_THREADS):
        return ResourceError(
            "the system gives no more threads; ask for fewer (threads=1, --threads 1), or raise the limit (ulimit -u)"
        )
    if isinstance(error, MemoryError) or any(sign in said for sign in _NO_MEMORY):
        return ResourceError(
            "there is not enough memory; use a smaller batch_size or model, or fewer threads, or end other programs"
        )
    return None


@contextmanager
def explained_shortage() -> Iterator[None]:
    """Turn what comes from a shortage into a :class:`~anytag.errors.ResourceError`; other errors pass."""
    try:
        yield
    except AnytagError:
        raise
    except Exception as error:
        explained = shortage_of(error)
        if explained is None:
            raise
        raise explained from error
