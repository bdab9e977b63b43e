"""Open a source of samples from a path or a short description."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from glob import glob
from pathlib import Path
from typing import Any

from anytag.datasets.coco import CocoSource
from anytag.datasets.folder import FolderSource
from anytag.datasets.json_records import JsonSource
from anytag.datasets.paper_lists import PaperListSource
from anytag.datasets.parquet import ParquetSource
from anytag.datasets.remote import is_web_address, local_path
from anytag.datasets.shard_names import is_shard_name
from anytag.datasets.sources import SampleSource
from anytag.datasets.tables import TableSource
from anytag.datasets.webdataset import open_shards
from anytag.errors import UsageError
from anytag.foundations.stand_in_files import stand_in
from anytag.pictures.formats import PICTURE_EXTENSIONS

#: How each kind of source is opened, and its description for messages.
KINDS: dict[str, tuple[Callable[..., SampleSource], str]] = {
    "folder": (FolderSource, "a folder of pictures with .txt, .caption or .json files beside them"),
    "table": (TableSource, "a CSV or TSV table"),
    "json": (JsonSource, "JSON lines, or a JSON list of objects"),
    "coco": (CocoSource, "COCO's captions or instances"),
    "shards": (open_shards, "WebDataset shards: .tar files here or on the web"),
    "parquet": (ParquetSource, "Parquet files"),
    "official": (PaperListSource, "RAM's official lists with union_label_id; needs tag_list"),
}

_SUFFIXES = {
    ".csv": "table",
    ".tsv": "table",
    ".tab": "table",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}

#: Options that are paths.
_PATHS = ("path", "images", "tag_list", "index_folder", "manifest")

#: Advice if the kind cannot be guessed.
_ADVICE = "say its 'kind' in a recipe or in Python"

#: Bytes of a JSON file that are read to guess its kind.
_LOOKED_AT = 1 << 16


def open_source(spec: str | Path | Mapping[str, Any]) -> SampleSource:
    """Open a source of samples; its ``description`` says how it was understood.

    Args:
        spec: A path, a pattern of shards or Parquet files, a web address of shards; or a mapping with ``path`` (one, or
            a list if the kind takes several), optionally ``kind``, and the options of that kind of source
            (``{"path": "a.csv", "columns": {"captions": "alt"}}``).

    Raises:
        UsageError: If the kind cannot be guessed, or has no such option.
    """
    options = dict(spec) if isinstance(spec, Mapping) else {"path": spec}
    if "path" not in options:
        raise UsageError(f"a source needs a 'path'; given were {', '.join(map(repr, options)) or 'none'}")
    path, kind = options.pop("path"), options.pop("kind", None)
    paths = [str(path)] if isinstance(path, str | Path) else [str(entry) for entry in path]
    if not paths or not all(paths):
        raise UsageError("a source's path is empty")
    local = [str(local_path(entry) or entry) for entry in paths]
    kind = kind if kind is not None else guess_kind(local[0])
    if kind not in KINDS:
        raise UsageError(f"{paths[0]}: there is no kind {kind!r} of source. {_kinds()}")
    if kind == "parquet":
        local = [match for entry in local for match in expand_parquet(entry)]
    opener = KINDS[kind][0]
    known = {name: p for name, p in inspect.signature(opener).parameters.items() if p.kind is p.KEYWORD_ONLY}
    if unknown := options.keys() - known.keys():
        raise UsageError(
            f"{paths[0]}: a source of kind {kind!r} has no option {sorted(unknown)[0]!r}; it has "
            f"{', '.join(known) or 'none'}"
        )
    if missing := [name for name, p in known.items() if p.default is p.empty and name not in options]:
        raise UsageError(f"{paths[0]}: a source of kind {kind!r} needs {missing[0]!r}: {KINDS[kind][1]}")
    if len(local) > 1 and kind not in ("shards", "parquet", "coco"):
        raise UsageError(f"{paths[0]}: a source of kind {kind!r} is one file; open each as a source of its own")
    for entry in local if kind != "shards" else ():  # A bad shard among many is reported, and skipped.
        if what := stand_in(Path(entry)):
            raise UsageError(f"{entry}: {what}")
    return opener(local if kind in ("shards", "parquet", "coco") else local[0], **options)


def below(spec: str | Path | Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the options of :func:`open_source` with paths relative to a folder (:func:`path_below`)."""
    options: dict[str, Any] = dict(spec) if isinstance(spec, Mapping) else {"path": str(spec)}
    for name in _PATHS:
        value = options.get(name)
        if isinstance(value, str):
            options[name] = path_below(value, folder)
        elif isinstance(value, list | tuple) and name == "path":
            options[name] = [path_below(str(entry), folder) for entry in value]
    return options


def path_below(path: str, folder: Path) -> str:
    """Return a path in a folder; absolute paths, those that start with ``./``, ``../`` or ``~``, and addresses stay."""
    if is_web_address(path) or path.startswith(("./", "../", "~")) or Path(path).is_absolute():
        return str(Path(path).expanduser()) if path.startswith("~") else path
    return str(folder / path)


def guess_kind(path: str) -> str:
    """Guess a path's kind of source.

    Raises:
        UsageError: If no kind fits, or several do.
    """
    if is_web_address(path):
        if is_shard_name(path.partition("?")[0]):
            return "shards"
        raise UsageError(f"{path}: only shards (.tar, .tar.gz) are read from the web. {_kinds()}")
    place = Path(path)
    if place.is_dir():
        return _kind_of_folder(place)
    if is_shard_name(path):
        return "shards"
    suffix = place.suffix.lower()
    if suffix in _SUFFIXES or suffix == ".json":
        pattern = not place.exists() and any(sign in path for sign in "*?[{")
        if pattern and _SUFFIXES.get(suffix) != "parquet":
            raise UsageError(
                f"{path}: patterns are for shards and Parquet files; give each file as a source of its own"
            )
        return _kind_of_json(place) if _SUFFIXES.get(suffix, "json") == "json" else _SUFFIXES[suffix]
    if not place.exists():
        raise UsageError(f"{path}: no such file or folder")
    if suffix in PICTURE_EXTENSIONS:
        raise UsageError(f"{path}: is a picture; give the folder that it lies in, or a table that lists it")
    raise UsageError(f"{path}: its name does not say what it is; {_ADVICE}. {_kinds()}")


def _kinds() -> str:
    return "Kinds are:" + "".join(f"\n  {name}: {what}" for name, (_, what) in KINDS.items())


def _kind_of_folder(folder: Path) -> str:
    """Guess the kind of a folder from the files directly in it."""
    found: dict[str, str] = {}
    for name in sorted(entry.name for entry in folder.iterdir() if entry.is_file() and entry.name[0] != "."):
        suffix = Path(name).suffix.lower()
        if is_shard_name(name):
            found.setdefault("shards", name)
        elif suffix in PICTURE_EXTENSIONS:
            found.setdefault("folder", name)
        elif suffix in _SUFFIXES:
            found.setdefault(_SUFFIXES[suffix], name)
    if len(found) > 1 or found.keys() & {"table", "json"}:
        raise UsageError(
            f"{folder}: contains {' and '.join(found.values())}; name the file to open, or {_ADVICE}. {_kinds()}"
        )
    return next(iter(found), "folder")


def _kind_of_json(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            head = handle.read(_LOOKED_AT)
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be read ({error.strerror or error})") from error
    if b'"union_label_id"' in head or b'"parse_label_id"' in head:
        return "official"
    root = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return "coco" if path.suffix.lower() == ".json" and root == b"{" else "json"


def expand_parquet(path: str) -> list[str]:
    """Return the Parquet files that a path, folder or glob stands for, in order.

    Raises:
        UsageError: If there is none.
    """
    place = Path(path)
    if place.is_dir():
        found = sorted(str(entry) for entry in place.iterdir() if entry.suffix.lower() == ".parquet")
    else:
        found = [path] if place.exists() else sorted(glob(path, recursive=True))  # noqa: PTH207
    if not found:
        raise UsageError(f"{path}: no such Parquet file")
    return found
