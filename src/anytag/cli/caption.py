"""``anytag caption``: describe pictures in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from anytag.cli._inputs import (
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


def caption(
    pictures: Pictures,
    *,
    json_: Json = False,
    walk: WalkOptions,
    tags: Annotated[
        list[str] | None,
        Option(
            metavar="NAMES",
            help='Tags that the caption should mention, comma-separated; "" for none. (default: the tags found)',
        ),
    ] = None,
    tags_from: Annotated[Path | None, Option(metavar="FILE", help="Such tags from a file, one per line.")] = None,
    selection: SelectionOptions,
    num_beams: Annotated[int | None, Option(min=1, help="Number of beams. (default: the model's)")] = None,
    sample: Annotated[bool, Option("--sample", help="Sample a caption instead of searching for the best.")] = False,
    seed: Annotated[int | None, Option(help="Random seed for --sample.")] = None,
    tag_options: TagOptions,
    runtime: ModelOrServerOptions,
) -> None:
    """Describe pictures in a sentence, guided by the tags found or by yours.

    Example: anytag caption photo.jpg --tags "beach,dog"
    """
    inputs = find_inputs(pictures, walk)
    recognizer = runtime.open(tags=tag_options.read())
    results = recognizer.caption(
        inputs.paths,
        tags=read_names(tags, tags_from, "--tags"),
        num_beams=num_beams,
        sample=sample,
        seed=seed,
        **selection.read(),
    )
    write_results(results, inputs, json_, show_recognition)
