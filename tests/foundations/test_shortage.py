"""Shortage of memory or threads: one sentence instead of what libraries say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT
from fixtures_toy import plain, toy_recognizer

from anytag.errors import MissingExtraError, ResourceError, UsageError, needs_extra
from anytag.foundations.shortage import explain_shortages, shortage_of

MEMORY = "there is not enough memory; use a smaller batch_size or model, or fewer threads, or end other programs"
FILES = "too many files are open; end other programs, or raise the limit (ulimit -n)"
THREADS = "the system gives no more threads; ask for fewer (threads=1, --threads 1), or raise the limit (ulimit -u)"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), MEMORY),
        (RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception: std::bad_alloc"), MEMORY),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), MEMORY),
        (RuntimeError("can't start new thread"), THREADS),
        (RuntimeError("pthread_create failed, error code: 11"), THREADS),
        (BlockingIOError(11, "Resource temporarily unavailable"), THREADS),
        (ImportError("runtime.so: failed to map segment from shared object"), MEMORY),
        (OSError(24, "Too many open files", "a.jpg"), FILES),
        (SystemError("error return without exception set"), MEMORY),
        (SystemError("<built-in method run> returned NULL without setting an exception"), MEMORY),
    ],
)
def test_messages_of_libraries(error, message):
    with pytest.raises(ResourceError) as caught, explain_shortages():
        raise error
    assert (str(caught.value), caught.value.kind) == (message, "resources")
    assert caught.value.__cause__ is error


def test_causes_are_searched_for_shortages():
    led_to = RuntimeError("cannot join thread before it is started")
    led_to.__context__ = RuntimeError("can't start new thread")
    assert shortage_of(led_to).kind == "resources"
    led_to.__suppress_context__ = True
    assert shortage_of(led_to) is None


def test_a_panic_in_a_rust_library():
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    with pytest.raises(ResourceError, match="no more threads"), explain_shortages():
        raise panic("The global thread pool has not been initialized.: ThreadPoolBuildError { kind: IOError(Os {}) }")
    with pytest.raises(panic), explain_shortages():
        raise panic("index out of bounds")


def test_an_extra_that_does_not_fit_into_memory():
    with pytest.raises(ResourceError, match="not enough memory"), explain_shortages(), needs_extra("This", "train"):
        raise ImportError("torch.so: failed to map segment from shared object")
    with pytest.raises(MissingExtraError), explain_shortages(), needs_extra("This", "train"):
        raise ImportError("torch.so: undefined symbol")


def test_other_errors_pass():
    for error in (ValueError("a shape"), UsageError("out of memory is not a tag"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, explain_shortages():
            raise error
        assert caught.value is error


def test_read_from_the_middle_of_a_stream(tmp_path):
    recognizer = toy_recognizer(tmp_path / "toy", batch_size=1)
    encode = recognizer.backend.encode

    def exhausted(pixels):
        if recognizer.backend.encoded:
            raise MemoryError
        return encode(pixels)

    recognizer.backend.encode = exhausted
    stream = recognizer.tag(plain("red") for _ in range(3))
    assert next(stream).tags
    with pytest.raises(ResourceError):
        next(stream)
    with pytest.raises(ResourceError):
        recognizer.look(plain("red"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited as on Linux")
def test_a_process_that_may_have_no_more_memory():
    code = f"""
import resource, anytag
recognizer = anytag.load(threads=1)
import onnxruntime
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 60 * 2**20,) * 2)
try:
    recognizer.tag({str(ROOT / "examples" / "cat.jpg")!r})
except anytag.AnytagError as error:
    print(error.kind)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "resources", done.stderr
