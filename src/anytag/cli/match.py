"""``anytag match``: how well do texts fit pictures?"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from anytag.cli._inputs import (
    BackendName,
    Device,
    Json,
    Model,
    Pictures,
    Precision,
    PrecisionChoice,
    Threads,
    open_recognizer,
    sources,
)
from anytag.cli._shared import bar, finish, reporting, write_stream
from anytag.recognition import Matches


def match(
    pictures: Pictures,
    text: Annotated[list[str], typer.Option("--text", help="A sentence or phrase; may be given several times.")],
    json_: Json = False,
    model: Model = None,
    backend: BackendName = None,
    device: Device = "cpu",
    precision: Precision = PrecisionChoice.float32,
    threads: Threads = None,
) -> None:
    """Score how well texts fit pictures, and name the tags that both have in common.

    Example: anytag match holiday/ --text "a dog on a beach" --text "people in a boat"

    Exit code: 0 done, 1 some pictures failed, 2 used wrongly.
    """
    with reporting("match"):
        paths, total = sources(pictures)
        recognizer = open_recognizer(model, backend, device, precision, threads)
        finish(*write_stream(recognizer.match(paths, text), json_, total, _show))


def _show(console: Console, seen: Matches) -> None:
    console.print(seen.path, style="bold underline", markup=False)
    for found in sorted(seen.matches, key=lambda match: -match.score):
        console.print(f"  {found.score:.2f} {bar(found.score)} {found.text}", end="", markup=False)
        names = ", ".join(tag.name for tag in found.tags)
        console.print(f"  ({names})" if names else "", style="dim", markup=False)
    console.print()
