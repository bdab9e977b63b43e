"""A folder of pictures, each with captions or tags in a file of the same name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

from anytag.datasets.contents import digest_contents
from anytag.datasets.offsets import PackedStrings
from anytag.datasets.records import choose_columns, read_tags, to_sample
from anytag.datasets.samples import Sample, TagName
from anytag.datasets.sources import FileSource
from anytag.errors import SampleError, UsageError
from anytag.foundations.wording import counted
from anytag.pictures.finding import find_pictures

#: Extensions of files that describe the picture of the same name.
_BESIDE = (".txt", ".caption", ".json")


class FolderSource(FileSource):
    """The pictures in a folder, sorted by name.

    ``dog.jpg`` may be described by ``dog.txt`` or ``dog.caption`` (a caption per line), and ``dog.json`` (an object
    with ``caption`` or ``captions``, ``tags``, ``boxes``); several files are merged. A picture without any is a sample
    without captions.

    With ``classes``, the name of the subfolder that contains a picture is one of its tags.

    Args:
        text: Content of ``.txt`` files: ``captions``, or comma-separated ``tags``.
        classes: Use the names of subfolders as tags; ``None``: if no picture has a describing file, and all are in
            subfolders.

    Raises:
        UsageError: If it is not a folder or contains no pictures.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        recursive: bool = True,
        text: Literal["captions", "tags"] = "captions",
        classes: bool | None = False,
    ):
        self.path = Path(path)
        if text not in ("captions", "tags"):
            raise UsageError(f"text files hold 'captions' or 'tags', not {text!r}")
        if not self.path.is_dir():
            raise UsageError(f"{self.path}: no such folder")
        self.text = text
        # A million paths take some 40 MB, a tenth of what they would take as objects.
        self._names = PackedStrings(
            found.relative_to(self.path).as_posix() for found in find_pictures([self.path], recursive=recursive)
        )
        self.classes = self._has_classes() if classes is None else classes
        origin = "tags are their folders' names" if self.classes else f"{text} from .txt, .caption and .json files"
        self.description = f"folder {self.path}: {counted(len(self), 'picture')}, {origin}"
        self.identity = f"folder {self.path.name}: {len(self)}" + (", a class each" if self.classes else "")

    def _has_classes(self) -> bool:
        names = (self._names[index] for index in range(len(self)))
        return all("/" in name and not _is_described(self.path / name) for name in names)

    def top_level(self) -> list[str]:
        """Names of the pictures that lie in the folder itself, not in a folder inside."""
        return [name for index in range(len(self)) if "/" not in (name := self._names[index])]

    @cached_property
    def contents(self) -> str:
        """A hash of the texts and the pictures' sizes, since reading a million pictures would take too long."""
        return digest_contents(self.content_files(), sizes_only=True)

    def content_files(self) -> Iterable[Path]:
        for index in range(len(self)):
            picture = self.path / self._names[index]
            yield picture
            yield from (file for suffix in _BESIDE if (file := picture.with_suffix(suffix)).is_file())

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        self._check(index)
        name = self._names[index]
        picture = self.path / name
        captions: list[str] = []
        tags = [TagName(" ".join(picture.parent.name.split("_")))] if self.classes and "/" in name else []
        found = None
        try:
            for extension in (".txt", ".caption"):
                content = _read(picture.with_suffix(extension))
                if extension == ".txt" and self.text == "tags":
                    tags += read_tags(" ".join(content.split()), name, ",")
                else:
                    captions += [line.strip() for line in content.splitlines() if line.strip()]
            if content := _read(picture.with_suffix(".json")):
                record = json.loads(content)
                if not isinstance(record, dict):
                    raise SampleError("row", f"its JSON file holds {record!r:.80}, not an object")
                keys = list(dict.fromkeys([*record, "picture"]))
                columns = choose_columns(keys, {"picture": "picture", "id": None}, name)
                found = to_sample({**record, "picture": name}, columns, name, self.path, name)
        except SampleError as error:
            raise error.at(name) from error
        except (OSError, ValueError) as error:
            raise SampleError("row", f"the file beside it cannot be read ({error})", name) from error
        return Sample(
            id=name,
            picture=picture,
            captions=tuple(dict.fromkeys([*captions, *(found.captions if found else ())])),
            tags=tuple(dict.fromkeys([*tags, *(found.tags if found else ())])),
            boxes=found.boxes if found else (),
            source=name,
        )


def _read(path: Path) -> str:
    """Return a text file's content; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""


def _is_described(picture: Path) -> bool:
    return any(picture.with_suffix(suffix).exists() for suffix in _BESIDE)
