"""Files of weights and settings as their authors publish them, read without running any code that they may hold."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anytag.errors import ModelError, first_line
from anytag.foundations.stand_in_files import stand_in

#: How files that PyTorch has saved begin: zip archives, and the pickles of before 1.6.
_BEGINNINGS = (b"PK", b"\x80\x02")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict of a ``.pth`` file, mapped into memory where its format allows.

    Raises:
        ModelError: As :func:`read_pickled`, or if there are no weights.
    """
    content = read_pickled(path)
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(t, Tensor) for t in state.values()):
        raise ModelError(f"{path}: holds no state dict (names with tensors), neither at the top nor under 'model'")
    return dict(state)


def read_pickled(path: Path) -> Any:
    """What PyTorch has saved in a file, mapped into memory where its format allows.

    Raises:
        ModelError: If the file is missing, truncated, or holds anything but tensors and plain data.
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
        # The older format, which is not a zip archive, cannot be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: refused, since it is not a file of weights alone and reading it could run code "
            f"({first_line(error)})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: truncated or altered ({first_line(error)}); download it again") from error


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object of a directory of ``transformers``.

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
    """The state dict of any public file: ``.pth``, ``.safetensors``, or a folder of ``transformers``.

    Raises:
        ModelError: As :func:`read_checkpoint`, or if a folder has no weights in one file.
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
