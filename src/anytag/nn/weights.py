"""Weights of whole models on disk, written and read without ever holding them twice."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.overrides import TorchFunctionMode

from anytag.errors import ModelError
from anytag.foundations.atomic_files import whole_file
from anytag.model.config import ModelConfig
from anytag.nn.model import RecognitionModel

WEIGHTS_FILE = "model.safetensors"

#: What fills a new tensor, as a function of ``nn.init`` or a method.
_DRAWING = {f"{name}_" for name in ("normal", "uniform", "trunc_normal", "kaiming_uniform", "xavier_uniform", "zeros")}

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

    The library's own writer copies everything into memory first, which for a mapped checkpoint of gigabytes is the
    difference between fitting and not. Format: eight bytes of header length, a JSON header, the raw tensors.

    Raises:
        ModelError: If a tensor's type has no place in the format.
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
    """Leaves initial weights undrawn.

    Where there is no memory, drawing does nothing, but PyTorch imports its compiler for it: most of a second.
    """

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        if getattr(function, "__name__", "") in _DRAWING:
            return arguments[0] if arguments else named["tensor"]
        if function is torch.randn:
            function = torch.empty
        return function(*arguments, **(named or {}))


def empty_model(config: ModelConfig, tags: int) -> RecognitionModel:
    """The network without memory for its weights, to ask for names and shapes, or to be filled."""
    with torch.device("meta"), _NoRandomInit():
        return RecognitionModel(config, tags)


def read_model(config: ModelConfig, tags: int, path: Path) -> RecognitionModel:
    """The network with its weights mapped from a file, in eval mode.

    Nothing is initialized first and nothing is copied: pages of the file are read when they are needed.

    Raises:
        ModelError: If the file is damaged, or its tensors are not those of the config.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: truncated or altered ({error}); copy the model again") from error
    model = empty_model(config, tags)
    # A file may name a module that parts share (recognition decoder and interaction encoder) after either of them.
    expected: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    given = {id(expected[name]) for name in state if name in expected}
    missing = sorted(name for name, parameter in model.named_parameters() if id(parameter) not in given)
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
            if buffer.is_meta:  # Only what is in no file because it is empty.
                assert not buffer.numel()
                setattr(module, name, torch.empty(buffer.shape))
    return model.requires_grad_(False).eval()
