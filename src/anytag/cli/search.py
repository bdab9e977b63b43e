"""``anytag search``: find photos in an index, and say why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._commands import refuse_all_but
from anytag.cli._inputs import Model
from anytag.cli._output import say, tell, write_json
from anytag.cli._shared import reporting
from anytag.errors import UsageError
from anytag.foundations.json_lines import path_for_json
from anytag.library.nearest import advice
from anytag.library.photo_library import Library, find_index
from anytag.library.search import Hits, Reason


def search(
    query: Annotated[
        list[str] | None,
        typer.Argument(help='Tags and words: dog beach -cat, "hot dog", scene:beach, dog>0.8, cat OR dog.'),
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Index, or folder of photos. (default: the nearest from here upwards)")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help='Pictures that fit a sentence, best first, such as "a child on a swing".')
    ] = None,
    like: Annotated[Path | None, typer.Option(help="Pictures that look like this one, best first.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many results.")] = 20,
    facets: Annotated[
        bool, typer.Option("--facets", help="Count the tags of the results; JSON has them on a last line.")
    ] = False,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Find groups of pictures that look nearly alike.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the results in the system's viewer.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON lines, one per result.")] = False,
    model: Model = None,
) -> None:
    """Find photos by tags, words of captions, a sentence, or another picture. Every result says why it was found.

    Example: anytag search "dog beach -person" --library photos
    """
    with reporting("search"):
        opened = Library(library if library is not None else find_index(Path.cwd()), model)
        if duplicates:
            if query:
                raise UsageError("--duplicates looks at the whole index; leave the words out")
            refuse_all_but(("--duplicates", "--library", "--json"), "has no effect on --duplicates; leave it out")
            groups = opened.duplicates()
            for group in groups:
                if json_:
                    write_json({"paths": [path_for_json(path) for path in group]})
                else:
                    for path in (*map(_from_here, group), ""):
                        tell(path)
            if not groups:
                say("no pictures look nearly alike")
            raise typer.Exit(0 if groups else 1)
        words = " ".join(query) if query else None
        if words is None and text is None and like is None:
            raise UsageError("say what to look for: words, --text SENTENCE, --like PICTURE, or --duplicates")
        found = opened.search(words, text=text, like=like, limit=limit, facets=20 if facets else 0)
        if json_:
            for hit in found.hits:
                write_json(hit.to_json())
            if facets:
                write_json({"facets": dict(found.facets)})
        else:
            _show(found)
        if (text is not None or like is not None) and (said := advice(len(opened))):
            say(said)
        if open_ and found.hits:
            viewer = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
            for hit in found.hits:
                subprocess.run([viewer, hit.path], check=False)
        if not found.hits:
            raise typer.Exit(1)


def _show(found: Hits) -> None:
    for hit in found.hits:
        tell(_from_here(hit.path))
        why = ", ".join(map(_why, hit.reasons))
        if why:
            tell(f"  {why}")
        if hit.caption:
            tell(f"  {hit.caption}")
    for word in found.unknown:
        say(f"no picture has {word!r}")
    say(f"{len(found.hits):,} of {found.total:,} found")
    if found.facets:
        tell("tags: " + ", ".join(f"{name} {count:,}" for name, count in found.facets))


def _from_here(path: str) -> str:
    """A path below the current folder as it is written there; others whole."""
    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 (names that are not UTF-8 stay as they are)
    return path.removeprefix(here)


def _why(reason: Reason) -> str:
    if reason.where in ("caption", "path"):
        return f"{reason.name} in {reason.where}"
    return f"the text {reason.score:.2f}" if reason.where == "text" else f"{reason.name} {reason.score:.2f}"
