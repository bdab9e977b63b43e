"""Read public files of weights and settings, without running code that they may contain."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anytag.errors import ModelError, first_line
from anytag.foundations.stand_in_files import stand_in

#: First bytes of PyTorch's files: zip archives, and pickles from before version 1.6.
_BEGINNINGS = (b"PK", b"\x80\x02")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Load the state dict of a ``.pth`` file, memory-mapped if its format allows.

    Raises:
        ModelError: As :func:`read_pickled`, or if it contains no state dict.
    """
    content = read_pickled(path)
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(t, Tensor) for t in state.values()):
        raise ModelError(f"{path}: contains no state dict (names with tensors), neither at the top nor under 'model'")
    return dict(state)


def read_pickled(path: Path) -> Any:
    """Load a file of PyTorch, memory-mapped if its format allows.

    Raises:
        ModelError: If the file is missing, truncated, or contains anything but tensors and plain data.
    """
    if not path.is_file():
        raise ModelError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    with path.open("rb") as file:
        head = file.read(2)
    if head not in _BEGINNINGS:
        if instead := stand_in(path):
            raise ModelError(f"{path}: {instead}")
        what = "empty" if not head else "not a PyTorch checkpoint"
        raise ModelError(f"{path}: {what}; give the .pth file as it was downloaded")
    try:
        # The old format, not a zip archive, cannot be memory-mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: refused, since it is not a file of weights alone and reading it could run code "
            f"({first_line(error)})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: truncated or altered ({first_line(error)}); download it again") from error


def read_settings(path: Path) -> dict[str, Any]:
    """Read a JSON object from a folder of ``transformers``.

    Raises:
        ModelError: If it is missing or damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; give a directory as transformers saves it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"not JSON: {error}"
        raise ModelError(f"{path}: cannot be read ({reason}); download it again") from None
    if not isinstance(record, dict):
        raise ModelError(f"{path}: not a JSON object; download it again")
    return record


def read_weights(path: Path) -> dict[str, Tensor]:
    """Load the state dict of a ``.pth`` or ``.safetensors`` file, or of a folder of ``transformers``.

    Raises:
        ModelError: As :func:`read_checkpoint`, or if a folder has no single file of weights.
    """
    if path.is_dir():
        files = [path / name for name in ("model.safetensors", "pytorch_model.bin") if (path / name).exists()]
        if not files:
            raise ModelError(f"{path}: holds no model.safetensors or pytorch_model.bin (weights in parts are not read)")
        path = files[0]
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            if instead := stand_in(path):
                raise ModelError(f"{path}: {instead}") from None
            raise ModelError(f"{path}: truncated, altered or missing ({error})") from error
    return read_checkpoint(path)


def map_parameters(
    state: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    rename: Callable[[str], str | None],
    adapt: Callable[[str, Tensor, tuple[int, ...]], Tensor],
    model: str,
) -> dict[str, Tensor]:
    """Rename a public state dict to the names of a module, and check it.

    Args:
        expected: Shapes by the module's names.
        rename: Returns the module's name of an official one; ``None`` to drop the tensor.
        adapt: Changes a tensor, given its official name, to the expected shape if that is possible.

    Raises:
        ModelError: If a parameter is missing, unexpected or has the wrong shape.
    """
    mapped: dict[str, Tensor] = {}
    for official, tensor in state.items():
        name = rename(official)
        if name is None:
            continue
        if name in mapped:
            raise ModelError(f"{official}: the weights have {name} under two names, so it is unclear which counts")
        if name not in expected:
            raise ModelError(f"{official}: {model} of these sizes has no such parameter")
        tensor = adapt(official, tensor, expected[name])
        if tuple(tensor.shape) != expected[name]:
            raise ModelError(f"{official}: has the shape {tuple(tensor.shape)}, but {expected[name]} is expected")
        mapped[name] = tensor
    if missing := sorted(expected.keys() - mapped.keys()):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(
            f"the weights lack {missing[0]}{more} (by the names used here); they are incomplete or of another size"
        )
    return mapped
