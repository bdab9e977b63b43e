"""``anytag search``: find photos in an index, and explain each result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from anytag.cli._commands import refuse_all_but
from anytag.cli._inputs import Model
from anytag.cli._output import echo, log, write_json
from anytag.errors import UsageError
from anytag.foundations.json_lines import path_for_json
from anytag.library.nearest import advice
from anytag.library.photo_library import Library, find_index
from anytag.library.search import Hits, Reason


def search(
    query: Annotated[
        list[str] | None, Argument(help='Tags and words: dog beach -cat, "hot dog", scene:beach, dog>0.8, cat OR dog.')
    ] = None,
    library: Annotated[Path | None, Option(help="Index, or folder of photos. (default: here or above)")] = None,
    text: Annotated[
        str | None, Option(help='Find pictures that fit a sentence, such as "a child on a swing", best first.')
    ] = None,
    like: Annotated[Path | None, Option(help="Find pictures that look like this one, best first.")] = None,
    limit: Annotated[int, Option(min=1, help="At most this many results.")] = 20,
    facets: Annotated[bool, Option("--facets", help="Count the tags of the results; JSON: on the last line.")] = False,
    duplicates: Annotated[bool, Option("--duplicates", help="Find groups of near-duplicates.")] = False,
    open_: Annotated[bool, Option("--open", help="Open the results in the system's viewer.")] = False,
    json_: Annotated[bool, Option("--json", help="Write JSON lines, one per result.")] = False,
    model: Model = None,
) -> None:
    """Find photos by tags, words of captions, a sentence, or another picture, and show why each was found.

    Example: anytag search "dog beach -person" --library photos
    """
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
                for path in (*map(_relative, group), ""):
                    echo(path)
        if not groups:
            log("no pictures look nearly alike")
        raise Exit(0 if groups else 1)
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
    if (text is not None or like is not None) and (advised := advice(len(opened))):
        log(advised)
    if open_ and found.hits:
        viewer = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
        for hit in found.hits:
            subprocess.run([viewer, hit.path], check=False)
    if not found.hits:
        raise Exit(1)


def _show(found: Hits) -> None:
    for hit in found.hits:
        echo(_relative(hit.path))
        why = ", ".join(map(_why, hit.reasons))
        if why:
            echo(f"  {why}")
        if hit.caption:
            echo(f"  {hit.caption}")
    for word in found.unknown:
        log(f"no picture has {word!r}")
    log(f"{len(found.hits):,} of {found.total:,} found")
    if found.facets:
        echo("tags: " + ", ".join(f"{name} {count:,}" for name, count in found.facets))


def _relative(path: str) -> str:
    """Return a path relative to the current folder, if it is below it."""
    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 (names that are not UTF-8 stay as they are)
    return path.removeprefix(here)


def _why(reason: Reason) -> str:
    if reason.where in ("caption", "path"):
        return f"{reason.name} in {reason.where}"
    return f"the text {reason.score:.2f}" if reason.where == "text" else f"{reason.name} {reason.score:.2f}"
