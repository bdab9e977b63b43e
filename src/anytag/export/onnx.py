"""Export to ONNX with parity checks, and compression of weights."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from anytag.backends.onnx import EXACT_PRODUCTS
from anytag.errors import AnytagError
from anytag.export.graphs import GraphSpec

#: Weights above this size, in bytes, get a separate file, because protobuf is limited to two gigabytes.
LARGEST_GRAPH = 2**31 - 2**24

#: Suffix of that file's name.
DATA_SUFFIX = ".data"


class ParityError(AnytagError):
    """An exported graph and its module give different results."""

    kind = "parity"


def export_graph(spec: GraphSpec, path: Path) -> None:
    """Write a graph as an ONNX file, with a separate file for large weights."""
    module = spec.module.eval()
    axes = {name: dict(sizes) for name, sizes in spec.dynamic.items()}
    with torch.no_grad(), warnings.catch_warnings():
        # This exporter is used on purpose, and the parity check covers what the tracer warns about.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            module,
            tuple(spec.inputs.values()),
            str(path),
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            dynamic_axes=axes,
            opset_version=18,
            dynamo=False,
        )
    if _bytes_of_weights(path) > LARGEST_GRAPH:
        # PyTorch writes one file per weight.
        model = onnx.load(path)
        strays = _external_files(onnx.load(path, load_external_data=False))
        save_graph(model, path)
        for name in strays - {path.name + DATA_SUFFIX}:
            (path.parent / name).unlink()
    fold_padding(path)


def fold_padding(path: Path) -> None:
    """Fold zero padding before convolutions into the convolutions, in place.

    PyTorch's convolutions only support symmetric padding, so other padding is exported as an operation that copies the
    feature map and prevents ONNX Runtime from keeping its own memory layout between convolutions. ONNX's convolutions
    support asymmetric padding.
    """
    if not any(node.op_type == "Pad" for node in onnx.load(path, load_external_data=False).graph.node):
        return
    fold_constants(path)
    model = onnx.load(path)
    graph = model.graph
    constants = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    padded = {node.input[0]: node for node in graph.node if node.op_type == "Conv"}
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        [output], convolution = pad.output, padded.get(pad.output[0])
        sides = constants.get(pad.input[1])
        mode = next((entry.s for entry in pad.attribute if entry.name == "mode"), b"constant")
        value = constants.get(pad.input[2], np.nan) if len(pad.input) > 2 and pad.input[2] else 0
        if convolution is None or sides is None or readers[output] > 1 or mode != b"constant" or value != 0:
            continue
        begin, end = sides.reshape(2, -1).tolist()
        own = next((entry for entry in convolution.attribute if entry.name == "pads"), None)
        if own is None or any(begin[:2] + end[:2]) or min(begin + end) < 0:
            continue
        own.ints[:] = [a + b for a, b in zip(own.ints, begin[2:] + end[2:], strict=True)]
        convolution.input[0] = pad.input[0]
        graph.node.remove(pad)
    used = {name for node in graph.node for name in node.input}
    for weight in [weight for weight in graph.initializer if weight.name not in used]:
        graph.initializer.remove(weight)
    save_graph(model, path)


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write or replace a graph, with large weights in ``<path>.data``."""
    data = path.with_name(path.name + DATA_SUFFIX)
    data.unlink(missing_ok=True)
    large = sum(weight.ByteSize() for weight in model.graph.initializer) > LARGEST_GRAPH
    onnx.save_model(model, path, save_as_external_data=large, location=data.name, size_threshold=1024)
    onnx.checker.check_model(str(path))


def _external_files(model: onnx.ModelProto) -> set[str]:
    entries = (entry for weight in model.graph.initializer for entry in weight.external_data)
    return {entry.value for entry in entries if entry.key == "location"}


def _bytes_of_weights(path: Path) -> int:
    files = {path.name} | _external_files(onnx.load(path, load_external_data=False))
    return sum((path.parent / name).stat().st_size for name in files)


def expected_outputs(spec: GraphSpec) -> list[tuple[dict[str, Tensor], tuple[Tensor, ...]]]:
    """The module's outputs for the example and its variants; slow for large networks."""
    with torch.no_grad():
        results = [(inputs, spec.module(**inputs)) for inputs in [spec.inputs, *spec.variants()]]
    return [(inputs, outputs if isinstance(outputs, tuple) else (outputs,)) for inputs, outputs in results]


def _session(path: Path) -> onnxruntime.InferenceSession:
    """Load a graph as the backend does."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*EXACT_PRODUCTS)
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_parity(
    spec: GraphSpec,
    path: Path,
    tolerance: float = 1e-4,
    expected: list[tuple[dict[str, Tensor], tuple[Tensor, ...]]] | None = None,
) -> float:
    """Return the largest difference between module and graph over the example and its variants.

    Args:
        tolerance: Of the difference, relative to the largest output, or to 1 if that is smaller.
        expected: :func:`expected_outputs`, if already computed.

    Raises:
        ParityError: If the difference exceeds ``tolerance``.
    """
    session = _session(path)
    worst = 0.0
    for inputs, wanted in expected_outputs(spec) if expected is None else expected:
        actual = session.run(list(spec.outputs), {name: tensor.numpy() for name, tensor in inputs.items()})
        for name, ours, theirs in zip(spec.outputs, wanted, actual, strict=True):
            a, b = ours.numpy().astype(np.float64), theirs.astype(np.float64)
            if a.shape != b.shape:
                raise ParityError(f"{path.name}: output {name} has shape {b.shape} instead of {a.shape}")
            difference = float(np.abs(a - b).max() / max(1.0, np.abs(a).max())) if a.size else 0.0
            worst = float(np.maximum(worst, difference))  # Unlike max, this keeps NaN.
    if not worst <= tolerance:
        raise ParityError(f"{path.name}: differs from the PyTorch module by {worst:.2e}, more than {tolerance:.0e}")
    return worst


def store_half(path: Path, smallest: int = 1024) -> None:
    """Store float32 weights with at least ``smallest`` elements as float16, in place; arithmetic stays float32."""
    model = onnx.load(path)
    graph, casts = model.graph, []
    for index, weight in enumerate(graph.initializer):
        if weight.data_type != TensorProto.FLOAT or int(np.prod(weight.dims)) < smallest:
            continue
        half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name + "_half")
        casts.append(helper.make_node("Cast", [half.name], [weight.name], name=f"cast_{index}", to=TensorProto.FLOAT))
        graph.initializer[index].CopyFrom(half)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    save_graph(model, path)


def fold_constants(path: Path) -> None:
    """Apply ONNX Runtime's basic optimizations, such as constant folding, in place; operators stay standard ones.

    Weights exported with a transposition or reshape then become direct inputs of their products, where the quantizer
    expects them.
    """
    folded = path.with_suffix(".folded.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 3
    if _bytes_of_weights(path) > LARGEST_GRAPH:
        name = folded.name + DATA_SUFFIX
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", name)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    _take_place(folded, path)


def quantize_dynamic(
    path: Path,
    keep: Callable[[str], bool] | None = None,
    operators: Sequence[str] = ("MatMul", "Gemm", "Gather"),
) -> None:
    """Quantize matrix products and embeddings to 8 bits in place, with dynamic scales for activations.

    Args:
        keep: Whether a node, by name, stays in floating point.
        operators: Operators to quantize, if their weight is a constant.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    excluded = [node.name for node in model.graph.node if keep is not None and keep(node.name)]
    quantized = path.with_suffix(".int8.onnx")
    with _without_advice():
        quantize_dynamic(
            str(path),
            str(quantized),
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=excluded,
            op_types_to_quantize=list(operators),
            # Folded graphs only specify types of inputs and outputs.
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
            use_external_data_format=_bytes_of_weights(path) > LARGEST_GRAPH,
        )
    _take_place(quantized, path)


def quantize_static(
    path: Path, samples: Iterable[Mapping[str, NDArray[Any]]], keep: Callable[[str], bool] | None = None
) -> None:
    """Quantize matrix products to 8 bits in place, with a scale per channel of weights and fixed scales of activations.

    Inputs of products get QuantizeLinear and DequantizeLinear, which ONNX Runtime and OpenVINO fuse into an 8-bit
    product; outputs stay in floating point.

    Args:
        samples: Inputs on which the ranges of activations are measured.
        keep: Whether a node, by name, stays in floating point.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(samples)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            following = next(self.rest, None)
            return None if following is None else dict(following)

    products = ["MatMul", "Gemm"]
    graph = onnx.load(path, load_external_data=False).graph
    constants = {weight.name for weight in graph.initializer}
    # Products within attention have no weights.
    excluded = [node.name for node in graph.node if node.op_type in products and not constants & set(node.input)]
    excluded += [node.name for node in graph.node if keep is not None and keep(node.name)]
    quantized = path.with_suffix(".int8.onnx")
    with _without_advice():
        quantize_static(
            str(path),
            str(quantized),
            Reader(),
            op_types_to_quantize=products,
            per_channel=True,
            # Processors are fastest at unsigned activations times signed weights.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
            extra_options={
                "DefaultTensorType": TensorProto.FLOAT,
                "OpTypesToExcludeOutputQuantization": products,
            },
            use_external_data_format=_bytes_of_weights(path) > LARGEST_GRAPH,
        )
    _take_place(quantized, path)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence the quantizer's advice to preprocess the graph, which was folded already."""

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    root = logging.getLogger()
    root.addFilter(is_error)
    try:
        yield
    finally:
        root.removeFilter(is_error)


def _take_place(made: Path, path: Path) -> None:
    """Replace ``path`` by a graph that another library wrote."""
    model, files = onnx.load(made), _external_files(onnx.load(made, load_external_data=False))
    save_graph(model, path)
    for name in {made.name, *files}:
        (made.parent / name).unlink()


def fix_activation_scales(path: Path, samples: Iterable[Mapping[str, NDArray[Any]]], margin: float = 1.5) -> None:
    """Replace dynamic scales of activations by fixed ones, in place.

    A dynamic scale depends on the largest activation of all rows, so the result of one row depends on the others. With
    a fixed scale it does not.

    Args:
        path: A graph from :func:`quantize_dynamic`.
        samples: Inputs on which the ranges of activations are measured.
        margin: Factor on the measured ranges; activations beyond are clipped.
    """
    model = onnx.load(path)
    graph = model.graph
    ranges = _ranges(model, samples)
    nodes = []
    for node in graph.node:
        if node.op_type != "DynamicQuantizeLinear":
            nodes.append(node)
            continue
        low, high = (margin * bound for bound in ranges[node.input[0]])
        _, scale_name, zero_name = node.output
        scale = np.float32(max(high - low, 1e-6) / 255)
        zero = np.uint8(np.clip(np.rint(-low / scale), 0, 255))
        graph.initializer.append(numpy_helper.from_array(np.array(scale), scale_name))
        graph.initializer.append(numpy_helper.from_array(np.array(zero), zero_name))
        inputs = [node.input[0], scale_name, zero_name]
        nodes.append(helper.make_node("QuantizeLinear", inputs, node.output[:1], name=node.name))
    del graph.node[:]
    graph.node.extend(nodes)
    save_graph(model, path)


def _ranges(model: onnx.ModelProto, samples: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, tuple[float, float]]:
    """Lowest and highest value, extended to 0, of all dynamically quantized activations."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    names = [node.input[0] for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"]
    for name in names:
        for reduce in ("ReduceMin", "ReduceMax"):
            probe.graph.node.append(helper.make_node(reduce, [name], [f"{name}_{reduce}"], keepdims=0))
            probe.graph.output.append(helper.make_tensor_value_info(f"{name}_{reduce}", TensorProto.FLOAT, []))
    with tempfile.TemporaryDirectory() as folder:
        save_graph(probe, Path(folder) / "probe.onnx")
        session = _session(Path(folder) / "probe.onnx")
    bounds = np.array([session.run(None, dict(inputs)) for inputs in samples]).reshape(-1, len(names), 2)
    low, high = np.minimum(bounds[..., 0].min(0), 0), np.maximum(bounds[..., 1].max(0), 0)
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
