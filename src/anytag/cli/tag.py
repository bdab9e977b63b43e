"""``anytag tag``: find tags in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from anytag.cli._inputs import (
    AcceptTruncated,
    Categories,
    CategoriesFrom,
    Json,
    Kinds,
    ModelOrServerOptions,
    Pictures,
    TagOptions,
    Threshold,
    Top,
    WalkOptions,
    find_inputs,
)
from anytag.cli._lists import read_kinds, read_names
from anytag.cli._shared import show_recognition, write_results


def tag(
    pictures: Pictures,
    *,
    json_: Json = False,
    walk: WalkOptions,
    accept_truncated: AcceptTruncated = False,
    threshold: Threshold = None,
    top: Top = None,
    categories: Categories = None,
    categories_from: CategoriesFrom = None,
    kind: Kinds = None,
    descriptions: Annotated[
        Path | None, Option(help="Descriptions of your categories for RAM++ (anytag vocabulary describe).")
    ] = None,
    tag_options: TagOptions,
    runtime: ModelOrServerOptions,
) -> None:
    """Find tags in pictures: objects, scenes, attributes and actions, each with a score.

    Example: anytag tag holiday/ --json > tags.jsonl
    """
    inputs = find_inputs(pictures, walk)
    recognizer = runtime.open(tag_options.read(), descriptions, accept_truncated)
    results = recognizer.tag(
        inputs.paths,
        categories=read_names(categories, categories_from, "--categories"),
        kinds=read_kinds(kind),
        threshold=threshold,
        top=top,
    )
    write_results(results, inputs, json_, show_recognition)
