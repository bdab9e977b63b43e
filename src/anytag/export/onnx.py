"""Export to ONNX, with a parity check built in, and smaller weights."""

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

#: Weights of a graph, in bytes, from which on they lie in a file of their own: protobuf ends at two gigabytes.
LARGEST_GRAPH = 2**31 - 2**24

#: Ends the name of that file.
DATA_SUFFIX = ".data"


class ParityError(AnytagError):
    """An exported graph does not compute what the module computes."""

    kind = "parity"


def export_graph(spec: GraphSpec, path: Path, opset: int = 18) -> None:
    """Write one graph as an ONNX file, with a second one for its weights if they are large."""
    module = spec.module.eval()
    axes = {name: dict(sizes) for name, sizes in spec.dynamic.items()}
    with torch.no_grad(), warnings.catch_warnings():
        # Asked for on purpose, and the trace's warnings about sizes are what the parity check is for.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            module,
            tuple(spec.inputs.values()),
            str(path),
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            dynamic_axes=axes,
            opset_version=opset,
            dynamo=False,
        )
    if _bytes_of_weights(path) > LARGEST_GRAPH:
        # PyTorch leaves a file for every weight beside the graph.
        model = onnx.load(path)
        strays = _external_files(onnx.load(path, load_external_data=False))
        save_graph(model, path)
        for name in strays - {path.name + DATA_SUFFIX}:
            (path.parent / name).unlink()
    fold_padding(path)


def fold_padding(path: Path) -> None:
    """Make padding in front of a convolution the convolution's own, where it is constant and of zeros.

    PyTorch's convolutions pad both sides alike, so that others come with an operation that copies the map, and breaks
    up the order in which ONNX Runtime keeps maps between convolutions. ONNX's convolutions pad each side as they like.

    Args:
        path: Changed in place.
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
    """Write a graph, its weights in ``<path>.data`` if they are large, in place of one that is there."""
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
    """What the module makes of the example and its variants; for a large network this takes a while."""
    with torch.no_grad():
        made = [(inputs, spec.module(**inputs)) for inputs in [spec.inputs, *spec.variants()]]
    return [(inputs, found if isinstance(found, tuple) else (found,)) for inputs, found in made]


def _session(path: Path) -> onnxruntime.InferenceSession:
    """A graph as it will be run."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*EXACT_PRODUCTS)
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_parity(
    spec: GraphSpec,
    path: Path,
    tolerance: float = 1e-4,
    wanted: list[tuple[dict[str, Tensor], tuple[Tensor, ...]]] | None = None,
) -> float:
    """The largest difference between module and graph over the example and its variants.

    Args:
        spec: The module.
        path: The graph.
        tolerance: Of the difference, relative to the output's magnitude, at least 1.
        wanted: :func:`expected_outputs`, if they are at hand.

    Raises:
        ParityError: If the difference exceeds ``tolerance``.
    """
    session = _session(path)
    worst = 0.0
    for inputs, expected in expected_outputs(spec) if wanted is None else wanted:
        got = session.run(list(spec.outputs), {name: tensor.numpy() for name, tensor in inputs.items()})
        for name, ours, theirs in zip(spec.outputs, expected, got, strict=True):
            a, b = ours.numpy().astype(np.float64), theirs.astype(np.float64)
            if a.shape != b.shape:
                raise ParityError(f"{path.name}: output {name} has shape {b.shape} instead of {a.shape}")
            difference = float(np.abs(a - b).max() / max(1.0, np.abs(a).max())) if a.size else 0.0
            worst = float(np.maximum(worst, difference))  # unlike max, this keeps a NaN
    if not worst <= tolerance:
        raise ParityError(f"{path.name}: differs from the PyTorch module by {worst:.2e}, more than {tolerance:.0e}")
    return worst


def store_half(path: Path, smallest: int = 1024) -> None:
    """Keep large float32 weights as float16 and cast them back on loading: half the file, float32 arithmetic.

    Args:
        path: Changed in place.
        smallest: Weights with fewer elements stay as they are.
    """
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
    """Save the graph as ONNX Runtime's basic optimization leaves it: standard operators, constants worked out.

    Weights that were exported behind a transposition or a reshape then stand right beside their products, where
    quantization looks for them.

    Args:
        path: Changed in place.
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
    """8-bit weights for matrix products and embeddings, activations quantized as they come.

    Args:
        path: Changed in place.
        keep: Names of nodes that stay in floating point.
        operators: What is quantized, where its weight is a constant.
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
            # Folded graphs say the types of their inputs and outputs only; what they do not say is a float.
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
            use_external_data_format=_bytes_of_weights(path) > LARGEST_GRAPH,
        )
    _take_place(quantized, path)


def quantize_static(
    path: Path, samples: Iterable[Mapping[str, NDArray[Any]]], keep: Callable[[str], bool] | None = None
) -> None:
    """8-bit matrix products: weights with a scale per channel, activations with scales that are measured here and stay.

    Every product's input is rounded where it enters (QuantizeLinear, DequantizeLinear), which ONNX Runtime and OpenVINO
    read as a product in 8 bits; what comes out stays in floating point.

    Args:
        path: Changed in place.
        samples: Inputs to see ranges on.
        keep: Names of nodes that stay in floating point.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """The samples, as ONNX Runtime asks for them."""

        def __init__(self) -> None:
            self.rest = iter(samples)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            """The next sample, or ``None`` after the last one."""
            following = next(self.rest, None)
            return None if following is None else dict(following)

    products = ["MatMul", "Gemm"]
    graph = onnx.load(path, load_external_data=False).graph
    constants = {weight.name for weight in graph.initializer}
    # Attention's products have no weights.
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
            # What processors multiply fastest: activations without a sign by weights with one.
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
    """Within the block ONNX Runtime's quantizer advises nothing: what it would have prepared is folded already."""
    root = logging.getLogger()
    root.addFilter(_is_serious)
    try:
        yield
    finally:
        root.removeFilter(_is_serious)


def _is_serious(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _take_place(made: Path, path: Path) -> None:
    """Put a graph that another library wrote in place of ``path``, under this project's names."""
    model, files = onnx.load(made), _external_files(onnx.load(made, load_external_data=False))
    save_graph(model, path)
    for name in {made.name, *files}:
        (made.parent / name).unlink()


def fix_activation_scales(path: Path, samples: Iterable[Mapping[str, NDArray[Any]]], margin: float = 1.5) -> None:
    """Give the activations of an 8-bit graph scales of their own instead of those of whatever runs together.

    A scale that is taken from the activations as they come is that of the largest among them, so that the result of one
    row depends on the others. A scale that is known beforehand leaves every row to itself.

    Args:
        path: Written by :func:`quantize_dynamic`; changed in place.
        samples: Inputs to see ranges on.
        margin: By how much larger than seen an activation may be before it is cut off.
    """
    model = onnx.load(path)
    graph = model.graph
    seen = _ranges(model, samples)
    nodes = []
    for node in graph.node:
        if node.op_type != "DynamicQuantizeLinear":
            nodes.append(node)
            continue
        low, high = (margin * bound for bound in seen[node.input[0]])
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
    """Least and greatest value, 0 among them, of everything that is quantized as it comes."""
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
