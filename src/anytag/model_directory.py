"""The on-disk model: a folder with a typed config, a vocabulary, and files that are checked before they are used.

Layout: ``config.json``, ``vocabulary.json``, ``tokenizer.json`` (captions), ``label_tokenizer.json`` (label texts),
``label_queries.safetensors``, ``model.safetensors`` (PyTorch), ``onnx/*.onnx`` (everywhere), ``README.md`` (model
card). ``config.json`` holds the SHA-256 of the others, so a damaged file is noticed before it gives wrong tags.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from anytag.errors import ModelError
from anytag.model_config import FORMAT_VERSION, ModelConfig
from anytag.vocabulary import TagVocabulary

#: The model that ships inside the package.
SHIPPED_MODEL = Path(__file__).with_name("models") / "lite"


class ModelDirectory:
    """A model directory that was opened.

    Args:
        path: The folder.

    Raises:
        ModelError: If it is missing, has no readable ``config.json``, or is of a newer format.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise ModelError(
                f"{self.path}: no such model directory; leave --model out for the model that ships with anytag"
            )
        try:
            record = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(f"{self.path}: not a model directory, it has no config.json") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ModelError(f"{self.path / 'config.json'}: not JSON ({error}); copy the model again") from None
        version = record.get("format") if isinstance(record, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ModelError(
                f"{self.path}: format {version} is newer than this anytag reads ({FORMAT_VERSION}); "
                "update with: pip install -U anytag"
            )
        try:
            self.config = ModelConfig.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise ModelError(f"{self.path / 'config.json'}: {where}: {first['msg']}; copy the model again") from None
        self._checked: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the directory lists or holds that file."""
        return name in self.config.files or (self.path / name).exists()

    def file(self, name: str) -> Path:
        """The path of a file, after its checksum was compared (once).

        Raises:
            ModelError: If the file is missing or its content has changed.
        """
        path = self.path / name
        if not path.is_file():
            raise ModelError(f"{path}: missing; the model is incomplete, copy or download it again")
        expected = self.config.files.get(name)
        if expected is not None and name not in self._checked:
            if (actual := sha256(path)) != expected:
                raise ModelError(
                    f"{path}: altered or damaged (SHA-256 {actual[:12]}…, expected {expected[:12]}…); "
                    "copy or download the model again"
                )
            self._checked.add(name)
        return path

    @cached_property
    def vocabulary(self) -> TagVocabulary:
        """The tags."""
        return TagVocabulary.load(self.file("vocabulary.json"))


def find_model(model: str | Path | None) -> ModelDirectory:
    """Open a model by path or hub id.

    Args:
        model: A folder; ``owner/name`` on the Hugging Face hub, which is downloaded once; ``None`` for the model
            that ships with the package.

    Raises:
        ModelError: If there is no such model.
    """
    if model is None:
        return ModelDirectory(SHIPPED_MODEL)
    path = Path(model)
    if path.exists() or not _is_hub_id(str(model)):
        return ModelDirectory(path)
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(str(model))
    except Exception as error:  # The hub's client raises errors of several libraries.
        raise ModelError(f"{model}: no such folder, and the hub did not give it ({error})") from error
    return ModelDirectory(folder)


def _is_hub_id(text: str) -> bool:
    return text.count("/") == 1 and not text.startswith((".", "/", "~")) and "\\" not in text


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_config(folder: Path, config: ModelConfig, names: Iterable[str]) -> ModelConfig:
    """Write ``config.json`` with the checksums of the named files; written last, it makes a model complete."""
    config = config.model_copy(update={"files": {name: sha256(folder / name) for name in sorted(names)}})
    part = folder / "config.json.part"
    part.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    part.replace(folder / "config.json")
    return config
