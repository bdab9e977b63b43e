"""``anytag match``: score how well texts fit pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.console import Console
from typer import Option

from anytag.cli._inputs import Json, ModelOrServerOptions, Pictures, WalkOptions, find_inputs
from anytag.cli._output import bar, styled
from anytag.cli._shared import HEADING, write_results
from anytag.errors import UsageError
from anytag.language.tags.name_files import read_name_lines
from anytag.recognition import Matches


def match(
    pictures: Pictures,
    *,
    text: Annotated[list[str] | None, Option("--text", help="Sentence or phrase; may be given several times.")] = None,
    text_from: Annotated[Path | None, Option(metavar="FILE", help="Such texts from a file, one per line.")] = None,
    json_: Json = False,
    walk: WalkOptions,
    runtime: ModelOrServerOptions,
) -> None:
    """Score how well texts fit pictures, and name the tags that they have in common.

    Example: anytag match holiday/ --text "a dog on a beach" --text "people in a boat"
    """
    inputs = find_inputs(pictures, walk)
    texts = [*(text or ()), *(line for line, _ in (read_name_lines(text_from, "texts") if text_from else ()))]
    if not texts:
        raise UsageError("give at least one --text")
    recognizer = runtime.open()
    write_results(recognizer.match(inputs.paths, texts), inputs, json_, _show)


def _show(console: Console, matches: Matches) -> None:
    console.print(styled((matches.path, HEADING)))
    for match in sorted(matches.matches, key=lambda match: -match.score):
        names = ", ".join(tag.name for tag in match.tags)
        line = f"  {match.score:.2f} {bar(match.score)} {match.text}"
        console.print(styled(line, (f"  ({names})" if names else "", "dim")))
    console.print()
