"""Load exported ONNX graphs into PyTorch, to continue training a model such as the shipped one.

Graphs keep the names of parameters, except for matrices of linear layers, which export transposes and renames; those
are found through the bias that is added to their product. Weights are as exact as they were stored, in half precision
or 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anytag.errors import ModelError, needs_extra
from anytag.model.directory import ModelDirectory
from anytag.nn.label_queries import TextLabelQueries
from anytag.nn.model import RecognitionModel

#: Prefixes of names in each graph and in the model. If several graphs contain a parameter, the last one counts: the
#: interaction encoder stores in half precision what the recognition decoder stores in 8 bits.
_GRAPHS = {
    "image_encoder": {"model.": ""},
    "label_encoder": {"queries.": "label_queries."},
    "recognition_decoder": {"decoder.": "recognition_decoder."},
    "text_decoder": {"decoder.": "text_decoder."},
    "interaction_encoder": {"model.": ""},
}

#: Only used in training, and so not exported.
_NEVER_EXPORTED = ("no_picture",)

#: Most nodes between a product and the addition of its bias, such as those that dequantize it.
_LONGEST_WAY = 4


def read_exported(directory: ModelDirectory, text_embeddings: Tensor) -> RecognitionModel:
    """Load the network of an exported ``lite`` model, in eval mode.

    Args:
        directory: With ``onnx/*.onnx`` from :func:`~anytag.export.model.export_model`.
        text_embeddings: ``[T, D]`` of the vocabulary's tags. The learned offsets are computed from them and the
            exported queries.

    Raises:
        MissingExtraError: If the package that reads ONNX is not installed.
        ModelError: If the model has another family, or a parameter is in none of the graphs.
    """
    config = directory.config
    if config.family != "lite":
        raise ModelError(f"{directory.path}: only lite's graphs can be read back; start from the converted checkpoint")
    model = RecognitionModel(config, len(directory.vocabulary))
    state: dict[str, Tensor] = {}
    for graph, places in _GRAPHS.items():
        if not directory.has(f"onnx/{graph}.onnx"):
            continue
        for name, array in _parameters(directory.file(f"onnx/{graph}.onnx")):
            start = next((start for start in places if name.startswith(start)), None)
            if start is not None:
                state[places[start] + name.removeprefix(start)] = torch.from_numpy(array)
    _fill(model, state, directory.path)
    labels = model.label_queries
    if isinstance(labels, TextLabelQueries) and labels.offsets is not None:
        queries = torch.from_numpy(directory.arrays("label_queries.safetensors")["queries"]).float()
        labels.offsets.weight.data = _offsets(labels, text_embeddings, queries)
    return model.eval()


def _fill(model: RecognitionModel, state: dict[str, Tensor], path: Path) -> None:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    wanted = parameters | dict(model.named_buffers())
    loaded = {id(wanted[name]) for name in state if name in wanted}
    optional = (*_NEVER_EXPORTED, "label_queries.offsets.weight")
    for name, tensor in wanted.items():
        if id(tensor) not in loaded and name not in optional:
            raise ModelError(f"{path}: {name} is in none of its graphs; it was exported by another version")
    with torch.no_grad():
        for name, tensor in state.items():
            if name in wanted:
                wanted[name].copy_(tensor.reshape(wanted[name].shape))


@torch.no_grad()
def _offsets(labels: TextLabelQueries, embeddings: Tensor, queries: Tensor) -> Tensor:
    """Compute the offsets that give these queries for these text embeddings.

    Layer normalization loses mean and scale, so those of the texts' projections without offsets are used.
    """
    projected = labels.projection(embeddings * embeddings.shape[-1] ** 0.5)
    norm: nn.LayerNorm = labels.norm
    centered = (queries - norm.bias) / norm.weight
    spread = projected.std(-1, keepdim=True, unbiased=False)
    return centered * spread + projected.mean(-1, keepdim=True) - projected


def _parameters(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Names and values of a graph's parameters, as in PyTorch."""
    with needs_extra("Training an exported model", "export"):
        import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    raw = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    known = {name.removesuffix("_half"): array for name, array in raw.items() if "::" not in name}
    for name, array in known.items():
        if array.dtype.kind == "f":
            yield name, array.astype(np.float32)
    for node in graph.node:
        # Export stores equal parameters once.
        if node.op_type == "Identity" and node.input[0] in raw:
            raw[node.output[0]] = raw[node.input[0]]
            yield node.output[0], raw[node.input[0]].astype(np.float32)
    for node in graph.node:
        bias = next((name for name in node.input if name in raw and name.endswith(".bias")), None)
        if node.op_type != "Add" or bias is None:
            continue
        [other] = [name for name in node.input if name != bias]
        matrix = _matrix_before(other, made_by, raw)
        if matrix is not None:
            yield bias.removesuffix("bias") + "weight", np.ascontiguousarray(matrix.T)


def _matrix_before(output: str, made_by: dict[str, Any], raw: dict[str, NDArray[Any]]) -> NDArray[np.float32] | None:
    """The constant matrix ``[in, out]`` of the product that gives a value; ``None`` if there is none."""
    for _ in range(_LONGEST_WAY):
        node = made_by.get(output)
        if node is None:
            return None
        if node.op_type == "MatMul":
            name = node.input[1]
            array = raw.get(name, raw.get(f"{name}_half"))
            return None if array is None else array.astype(np.float32)
        if node.op_type == "MatMulInteger":
            stem = node.input[1].removesuffix("_quantized")
            whole, zero = raw[f"{stem}_quantized"].astype(np.float32), raw[f"{stem}_zero_point"].astype(np.float32)
            return (whole - zero) * raw[f"{stem}_scale"]
        if node.op_type not in ("Mul", "Cast"):
            return None
        output = node.input[0]
    return None
