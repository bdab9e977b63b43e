"""A recipe's sources, opened: paths under the data folder, published lists with the run's own tags, manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anytag.data_engine.training_source import open_manifest
from anytag.datasets.opening import guess_kind, open_source
from anytag.datasets.remote import is_web_address
from anytag.datasets.samples import TagName
from anytag.datasets.sources import SampleSource
from anytag.errors import UsageError
from anytag.model.vocabulary import TagVocabulary
from anytag.training.families.pretraining_config import SourceSpec

#: Options of sources that are paths.
_PATHS = ("path", "images", "tag_list", "index_folder", "manifest")


def open_sources(specs: Sequence[SourceSpec], data: Path, vocabulary: TagVocabulary | None) -> list[SampleSource]:
    """Open every source of a recipe.

    Args:
        specs: See :data:`~anytag.training.families.pretraining_config.SourceSpec`.
        data: Folder that relative paths start at.
        vocabulary: Gives published lists that name no ``tag_list`` of their own the names of their ids; kinds tell
            their double names apart, which a plain list cannot.

    Raises:
        UsageError: If one cannot be opened.
    """
    return [_open(spec, data, vocabulary) for spec in specs]


def find_path(path: str, data: Path) -> Path:
    """A path of a recipe: as it is, if it is absolute or begins with a dot, else under the data folder.

    Raises:
        UsageError: If there is nothing.
    """
    found = Path(_located(path, data))
    if not found.exists():
        raise UsageError(f"{found}: no such file or folder; does --data name the right folder?")
    return found


def _open(spec: SourceSpec, data: Path, vocabulary: TagVocabulary | None) -> SampleSource:
    options: dict[str, Any] = dict(spec) if isinstance(spec, dict) else {"path": spec}
    for name in _PATHS:
        value = options.get(name)
        if isinstance(value, str):
            options[name] = _located(value, data)
        elif isinstance(value, list | tuple) and name == "path":
            options[name] = [_located(str(entry), data) for entry in value]
    manifest = options.pop("manifest", None)
    if vocabulary is not None and "tag_list" not in options and _is_published(options):
        options["tag_list"] = [TagName(tag.name, tag.kind) for tag in vocabulary]
    source = open_source(options)
    return source if manifest is None else open_manifest(manifest, source)


def _located(path: str, data: Path) -> str:
    if is_web_address(path) or path.startswith(("./", "../", "~")) or Path(path).is_absolute():
        return str(Path(path).expanduser()) if path.startswith("~") else path
    return str(data / path)


def _is_published(options: dict[str, Any]) -> bool:
    path = options.get("path")
    if "kind" in options or not isinstance(path, str):
        return options.get("kind") == "published"
    return Path(path).suffix.lower() == ".json" and Path(path).is_file() and guess_kind(path) == "published"
