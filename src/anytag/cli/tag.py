"""``anytag tag``: what do pictures show?"""

from __future__ import annotations

from typing import Annotated

import typer

from anytag.cli._inputs import (
    Allow,
    BackendName,
    Deny,
    Descriptions,
    Device,
    Json,
    Kinds,
    Language,
    Model,
    Pictures,
    Precision,
    PrecisionChoice,
    Rename,
    Threads,
    Threshold,
    Top,
    open_recognizer,
    sources,
    tag_choice,
)
from anytag.cli._shared import finish, names, reporting, write_results


def tag(
    pictures: Pictures,
    json_: Json = False,
    threshold: Threshold = None,
    top: Top = None,
    categories: Annotated[
        str | None, typer.Option(help="Look for exactly these, comma-separated; any words will do (open set).")
    ] = None,
    kind: Kinds = None,
    descriptions: Descriptions = None,
    allow: Allow = None,
    deny: Deny = None,
    rename: Rename = None,
    language: Language = None,
    model: Model = None,
    backend: BackendName = None,
    device: Device = "cpu",
    precision: Precision = PrecisionChoice.float32,
    threads: Threads = None,
) -> None:
    """Find tags in pictures: objects, scenes, attributes and actions, each with a score.

    Example: anytag tag holiday/ --json > tags.jsonl
    """
    with reporting("tag"):
        paths, total = sources(pictures)
        chosen = tag_choice(allow, deny, rename, language)
        recognizer = open_recognizer(model, backend, device, precision, threads, chosen, descriptions)
        results = recognizer.tag(
            paths,
            categories=names(categories),
            kinds=[choice.value for choice in kind] if kind else None,
            threshold=threshold,
            top=top,
        )
        finish(*write_results(results, json_, total, with_caption=False))
