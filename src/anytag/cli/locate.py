"""``anytag locate``: show where pictures show a tag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from rich.console import Console
from typer import Option

from anytag.cli._inputs import Pictures, RecognizerOptions, WalkOptions, find_inputs
from anytag.cli._output import bar, can_show, styled
from anytag.cli._overlays import OverlayFolder
from anytag.cli._shared import HEADING, STYLES, taken_for, write_results
from anytag.errors import PictureError
from anytag.pictures import read_picture
from anytag.pictures.heat_maps import HeatMap
from anytag.pictures.sources import NamedBytes, describe, open_stream
from anytag.recognition import Failure, Tag

if TYPE_CHECKING:
    from anytag.inference.recognizer import Recognizer

#: Longest side of the written pictures, in pixels.
_LONGEST = 1600

#: Characters for the cells of a map, from 0 to 1.
_SHADES, _PLAIN_SHADES = " ░▒▓█", " .:*#"


@dataclass(frozen=True)
class Location:
    """A tag's place in one picture, and the picture that was written, if any.

    Attributes:
        tag: With its score, and the threshold that applied.
        grid: ``[rows, columns]``, 0 to 1.
    """

    path: str
    tag: Tag
    grid: HeatMap
    overlay: Path | None

    @property
    def found(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.tag.score >= self.tag.threshold

    def to_json(self) -> dict[str, Any]:
        """Return the location as one JSON line."""
        record = {"path": self.path, "tag": self.tag.to_json(), "grid": np.round(self.grid.astype(float), 4).tolist()}
        return record if self.overlay is None else record | {"overlay": str(self.overlay)}


def locate(
    pictures: Pictures,
    *,
    tag: Annotated[str, Option(help="The tag to look for, or any words.")],
    out: Annotated[Path | None, Option(help="Folder for pictures with the map over them. (default: none)")] = None,
    threshold: Annotated[
        float | None, Option(min=0, max=1, help="Lowest score that counts as found; 0 draws every map.")
    ] = None,
    json_: Annotated[bool, Option("--json", help="Write the maps' grids as JSON lines.")] = False,
    walk: WalkOptions,
    runtime: RecognizerOptions,
) -> None:
    """Show where pictures show a tag: a map of what the model looks at, and the tag's score.

    A map is as coarse as the model's grid, and shows where the model looked, not the outline of the thing. The farther
    the score is below the tag's threshold, the fainter the map. With --out, a picture is written for each one in which
    the tag is found. Existing files stay, except those that this command wrote for the same picture.

    Example: anytag locate photo.jpg --tag dog --out maps
    """
    inputs = find_inputs(pictures, walk)
    recognizer = runtime.open()
    folder = None if out is None else OverlayFolder(out)
    write_results(_locations(recognizer, inputs.without_overlays(), tag, threshold, folder), inputs, json_, _show)


def _locations(
    recognizer: Recognizer, paths: Iterable[str], tag: str, threshold: float | None, folder: OverlayFolder | None
) -> Iterator[Location | Failure]:
    for path in paths:
        try:
            source: str | NamedBytes = path
            if folder is not None:  # Read once what is needed twice, since a pipe can be read only once.
                with open_stream(path, describe(path)) as stream:
                    source = NamedBytes(path, stream.read())
            look = recognizer.look(source)
            found, grid = look.score(tag), look.locate(tag)
            limit = found.threshold if threshold is None else threshold
            located = Location(path, replace(found, threshold=limit), grid, None)
            if folder is not None and located.found:
                picture = read_picture(source, draft_size=_LONGEST, accept_truncated=recognizer.accept_truncated)
                picture.thumbnail((_LONGEST, _LONGEST))
                located = replace(located, overlay=folder.write(path, found.name, picture, grid))
        except PictureError as error:
            yield Failure(error.path, error.kind, str(error))
            continue
        yield located


def _show(console: Console, location: Location) -> None:
    tag = location.tag
    console.print(styled((location.path, HEADING)))
    score = f"  {tag.name}{taken_for(tag)}  {tag.score:.2f} {bar(tag.score)} "
    if not location.found:
        console.print(styled((score, STYLES[tag.kind]), (f"not found (threshold {tag.threshold:.2g})", "dim")))
    else:
        console.print(styled((score, STYLES[tag.kind]), (str(location.overlay or ""), "dim")))
        if location.overlay is None:
            shades = _SHADES if can_show(_SHADES) else _PLAIN_SHADES
            for row in location.grid:
                cells = (shades[round(float(heat) * (len(shades) - 1))] * 2 for heat in row)
                console.print(styled("  " + "".join(cells).rstrip()))
    console.print()
