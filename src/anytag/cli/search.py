"""``anytag search``: find photos in an index, and say why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._inputs import Model
from anytag.cli._shared import reporting
from anytag.errors import UsageError
from anytag.library.photo_library import Library, find_index
from anytag.library.search import Hits, Reason
from anytag.writers.tables import shown


def search(
    query: Annotated[
        list[str] | None,
        typer.Argument(help='Tags and words: dog beach -cat, "hot dog", scene:beach, dog>0.8, cat OR dog.'),
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Index, or folder of photos. (default: the nearest from here upwards)")
    ] = None,
    like: Annotated[Path | None, typer.Option(help="Pictures that look like this one, best first.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most that many results.")] = 20,
    facets: Annotated[bool, typer.Option("--facets", help="Say which tags the results have, with numbers.")] = False,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Groups of pictures that look nearly alike.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the results in the system's viewer.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON lines, one a result.")] = False,
    model: Model = None,
) -> None:
    """Find photos by tags, words of captions, or another picture. Every result says why it was found.

    Exit codes: 0 something was found, 1 nothing, 2 used wrongly.

    Example: anytag search "dog beach -person" --library photos
    """
    with reporting("search"):
        opened = Library(library if library is not None else find_index(Path.cwd()), model)
        if duplicates:
            groups = opened.duplicates()
            for group in groups:
                print(json.dumps(group) if json_ else "\n".join(map(shown, group)) + "\n")
            raise typer.Exit(0 if groups else 1)
        text = " ".join(query) if query else None
        if text is None and like is None:
            raise UsageError("say what to look for: words, --like PICTURE, or --duplicates")
        found = opened.search(text, like=like, limit=limit, facets=20 if facets else 0)
        if json_:
            for hit in found.hits:
                print(json.dumps(hit.to_json()))
        else:
            _show(found)
        if open_ and found.hits:
            viewer = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
            for hit in found.hits:
                subprocess.run([viewer, hit.path], check=False)
        if not found.hits:
            raise typer.Exit(1)


def _show(found: Hits) -> None:
    for hit in found.hits:
        print(shown(hit.path))
        why = ", ".join(map(_why, hit.reasons))
        if why:
            print(f"  {why}")
        if hit.caption:
            print(f"  {hit.caption}")
    for word in found.unknown:
        print(f"no picture has {word!r}", file=sys.stderr)
    print(f"{len(found.hits):,} of {found.total:,} found", file=sys.stderr)
    if found.facets:
        print("tags: " + ", ".join(f"{name} {count:,}" for name, count in found.facets))


def _why(reason: Reason) -> str:
    return (
        f"{reason.name} in {reason.where}"
        if reason.where in ("caption", "path")
        else f"{reason.name} {reason.score:.2f}"
    )
