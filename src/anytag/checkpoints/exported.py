"""Exported models back into PyTorch, so that a model of which only the ONNX graphs are there can learn on.

The shipped model is such a model. Its graphs keep the names of parameters, except for the matrices of linear layers,
which export transposes, folds and stores anew; those are found as what multiplies in front of their layer's bias.
Weights come back as exactly as they were stored: in half precision, or in 8 bits.
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

#: Where a graph's names stand in the whole model. Of a parameter that several graphs hold, the last one counts: the
#: interaction encoder stores in half precision what the recognition decoder has in 8 bits.
_GRAPHS = {
    "image_encoder": {"model.": ""},
    "label_encoder": {"queries.": "label_queries."},
    "recognition_decoder": {"decoder.": "recognition_decoder."},
    "text_decoder": {"decoder.": "text_decoder."},
    "interaction_encoder": {"model.": ""},
}

#: Used in training only, and therefore in no graph.
_NEVER_EXPORTED = ("no_picture",)

#: Nodes between a matrix product and the bias that is added to it: those that make 8 bits numbers again.
_LONGEST_WAY = 4


def read_exported(directory: ModelDirectory, text_embeddings: Tensor) -> RecognitionModel:
    """The network of an exported ``lite`` model, in eval mode.

    Args:
        directory: With ``onnx/*.onnx`` as :func:`~anytag.export.model.export_model` writes them.
        text_embeddings: Of the vocabulary's tags, ``[T, D]``. Exported queries are finished; what they have beyond
            these texts becomes the tags' learned offsets again.

    Raises:
        MissingExtraError: If the package that reads ONNX is absent.
        ModelError: If it is of another family, or a parameter is in none of the graphs.
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
        labels.offsets.weight.data = _offsets(labels, text_embeddings, _queries(directory))
    return model.eval()


def _fill(model: RecognitionModel, state: dict[str, Tensor], path: Path) -> None:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    wanted = parameters | dict(model.named_buffers())
    found = {id(wanted[name]) for name in state if name in wanted}
    optional = (*_NEVER_EXPORTED, "label_queries.offsets.weight")
    for name, tensor in wanted.items():
        if id(tensor) not in found and name not in optional:
            raise ModelError(f"{path}: {name} is in none of its graphs; it was exported by another version")
    with torch.no_grad():
        for name, tensor in state.items():
            if name in wanted:
                wanted[name].copy_(tensor.reshape(wanted[name].shape))


def _queries(directory: ModelDirectory) -> Tensor:
    from safetensors.torch import load_file

    return load_file(directory.file("label_queries.safetensors"))["queries"].float()


@torch.no_grad()
def _offsets(labels: TextLabelQueries, embeddings: Tensor, queries: Tensor) -> Tensor:
    """Offsets that make these queries of these texts.

    Layer normalization forgets mean and scale, so they cannot be recovered; those of the texts' own projections stand
    in for them, which is where training left offsets out.
    """
    projected = labels.projection(embeddings * embeddings.shape[-1] ** 0.5)
    norm: nn.LayerNorm = labels.norm
    centered = (queries - norm.bias) / norm.weight
    spread = projected.std(-1, keepdim=True, unbiased=False)
    return centered * spread + projected.mean(-1, keepdim=True) - projected


def _parameters(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Names and values of a graph's parameters, as PyTorch has them."""
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
        # Of parameters that are alike, export keeps one.
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
    """The constant that a value was multiplied by, ``[in, out]``; ``None`` if it comes from elsewhere."""
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
