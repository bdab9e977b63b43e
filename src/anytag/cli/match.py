"""``anytag match``: how well do texts fit pictures?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from anytag.cli._inputs import AcceptTruncated, Json, ModelOrServerOptions, Pictures, WalkOptions, find_inputs
from anytag.cli._output import bar, styled
from anytag.cli._shared import HEADING, finish, reporting, write_stream
from anytag.errors import UsageError
from anytag.language.tags.name_files import read_name_lines
from anytag.recognition import Matches


def match(
    pictures: Pictures,
    *,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="A sentence or phrase; may be given several times.")
    ] = None,
    text_from: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sentences or phrases from a file, one per line.")
    ] = None,
    json_: Json = False,
    walk: WalkOptions,
    accept_truncated: AcceptTruncated = False,
    runtime: ModelOrServerOptions,
) -> None:
    """Score how well texts fit pictures, and name the tags that both have in common.

    Example: anytag match holiday/ --text "a dog on a beach" --text "people in a boat"
    """
    with reporting("match"):
        inputs = find_inputs(pictures, walk)
        texts = [*(text or ()), *(line for line, _ in (read_name_lines(text_from, "texts") if text_from else ()))]
        if not texts:
            raise UsageError("give at least one --text")
        recognizer = runtime.open(accept_truncated=accept_truncated)
        finish(*write_stream(recognizer.match(inputs.paths, texts), json_, inputs.total, _show), inputs)


def _show(console: Console, seen: Matches) -> None:
    console.print(styled((seen.path, HEADING)))
    for found in sorted(seen.matches, key=lambda match: -match.score):
        names = ", ".join(tag.name for tag in found.tags)
        console.print(
            styled(f"  {found.score:.2f} {bar(found.score)} {found.text}", (f"  ({names})" if names else "", "dim"))
        )
    console.print()
