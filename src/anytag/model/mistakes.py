"""Explain why a path is not a model directory, and what to do instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anytag.foundations.stand_in_files import stand_in
from anytag.pictures.formats import has_picture_extension

_ADVICE = "check the path; where a model may be left out, the shipped one is used"

#: Suffixes of weight files.
_WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".onnx", ".h5", ".gguf", ".msgpack", ".pb", ".tflite")

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar")


def instead_of_folder(path: Path) -> str:
    """Describe a path that is not a folder."""
    if not path.exists():
        if path.is_symlink():
            return f"a link to {path.readlink()}, which is not there; {_ADVICE}"
        return f"no such model directory; {_ADVICE}"
    if what := stand_in(path):
        return what
    if path.suffix == ".part" or not path.is_file():
        return f"not a model directory; {_ADVICE}"
    folder = next((folder for folder in list(path.absolute().parents)[:2] if (folder / "config.json").is_file()), None)
    if folder is not None:
        return f"a file of a model; give the model's folder: {folder}"
    if has_picture_extension(path.name):
        return "a picture, not a model directory; give the folder of a model, or leave it out to use the shipped model"
    if path.suffix.lower() in _WEIGHTS:
        return (
            "a file of weights, not a model directory; give the folder of a model (anytag convert makes one of "
            "official checkpoints, anytag export one of a training run)"
        )
    if path.suffix.lower() in _ARCHIVES:
        return "an archive, not a model directory; unpack it, and give the folder with config.json"
    return "a file, not a model directory; give the folder with config.json, or leave it out to use the shipped model"


def instead_of_config(folder: Path) -> str:
    """Describe a folder without ``config.json``."""
    if not any(folder.iterdir()):
        return "not a model directory, it is empty"
    inside = folder / "model"  # In the folder of a training run.
    hint = f"; {inside} is one" if (inside / "config.json").is_file() else ""
    return f"not a model directory, it has no config.json{hint}"


def other_program(record: Any) -> str | None:
    """Describe the ``config.json`` of another program; ``None`` if it may be ours."""
    if not isinstance(record, dict) or record.keys() & {"format", "image_encoder"}:
        return None
    if "model_type" in record or "architectures" in record:
        kind = record.get("model_type") or record["architectures"]
        return (
            f"a model of transformers ({kind}), which anytag does not tag with; anytag evaluate --list names those "
            "that it compares itself with"
        )
    return "not of an anytag model; give the folder of one"
