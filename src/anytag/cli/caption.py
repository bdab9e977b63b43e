"""``anytag caption``: say what pictures show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._inputs import (
    AcceptTruncated,
    Allow,
    AllowFrom,
    BackendName,
    Deny,
    DenyFrom,
    Device,
    Exclude,
    FollowLinks,
    Json,
    Kinds,
    Language,
    Model,
    NoRecursive,
    Null,
    Pictures,
    Precision,
    PrecisionChoice,
    Rename,
    RenameFrom,
    Server,
    Threads,
    Threshold,
    Top,
    find_inputs,
    open_recognizer,
    tag_choice,
)
from anytag.cli._lists import read_kinds, read_names
from anytag.cli._shared import finish, reporting, write_results


def caption(
    pictures: Pictures,
    json_: Json = False,
    null: Null = False,
    exclude: Exclude = None,
    no_recursive: NoRecursive = False,
    follow_links: FollowLinks = False,
    accept_truncated: AcceptTruncated = False,
    tags: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help='Tags that the caption should name, comma-separated; "" for no guidance. (default: tags found)',
        ),
    ] = None,
    tags_from: Annotated[Path | None, typer.Option(metavar="FILE", help="The same from a file, one a line.")] = None,
    threshold: Threshold = None,
    top: Top = None,
    kind: Kinds = None,
    num_beams: Annotated[int | None, typer.Option(min=1, help="Width of the search. (default: the model's)")] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw a caption at random instead of searching for the best.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of --sample.")] = None,
    allow: Allow = None,
    allow_from: AllowFrom = None,
    deny: Deny = None,
    deny_from: DenyFrom = None,
    rename: Rename = None,
    rename_from: RenameFrom = None,
    language: Language = None,
    model: Model = None,
    backend: BackendName = None,
    device: Device = "cpu",
    precision: Precision = PrecisionChoice.float32,
    threads: Threads = None,
    server: Server = None,
) -> None:
    """Describe pictures in a sentence, guided by the tags found or by yours.

    Example: anytag caption photo.jpg --tags "beach,dog"
    """
    with reporting("caption"):
        inputs = find_inputs(pictures, null, exclude, no_recursive, follow_links)
        chosen = tag_choice(allow, allow_from, deny, deny_from, rename, rename_from, language)
        recognizer = open_recognizer(
            model, backend, device, precision, threads, chosen, server=server, accept_truncated=accept_truncated
        )
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
