"""``anytag locate``: where do pictures show a tag?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from anytag.cli._inputs import AcceptTruncated, ModelOptions, Pictures, WalkOptions, find_inputs
from anytag.cli._output import bar, can_show, styled
from anytag.cli._overlays import OverlayFolder
from anytag.cli._shared import HEADING, STYLES, finish, reporting, taken_for, write_stream
from anytag.errors import PictureError
from anytag.pictures import read_picture
from anytag.pictures.heat_maps import HeatMap
from anytag.pictures.sources import NamedBytes, describe, open_stream
from anytag.recognition import Failure, Tag

if TYPE_CHECKING:
    from anytag.inference.recognizer import Recognizer

#: Longest side of the pictures that are written.
_LONGEST = 1600

#: Cells of a map on the screen, from nothing to all.
_SHADES, _PLAIN_SHADES = " ░▒▓█", " .:*#"


@dataclass(frozen=True)
class Location:
    """A tag's place in one picture.

    Attributes:
        path: The picture's.
        tag: With its score, and the threshold that it was held against.
        grid: ``[rows, columns]``, 0 to 1.
        overlay: The picture that was written.
    """

    path: str
    tag: Tag
    grid: HeatMap
    overlay: Path | None

    @property
    def seen(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.tag.score >= self.tag.threshold

    def to_json(self) -> dict[str, Any]:
        """The location as one JSON line; ``overlay`` only where a picture was written."""
        record = {"path": self.path, "tag": self.tag.to_json(), "grid": np.round(self.grid.astype(float), 4).tolist()}
        return record if self.overlay is None else record | {"overlay": str(self.overlay)}


def locate(
    pictures: Pictures,
    *,
    tag: Annotated[str, typer.Option(help="What to look for: a tag, or any words.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for pictures with the map laid over them. (default: none are written)")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Score at which it counts as seen; 0 always draws the map."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write the maps' grids as JSON lines.")] = False,
    walk: WalkOptions,
    accept_truncated: AcceptTruncated = False,
    runtime: ModelOptions,
) -> None:
    """Show where pictures show a tag: what the model looks at to score it, as a map beside its score.

    A map is as coarse as the model's grid, and says where the model looked, not where the thing ends. The farther
    the score lies below the tag's threshold, the fainter the map. With --out, a picture is written for each one in
    which the tag is seen. Existing files stay, except those that this command wrote for the same picture.

    Example: anytag locate photo.jpg --tag dog --out maps
    """
    with reporting("locate"):
        inputs = find_inputs(pictures, walk)
        recognizer = runtime.open(accept_truncated=accept_truncated)
        folder = None if out is None else OverlayFolder(out)
        found = _locations(recognizer, inputs.without_overlays(), tag, threshold, folder)
        finish(*write_stream(found, json_, inputs.total, _show), inputs)


def _locations(
    recognizer: Recognizer, paths: Iterable[str], tag: str, threshold: float | None, folder: OverlayFolder | None
) -> Iterator[Location | Failure]:
    for path in paths:
        try:
            # Read once where it is needed twice: a pipe gives its picture but once.
            with ExitStack() as stack:
                content = None if folder is None else stack.enter_context(open_stream(path, describe(path))).read()
            look = recognizer.look(path if content is None else NamedBytes(path, content))
            found, grid = look.score(tag), look.locate(tag)
            limit = found.threshold if threshold is None else threshold
            located = Location(path, replace(found, threshold=limit), grid, None)
            if folder is not None and located.seen:
                assert content is not None
                picture = read_picture(
                    NamedBytes(path, content), draft_size=_LONGEST, accept_truncated=recognizer.accept_truncated
                )
                picture.thumbnail((_LONGEST, _LONGEST))
                located = replace(located, overlay=folder.write(path, found.name, picture, grid))
        except PictureError as error:
            yield Failure(error.path, error.kind, str(error))
            continue
        yield located


def _show(console: Console, found: Location) -> None:
    tag = found.tag
    console.print(styled((found.path, HEADING)))
    score = f"  {tag.name}{taken_for(tag)}  {tag.score:.2f} {bar(tag.score)} "
    if not found.seen:
        console.print(styled((score, STYLES[tag.kind]), (f"not seen (threshold {tag.threshold:.2g})", "dim")))
    else:
        console.print(styled((score, STYLES[tag.kind]), (str(found.overlay or ""), "dim")))
        if found.overlay is None:
            shades = _SHADES if can_show(_SHADES) else _PLAIN_SHADES
            for row in found.grid:
                cells = (shades[round(float(heat) * (len(shades) - 1))] * 2 for heat in row)
                console.print(styled("  " + "".join(cells).rstrip()))
    console.print()
