"""The peak of a processor, the share of it that was used, and where the rest of the time goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from anytag.backends.onnx import EXACT_PRODUCTS
from anytag.nn.packed import PackedLinear

#: Matrix products (rows, inputs, outputs) in the sizes of these models, and one that suits any processor.
SHAPES = ((576, 768, 3072), (2304, 768, 768), (1152, 1536, 6144), (2048, 2048, 2048))

#: Kinds of operations, by parts of their PyTorch names; the first match counts.
_KINDS = (
    ("matrix products", ("linear", "mm", "matmul", "conv")),
    ("attention", ("attention",)),
    ("normalization", ("norm",)),
    ("GELU and softmax", ("gelu", "softmax")),
    ("copies", ("copy", "cat", "roll", "contiguous", "clone", "index", "stack")),
    ("sums", ("add", "mul", "sum", "mean")),
)


@torch.inference_mode()
def matrix_peaks(bursts: int = 8) -> dict[str, float]:
    """Highest measured rate of multiply-adds (10^9 per second), by library and precision."""
    peaks: dict[str, float] = {}
    for rows, inputs, outputs in SHAPES:
        count = rows * inputs * outputs
        for name, call in _products(rows, inputs, outputs).items():
            call()
            for _ in range(bursts):
                start = time.perf_counter()
                call()
                rate = count / (time.perf_counter() - start) / 1e9
                peaks[name] = max(peaks.get(name, 0.0), rate)
    return peaks


def _products(rows: int, inputs: int, outputs: int) -> dict[str, Callable[[], Any]]:
    layer, values = nn.Linear(inputs, outputs), torch.randn(rows, inputs)
    whole, wide = PackedLinear(layer, torch.float32), values.bfloat16()
    narrow = PackedLinear(layer, torch.bfloat16)
    left, right = (torch.randint(-127, 127, shape, dtype=torch.int8) for shape in ((rows, inputs), (inputs, outputs)))
    session, given = _integer_session(right.numpy()), left.numpy().view(np.uint8)
    return {
        "torch eager float32": lambda: layer(values),
        "oneDNN float32": lambda: whole(values),
        "oneDNN bfloat16": lambda: narrow(wide),
        "oneDNN int8": lambda: torch._int_mm(left, right),
        "ONNX Runtime int8": lambda: session.run(None, {"left": given}),
    }


def _integer_session(right: Any) -> Any:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node("MatMulInteger", ["left", "right"], ["product"])
    inputs = [helper.make_tensor_value_info("left", TensorProto.UINT8, ["rows", right.shape[0]])]
    outputs = [helper.make_tensor_value_info("product", TensorProto.INT32, ["rows", right.shape[1]])]
    graph = helper.make_graph([node], "product", inputs, outputs, [numpy_helper.from_array(right, "right")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry(*EXACT_PRODUCTS)  # As the package runs them.
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def multiply_adds(work: Callable[[], Any]) -> float:
    """Multiply-adds of matrix products and convolutions, in 10^9."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2e9


def roofline(counts: dict[str, float], peaks: dict[str, float], rows: dict[str, Any]) -> dict[str, Any]:
    """Rate of multiply-adds of each part, compared with the best matrix product in the same precision.

    Args:
        counts: Multiply-adds (10^9) of the reference by stage. A variant that saves some may exceed the peak.
        peaks: Result of :func:`matrix_peaks`.
        rows: Seconds of every stage, by variant; a variant's name ends with its precision.
    """
    shown: dict[str, Any] = {"multiply_adds_1e9": counts, "peaks_1e9_per_s": peaks}
    for name, row in rows.items():
        precision = "float32" if name == "reference" else name.split()[-1]
        best = max(rate for who, rate in peaks.items() if who.endswith(precision))
        for stage, count in counts.items():
            rate = count / row[stage]
            shown.setdefault(name, {})[stage.removesuffix("_s")] = {"achieved": rate, "of_attainable": rate / best}
    return shown


def time_by_kind(work: Callable[[], Any]) -> dict[str, float]:
    """Shares of processor time by kind of PyTorch operation, including some overhead of the profiler."""
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    seconds: dict[str, float] = {}
    for event in profile.key_averages():
        name = event.key.lower()
        kind = next((kind for kind, parts in _KINDS if any(part in name for part in parts)), "the rest")
        seconds[kind] = seconds.get(kind, 0.0) + event.self_cpu_time_total
    whole = sum(seconds.values())
    return {kind: spent / whole for kind, spent in sorted(seconds.items(), key=lambda item: -item[1])}
