"""``anytag tag``: find tags in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from anytag.cli._inputs import (
    Categories,
    CategoriesFrom,
    Json,
    ModelOrServerOptions,
    Pictures,
    SelectionOptions,
    TagOptions,
    WalkOptions,
    find_inputs,
)
from anytag.cli._lists import read_names
from anytag.cli._shared import show_recognition, write_results


def tag(
    pictures: Pictures,
    *,
    json_: Json = False,
    walk: WalkOptions,
    selection: SelectionOptions,
    categories: Categories = None,
    categories_from: CategoriesFrom = None,
    descriptions: Annotated[
        Path | None, Option(help="Descriptions of categories (RAM++; vocabulary describe).")
    ] = None,
    tag_options: TagOptions,
    runtime: ModelOrServerOptions,
) -> None:
    """Find tags in pictures: objects, scenes, attributes and actions, each with a score.

    Example: anytag tag holiday/ --json > tags.jsonl
    """
    inputs = find_inputs(pictures, walk)
    recognizer = runtime.open(tags=tag_options.read(), descriptions=descriptions)
    names = read_names(categories, categories_from, "--categories")
    results = recognizer.tag(inputs.paths, categories=names, **selection.read())
    write_results(results, inputs, json_, show_recognition)
