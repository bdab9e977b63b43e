"""Share 8-bit weights between word embeddings and the output layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from anytag.export.onnx import save_graph


def share_tied_weights(path: Path) -> int:
    """Look up embeddings in the 8-bit weights of a tied product, and drop their floating-point table, in place.

    Quantization keeps the embeddings' table beside the 8-bit copy for the product, so a captioner whose words are most
    of its weights becomes larger than in half precision. The copy's columns, with a scale each, are the table's rows.

    Args:
        path: A graph from :func:`~anytag.export.onnx.quantize_dynamic`.

    Returns:
        The number of dropped tables.
    """
    model = onnx.load(path)
    graph = model.graph
    constants = {weight.name: weight for weight in graph.initializer}
    quantized = {
        name.removesuffix("_quantized"): numpy_helper.to_array(weight)
        for name, weight in constants.items()
        if name.endswith("_quantized") and len(weight.dims) == 2
    }
    dropped = 0
    for table in [weight for weight in graph.initializer if weight.data_type == TensorProto.FLOAT]:
        readers = [node for node in graph.node if table.name in node.input]
        if len(table.dims) != 2 or not readers or any(not _looks_up(node, table.name) for node in readers):
            continue
        rows = numpy_helper.to_array(table)
        twin = next((name for name in quantized if _is_twin(rows, name, quantized, constants)), None)
        if twin is None:
            continue
        for node in readers:
            _replace(graph, node, twin)
        graph.initializer.remove(table)
        dropped += 1
    if dropped:
        save_graph(model, path)
    return dropped


def _looks_up(node: onnx.NodeProto, table: str) -> bool:
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 0)
    return bool(node.op_type == "Gather" and node.input[0] == table and axis == 0)


def _is_twin(
    rows: NDArray[np.float32],
    name: str,
    quantized: dict[str, NDArray[np.int8]],
    constants: dict[str, onnx.TensorProto],
) -> bool:
    """Whether 8-bit columns with scales equal these rows up to rounding."""
    columns, scale = quantized[name], constants.get(f"{name}_scale")
    if columns.shape != rows.shape[::-1] or scale is None:
        return False
    scales = np.broadcast_to(numpy_helper.to_array(scale), len(rows))
    return bool((np.abs(columns.T * scales[:, None] - rows) <= 0.51 * scales[:, None] + 1e-7).all())


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, twin: str) -> None:
    """Replace a look-up of rows by one of columns, transposed and multiplied by their scales."""
    ids, output = node.input[1], node.output[0]
    name = f"{node.name}_tied"
    made = [
        # Flattened ids, so that the transposition does not depend on their shape.
        helper.make_node("Reshape", [ids, f"{name}_flat"], [f"{name}_ids"], name=f"{name}_ids"),
        helper.make_node("Gather", [f"{twin}_quantized", f"{name}_ids"], [f"{name}_columns"], axis=1),
        helper.make_node("Transpose", [f"{name}_columns"], [f"{name}_rows"], perm=[1, 0]),
        helper.make_node("Cast", [f"{name}_rows"], [f"{name}_numbers"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{twin}_scale", f"{name}_ids"], [f"{name}_scales"], axis=0),
        helper.make_node("Unsqueeze", [f"{name}_scales", f"{name}_last"], [f"{name}_factors"]),
        helper.make_node("Mul", [f"{name}_numbers", f"{name}_factors"], [f"{name}_values"]),
        helper.make_node("Shape", [ids], [f"{name}_shape"]),
        helper.make_node("Concat", [f"{name}_shape", f"{name}_flat"], [f"{name}_wanted"], axis=0),
        helper.make_node("Reshape", [f"{name}_values", f"{name}_wanted"], [output]),
    ]
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), f"{name}_flat"))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), f"{name}_last"))
    place = list(graph.node).index(node)
    nodes = [*graph.node[:place], *made, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(nodes)
