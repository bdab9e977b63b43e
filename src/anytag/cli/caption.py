"""``anytag caption``: say what pictures show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._inputs import (
    AcceptTruncated,
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
from anytag.cli._shared import finish, reporting, write_results


def caption(
    pictures: Pictures,
    *,
    json_: Json = False,
    walk: WalkOptions,
    accept_truncated: AcceptTruncated = False,
    tags: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help='Tags that the caption should name, comma-separated; "" for no guidance. (default: the tags found)',
        ),
    ] = None,
    tags_from: Annotated[Path | None, typer.Option(metavar="FILE", help="The same from a file, one per line.")] = None,
    threshold: Threshold = None,
    top: Top = None,
    kind: Kinds = None,
    num_beams: Annotated[
        int | None, typer.Option(min=1, help="Width of the beam search. (default: the model's)")
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw a caption at random instead of searching for the best.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of --sample.")] = None,
    tag_options: TagOptions,
    runtime: ModelOrServerOptions,
) -> None:
    """Describe pictures in a sentence, guided by the tags found or by yours.

    Example: anytag caption photo.jpg --tags "beach,dog"
    """
    with reporting("caption"):
        inputs = find_inputs(pictures, walk)
        recognizer = runtime.open(tag_options.read(), accept_truncated=accept_truncated)
        results = recognizer.caption(
            inputs.paths,
            tags=read_names(tags, tags_from, "--tags"),
            threshold=threshold,
            top=top,
            kinds=read_kinds(kind),
            num_beams=num_beams,
            sample=sample,
            seed=seed,
        )
        finish(*write_results(results, json_, inputs.total, with_caption=True), inputs)
