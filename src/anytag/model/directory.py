"""A model on disk: a folder with a typed config, a vocabulary, and files whose checksums are verified.

Layout: ``config.json``, ``vocabulary.json``, ``translations.csv`` (names of tags in other languages),
``tokenizer.json`` (captions), ``label_tokenizer.json`` (label texts), ``label_queries.safetensors``,
``model.safetensors`` (PyTorch), ``onnx/*.onnx`` (all runtimes), ``README.md`` (model card). ``config.json`` contains
the SHA-256 of the others.

A model is replaced file by file (:func:`install_model`): new files are placed beside the old ones with the suffix
``.installing``, the new ``config.json`` replaces the old one, and then the files are renamed. If the process is killed,
the directory is the old model or the new one, because readers use the file whose checksum is in the config, under
either name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from anytag.errors import ModelError, UsageError, first_line
from anytag.foundations.atomic_files import write_text
from anytag.foundations.cache_folder import cache_folder
from anytag.foundations.folder_locks import only_writer_of
from anytag.foundations.settings import first_error
from anytag.foundations.stand_in_files import stand_in
from anytag.model.config import FORMAT_VERSION, ModelConfig
from anytag.model.families import THRESHOLDS as OFFICIAL
from anytag.model.mistakes import instead_of_config, instead_of_folder, other_program
from anytag.model.translations import TRANSLATIONS_FILE
from anytag.model.vocabulary import TagVocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The model that ships inside the package.
SHIPPED_MODEL = Path(__file__).parents[1] / "models" / "lite"

#: Parameters of an alignment encoder that it does not share with the text decoder.
ALIGNMENT_FILE = "alignment.safetensors"

#: Linear layers of tags that a user taught the model (:mod:`anytag.inference.taught_tags`).
TAUGHT_FILE = "taught.safetensors"

#: Training curves, shown in the model card.
CURVES_FILE = "curves.svg"

#: The record of a training run, beside its folder ``model``: when it was started, and whether it has finished.
RUN_FILE = "run.json"

#: Suffix of new files until the new config is in place.
_PENDING = ".installing"


class ModelDirectory:
    """A model directory.

    Raises:
        ModelError: If it is missing, has no valid ``config.json``, or has a newer format.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            if not self.path.is_dir():
                raise ModelError(f"{self.path}: {instead_of_folder(self.path)}")
            record = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(f"{self.path}: {instead_of_config(self.path)}") from None
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(f"{self.path / 'config.json'}: not JSON ({error}); copy the model again") from None
        except (OSError, ValueError) as error:  # No permission, a folder of that name, or an invalid name.
            where = getattr(error, "filename", None) or self.path
            raise ModelError(f"{where}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
        if other := other_program(record):
            raise ModelError(f"{self.path / 'config.json'}: {other}")
        version = record.get("format") if isinstance(record, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ModelError(
                f"{self.path}: format {version} is newer than this anytag reads ({FORMAT_VERSION}); "
                "update with: pip install -U anytag"
            )
        try:
            self.config = ModelConfig.model_validate(record)
        except ValidationError as error:
            place, complaint = first_error(error)
            where = ".".join(map(str, place)) or "the whole"
            raise ModelError(f"{self.path / 'config.json'}: {where}: {complaint}; copy the model again") from None
        self._checked: dict[str, Path] = {}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ``config.json``, and so of all files."""
        return sha256(self.path / "config.json")

    def has(self, name: str) -> bool:
        """Whether a file is listed in the config or exists."""
        return name in self.config.files or (self.path / name).exists()

    def file(self, name: str) -> Path:
        """The path of a file, after its checksum was verified (once).

        Raises:
            ModelError: If the file is missing or altered.
        """
        path, expected = self.path / name, self.config.files.get(name)
        if name in self._checked:
            return self._checked[name]
        if expected is None:
            if not path.is_file():
                raise _missing(path)
            return path
        actual = sha256(path) if path.is_file() else None
        if actual != expected:
            path = self._take_pending(path, expected, actual)
        self._checked[name] = path
        return path

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Load a safetensors file; errors as for :meth:`file`."""
        from safetensors.numpy import load_file

        return load_file(self.file(name))

    def copy(self, names: Iterable[str], folder: Path) -> None:
        """Copy files into another folder; errors as for :meth:`file`."""
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.file(name), folder / name)

    @staticmethod
    def _take_pending(path: Path, expected: str, actual: str | None) -> Path:
        """Find the file under its pending name, left by an installation that was killed."""
        pending = _pending(path)
        if not pending.is_file() or sha256(pending) != expected:
            if actual is None:
                raise _missing(path)
            if instead := stand_in(path):
                raise ModelError(f"{path}: {instead}")
            raise ModelError(
                f"{path}: altered or damaged (SHA-256 {actual[:12]}…, expected {expected[:12]}…); "
                "copy or download the model again"
            )
        try:
            pending.replace(path)
        except OSError:  # No permission to rename; it can still be read.
            return pending
        return path

    @cached_property
    def vocabulary(self) -> TagVocabulary:
        if TRANSLATIONS_FILE in self.config.files:
            self.file(TRANSLATIONS_FILE)
        return TagVocabulary.load(self.file("vocabulary.json"))


def find_model(model: str | Path | None) -> ModelDirectory:
    """Open a model by path or hub id.

    Args:
        model: A folder; ``owner/name`` on the Hugging Face hub, downloaded once; the name of an official model that
            ``anytag pull`` downloaded; ``None`` for the model that ships with the package.

    Raises:
        ModelError: If there is no such model.
    """
    if model is None:
        return ModelDirectory(SHIPPED_MODEL)
    if not str(model).strip():
        raise ModelError("the name of a model is empty; give a folder, or leave it out to use the shipped model")
    path = Path(model)
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for invalid names)
        if _is_hub_id(str(model)):
            return ModelDirectory(hub_folder(str(model)))
        if str(model) in OFFICIAL:
            if not (pulled := pulled_model(str(model))).is_dir():
                raise ModelError(f"{model}: no such folder, and not pulled yet; fetch it with: anytag pull {model}")
            return ModelDirectory(pulled)
    return ModelDirectory(path)


def pulled_model(name: str) -> Path:
    """The default folder of ``anytag pull`` for an official model, in the user's cache."""
    return cache_folder("models") / name


def hub_folder(model: str, files: Sequence[str] | None = None) -> str:
    """Download a model from the Hugging Face hub, unless it is cached, and return its folder.

    Args:
        model: ``owner/name``.
        files: Patterns of the files to download, such as ``*.json``; ``None``: all.

    Raises:
        ModelError: If the hub does not have it or cannot be reached.
    """
    from huggingface_hub import errors, snapshot_download

    try:
        return snapshot_download(model) if files is None else snapshot_download(model, allow_patterns=list(files))
    except errors.HFValidationError:
        return model  # Not a valid id, so it is meant as a folder.
    except errors.GatedRepoError:
        reason = "which gives it only to those who accepted its terms there; do so, and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        reason = "which knows no such model, or shows it to its owner only (HF_TOKEN); check the spelling"
    except errors.HfHubHTTPError as error:
        reason = f"which did not provide it ({first_line(error)}); try again later"
    except OSError as error:
        cause = error.__cause__ or error
        if isinstance(cause, errors.OfflineModeIsEnabled):
            reason = "which HF_HUB_OFFLINE forbids; unset it, or give a folder"
        else:
            reason = f"which could not be reached ({first_line(cause)}); check the network, or give a folder"
    except Exception as error:  # The hub's client raises errors of several libraries.
        reason = f"which did not provide it ({first_line(error)})"
    raise ModelError(f"{model}: no such folder, so the Hugging Face hub was asked for it, {reason}")


def _is_hub_id(text: str) -> bool:
    return text.count("/") == 1 and not text.startswith((".", "/", "~")) and "\\" not in text


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_config(
    folder: Path, config: ModelConfig, names: Iterable[str], known: Mapping[str, str] | None = None
) -> ModelConfig:
    """Write ``config.json`` with checksums of files; it is written last and completes a model.

    Args:
        known: Known checksums of other files to list.
    """
    files = dict(known or {}) | {name: sha256(folder / name) for name in names}
    config = config.model_copy(update={"files": dict(sorted(files.items()))})
    write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
    return config


def install_model(part: Path, folder: Path) -> None:
    """Move a finished model into place, replacing an older one.

    Args:
        part: A folder beside ``folder`` with a ``config.json`` from :func:`write_config`. It may omit files that are
            unchanged in ``folder``. It is removed.
        folder: The model directory. Files listed only in its old config are removed; other files are kept.
    """
    if not folder.exists():
        part.replace(folder)
        return
    before = _listed(folder)
    _settle(folder, before)
    after = _listed(part)
    staged = [name for name in after if (part / name).is_file()]
    for name in staged:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).replace(_pending(folder / name))
    (part / "config.json").replace(folder / "config.json")
    for name in staged:
        _pending(folder / name).replace(folder / name)
    for name in before.keys() - after.keys():
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(part)


def refuse_existing(folder: Path) -> None:
    """Raise :class:`UsageError` if a path is a file, or a folder that is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists already; give another --out, or remove it")


@contextmanager
def new_model(folder: Path) -> Iterator[Path]:
    """Write a model to a temporary folder and install it with :func:`install_model`, unless the block raises.

    Yields:
        An empty folder beside ``folder``; it must contain a ``config.json`` at the end.

    Raises:
        UsageError: If another process is writing the model.
    """
    part = folder.with_name(folder.name + ".part")
    with only_writer_of(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            install_model(part, folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _settle(folder: Path, files: dict[str, str]) -> None:
    """Complete or undo an installation that was killed."""
    for path in list(folder.rglob(f"*{_PENDING}")):
        name = path.with_name(path.name.removesuffix(_PENDING))
        if files.get(name.relative_to(folder).as_posix()) == sha256(path):
            path.replace(name)
        else:
            path.unlink()


def _listed(folder: Path) -> dict[str, str]:
    """Checksums by file name; empty if there is no valid model."""
    with suppress(ModelError):
        return ModelDirectory(folder).config.files
    return {}


def _pending(path: Path) -> Path:
    return path.with_name(path.name + _PENDING)


def _missing(path: Path) -> ModelError:
    return ModelError(f"{path}: missing; the model is incomplete, copy or download it again")
