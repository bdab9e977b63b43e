"""Read and write model weights without holding them in memory twice."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from anytag.errors import ModelError
from anytag.foundations.atomic_files import whole_file
from anytag.model.config import ModelConfig
from anytag.model.directory import ALIGNMENT_FILE
from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.model import RecognitionModel

WEIGHTS_FILE = "model.safetensors"

#: Functions of ``nn.init``, and methods, that fill a new tensor.
_INITIALIZERS = {
    f"{name}_" for name in ("normal", "uniform", "trunc_normal", "kaiming_uniform", "xavier_uniform", "zeros")
}

_TYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file one tensor at a time.

    The library's own writer copies everything into memory first, which may not fit for a memory-mapped checkpoint of
    gigabytes. Format: eight bytes of header length, a JSON header, the raw tensors.

    Raises:
        ModelError: If a tensor's type is not supported.
    """
    header, offset = {}, 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            raise ModelError(f"{name}: tensors of type {tensor.dtype} cannot be stored")
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(path) as part, part.open("wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tofile(handle)


class _NoRandomInit(TorchFunctionMode):
    """Skip random initialization.

    On the meta device it has no effect, but makes PyTorch import its compiler, which takes most of a second.
    """

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        if getattr(function, "__name__", "") in _INITIALIZERS:
            return arguments[0] if arguments else named["tensor"]
        if function is torch.randn:
            function = torch.empty
        return function(*arguments, **(named or {}))


def empty_model(config: ModelConfig, tags: int) -> RecognitionModel:
    """Build a network on the meta device, for its names and shapes or to load weights into it."""
    with torch.device("meta"), _NoRandomInit():
        return RecognitionModel(config, tags)


def read_model(config: ModelConfig, tags: int, path: Path) -> RecognitionModel:
    """Load a network with weights memory-mapped from a file, in eval mode; nothing is initialized or copied.

    Raises:
        ModelError: If the file is damaged, or its tensors do not fit the config.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: truncated or altered ({error}); copy the model again") from error
    model = empty_model(config, tags)
    # A file may name a shared module after either part (recognition decoder or interaction encoder).
    expected: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    loaded = {id(expected[name]) for name in state if name in expected}
    missing = sorted(name for name, parameter in model.named_parameters() if id(parameter) not in loaded)
    expected |= {name: b for name, b in model.named_buffers() if name in state}
    for name, tensor in state.items():
        if name not in expected:
            raise ModelError(f"{path}: {name} is not part of a {config.family} model of these sizes")
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{path}: {name} has the shape {tuple(tensor.shape)}, the config asks for {tuple(expected[name].shape)}"
            )
    if missing:
        raise ModelError(f"{path}: lacks {missing[0]}; the model is incomplete, copy or download it again")
    model.load_state_dict(state, strict=False, assign=True)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:  # Empty, so not in the file.
                assert not buffer.numel()
                setattr(module, name, torch.empty(buffer.shape))
    return model.requires_grad_(False).eval()


def write_alignment(encoder: AlignmentEncoder, model: RecognitionModel, folder: Path) -> str:
    """Write the parameters that an alignment encoder does not share with its model; return the file's name."""
    write_weights(_own(encoder, model), folder / ALIGNMENT_FILE)
    return ALIGNMENT_FILE


def read_alignment(path: Path, model: RecognitionModel, match_id: int = 30523) -> AlignmentEncoder:
    """Load the alignment encoder of a model from the file of :func:`write_alignment`.

    Args:
        model: The model that it was written with, or one fine-tuned from it.
        match_id: Id of ``[ENC]``.

    Raises:
        ModelError: If the file cannot be read, or belongs to another model.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: truncated, altered or missing ({error})") from None
    projection = state.get("text_projection.weight")
    if projection is None:
        raise ModelError(f"{path}: contains no alignment encoder")
    encoder = AlignmentEncoder(model.text_decoder, model.config.features, len(projection), match_id)
    own = _own(encoder, model)
    for name in own.keys() | state.keys():
        if name not in own or name not in state or own[name].shape != state[name].shape:
            raise ModelError(f"{path}: {name} is missing, unexpected or of another size; it belongs to another model")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])
    return encoder


def _own(encoder: AlignmentEncoder, model: RecognitionModel) -> dict[str, Tensor]:
    shared = {id(parameter) for parameter in model.parameters()}
    return {name: parameter for name, parameter in encoder.named_parameters() if id(parameter) not in shared}
