"""The on-disk model: a folder with a typed config, a vocabulary, and files that are checked before they are used.

Layout: ``config.json``, ``vocabulary.json``, ``translations.csv`` (names of tags in other languages),
``tokenizer.json`` (captions), ``label_tokenizer.json`` (label texts), ``label_queries.safetensors``,
``model.safetensors`` (PyTorch), ``onnx/*.onnx`` (everywhere), ``README.md`` (model card). ``config.json`` holds the
SHA-256 of the others, so a damaged file is noticed before it gives wrong tags.

A model that is there is replaced file by file (:func:`install_model`): the new files are laid beside the old ones
under names that end in ``.installing``, the new ``config.json`` takes the old one's place, and then the files take
their names. Whatever ends the process on the way, the directory is the old model or the new one, because a reader
takes the file whose checksum the config names, under either name.
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
from anytag.foundations.settings import complaint_of
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

#: What an alignment encoder does not share with the text decoder, in models that were trained with one.
ALIGNMENT_FILE = "alignment.safetensors"

#: Linear layers of the tags that a user taught the model (:mod:`anytag.inference.taught_tags`).
TAUGHT_FILE = "taught.safetensors"

#: The curves of the run that a model comes from, which its card shows.
CURVES_FILE = "curves.svg"

#: The record of a training run, beside its folder ``model``: when it was started, and whether it has finished.
RUN_FILE = "run.json"

#: Ends the names of files that wait for their config.
_PENDING = ".installing"


class ModelDirectory:
    """A model directory that was opened.

    Args:
        path: The folder.

    Raises:
        ModelError: If it is missing, has no readable ``config.json``, or is of a newer format.
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
        except (OSError, ValueError) as error:  # No permission, a folder of that name, a name that cannot be one.
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
            place, complaint = complaint_of(error)
            where = ".".join(map(str, place)) or "the whole"
            raise ModelError(f"{self.path / 'config.json'}: {where}: {complaint}; copy the model again") from None
        self._checked: dict[str, Path] = {}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ``config.json``, which holds those of all other files: changes whenever anything does."""
        return sha256(self.path / "config.json")

    def has(self, name: str) -> bool:
        """Whether the directory lists or holds that file."""
        return name in self.config.files or (self.path / name).exists()

    def file(self, name: str) -> Path:
        """The path of a file, after its checksum was compared (once).

        Raises:
            ModelError: If the file is missing or its content has changed.
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
        """The arrays of a safetensors file, after its checksum was compared.

        Raises:
            ModelError: If the file is missing or its content has changed.
        """
        from safetensors.numpy import load_file

        return load_file(self.file(name))

    def copy(self, names: Iterable[str], folder: Path) -> None:
        """Copy some of the files into another folder.

        Raises:
            ModelError: If one is missing or its content has changed.
        """
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.file(name), folder / name)

    @staticmethod
    def _take_pending(path: Path, expected: str, actual: str | None) -> Path:
        """The file that an installation has left under its other name, where the process ended too early."""
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
        except OSError:  # Not ours to change; it can be read where it is.
            return pending
        return path

    @cached_property
    def vocabulary(self) -> TagVocabulary:
        """The tags."""
        if TRANSLATIONS_FILE in self.config.files:
            self.file(TRANSLATIONS_FILE)
        return TagVocabulary.load(self.file("vocabulary.json"))


def find_model(model: str | Path | None) -> ModelDirectory:
    """Open a model by path or hub id.

    Args:
        model: A folder; ``owner/name`` on the Hugging Face hub, which is downloaded once; the name of an official
            model that ``anytag pull`` has put into the cache; ``None`` for the model that ships with the package.

    Raises:
        ModelError: If there is no such model.
    """
    if model is None:
        return ModelDirectory(SHIPPED_MODEL)
    if not str(model).strip():
        raise ModelError("the name of a model is empty; give a folder, or none for the model that ships")
    path = Path(model)
    if not os.path.exists(path):  # noqa: PTH110 (also where a name cannot be one)
        if _is_hub_id(str(model)):
            return ModelDirectory(hub_folder(str(model)))
        if str(model) in OFFICIAL:
            if not (pulled := pulled_model(str(model))).is_dir():
                raise ModelError(f"{model}: no such folder, and not pulled yet; fetch it with: anytag pull {model}")
            return ModelDirectory(pulled)
    return ModelDirectory(path)


def pulled_model(name: str) -> Path:
    """Where ``anytag pull`` puts an official model unless told otherwise: below ``models`` in the user's cache."""
    return cache_folder("models") / name


def hub_folder(model: str, files: Sequence[str] | None = None) -> str:
    """The folder of a model on the Hugging Face hub, downloaded unless it is there already.

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
        return model  # No id at all, so it can only have been meant as a folder.
    except errors.GatedRepoError:
        reason = "which gives it only to those who accepted its terms there; do so, and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        reason = "which knows no such model, or shows it to its owner only (HF_TOKEN); check the spelling"
    except errors.HfHubHTTPError as error:
        reason = f"which did not give it ({first_line(error)}); try again later"
    except OSError as error:
        cause = error.__cause__ or error
        if isinstance(cause, errors.OfflineModeIsEnabled):
            reason = "which HF_HUB_OFFLINE forbids; unset it, or give a folder"
        else:
            reason = f"which could not be reached ({first_line(cause)}); check the network, or give a folder"
    except Exception as error:  # The hub's client raises errors of several libraries.
        reason = f"which did not give it ({first_line(error)})"
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
    """Write ``config.json`` with the checksums of the named files; written last, it makes a model complete.

    Args:
        folder: Where the files are.
        config: Everything but the checksums.
        names: Files to be listed.
        known: Checksums of files that are somewhere else and listed too.
    """
    files = dict(known or {}) | {name: sha256(folder / name) for name in names}
    config = config.model_copy(update={"files": dict(sorted(files.items()))})
    write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
    return config


def install_model(part: Path, folder: Path) -> None:
    """Put a finished model, or some files of it with its config, where a model is to be.

    Args:
        part: A folder beside ``folder`` with a ``config.json`` of :func:`write_config`. It may lack files that
            ``folder`` holds already, unchanged. It is gone afterwards.
        folder: The model directory. Files that its old config names and the new one does not are removed, others
            are left alone.
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
    """Let nothing be written over.

    Raises:
        UsageError: If there is a file, or a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists already; give another --out, or remove it")


@contextmanager
def new_model(folder: Path) -> Iterator[Path]:
    """Where to write a model that is to be at ``folder``; it is installed there unless the block raises.

    Args:
        folder: The model directory; what :func:`install_model` says of it holds.

    Yields:
        An empty folder beside it, which has to have a ``config.json`` at the end; it is gone afterwards.

    Raises:
        UsageError: If another process writes that model already.
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
    """Finish what an installation that was killed has left, or take back what it had only begun."""
    for path in list(folder.rglob(f"*{_PENDING}")):
        name = path.with_name(path.name.removesuffix(_PENDING))
        if files.get(name.relative_to(folder).as_posix()) == sha256(path):
            path.replace(name)
        else:
            path.unlink()


def _listed(folder: Path) -> dict[str, str]:
    """Checksums by file name of a model; none if there is no readable one."""
    with suppress(ModelError):
        return ModelDirectory(folder).config.files
    return {}


def _pending(path: Path) -> Path:
    return path.with_name(path.name + _PENDING)


def _missing(path: Path) -> ModelError:
    return ModelError(f"{path}: missing; the model is incomplete, copy or download it again")
