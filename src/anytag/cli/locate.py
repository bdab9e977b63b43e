"""``anytag locate``: where do pictures show a tag?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from anytag.cli._inputs import (
    BackendName,
    Device,
    Model,
    Pictures,
    Precision,
    PrecisionChoice,
    Threads,
    open_recognizer,
    sources,
)
from anytag.cli._shared import STYLES, bar, finish, reporting, write_stream
from anytag.errors import PictureError, UsageError
from anytag.foundations.atomic_files import whole_file
from anytag.pictures import overlay_heat_map, read_picture
from anytag.pictures.heat_maps import HeatMap
from anytag.recognition import Failure, Tag

if TYPE_CHECKING:
    from anytag.inference.recognizer import Recognizer

#: Longest side of the pictures that are written.
_LONGEST = 1600


@dataclass(frozen=True)
class Location:
    """A tag's place in one picture."""

    path: str
    tag: Tag
    grid: HeatMap
    overlay: Path | None

    def to_json(self) -> dict[str, Any]:
        """The location as one JSON line; ``overlay`` only where a picture was written."""
        record = {"path": self.path, "tag": self.tag.to_json(), "grid": np.round(self.grid.astype(float), 4).tolist()}
        return record if self.overlay is None else record | {"overlay": str(self.overlay)}


def locate(
    pictures: Pictures,
    tag: Annotated[str, typer.Option(help="What to look for: a tag, or any words.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures with the map laid over them. (default: this one)")
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Write the map's grid as JSON lines; pictures then only with --out.")
    ] = False,
    model: Model = None,
    backend: BackendName = None,
    device: Device = "cpu",
    precision: Precision = PrecisionChoice.float32,
    threads: Threads = None,
) -> None:
    """Show where pictures show a tag: what the model looks at to score it, as a PNG beside its score.

    A map is as coarse as the model's grid, and says where the model looked, not where the thing ends.

    Example: anytag locate photo.jpg --tag dog --out maps

    Exit code: 0 done, 1 some pictures failed, 2 used wrongly.
    """
    with reporting("locate"):
        paths, total = sources(pictures)
        recognizer = open_recognizer(model, backend, device, precision, threads)
        folder = out if out is not None or json_ else Path()
        if folder is not None:
            _make(folder)
        finish(*write_stream(_locations(recognizer, paths, tag, folder), json_, total, _show))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made a folder ({error.strerror or error}); give another --out") from None


def _locations(
    recognizer: Recognizer, paths: Iterable[str], tag: str, folder: Path | None
) -> Iterator[Location | Failure]:
    taken: set[Path] = set()
    for path in paths:
        try:
            [seen] = recognizer.tag(path, categories=[tag], threshold=0).tags
            found = replace(seen, threshold=float(recognizer.labels.categories([tag]).thresholds[0]))
            grid = recognizer.locate(path, tag)
            overlay = None if folder is None else _write(path, found.name, grid, folder, taken)
        except PictureError as error:
            yield Failure(error.path, error.kind, str(error))
            continue
        yield Location(path, found, grid, overlay)


def _write(path: str, name: str, grid: HeatMap, folder: Path, taken: set[Path]) -> Path:
    """Write a picture with its map; two pictures of one name in one run get two files."""
    stem = f"{Path(path).stem}-" + re.sub(r"\W+", "-", name).strip("-")
    numbered = (folder / f"{stem}{f'-{number}' if number > 1 else ''}.png" for number in range(1, len(taken) + 2))
    target = next(candidate for candidate in numbered if candidate not in taken)
    taken.add(target)
    picture = read_picture(path, draft_size=_LONGEST)
    picture.thumbnail((_LONGEST, _LONGEST))
    try:
        with whole_file(target) as part:
            overlay_heat_map(picture, grid).save(part, "PNG")
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror or error}); give another --out") from None
    return target


def _show(console: Console, seen: Location) -> None:
    console.print(seen.path, style="bold underline", markup=False)
    tag = seen.tag
    console.print(f"  {tag.name}  {tag.score:.2f} {bar(tag.score)} ", style=STYLES[tag.kind], end="", markup=False)
    console.print(str(seen.overlay), style="dim", markup=False)
    console.print()
