"""``anytag caption``: say what pictures show."""

from __future__ import annotations

from typing import Annotated

import typer

from anytag.cli._inputs import (
    Allow,
    BackendName,
    Deny,
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


def caption(
    pictures: Pictures,
    json_: Json = False,
    tags: Annotated[
        str | None,
        typer.Option(
            help='Tags that the caption shall name, comma-separated; "" for no guidance. (default: tags found)'
        ),
    ] = None,
    threshold: Threshold = None,
    top: Top = None,
    kind: Kinds = None,
    num_beams: Annotated[int | None, typer.Option(min=1, help="Width of the search. (default: the model's)")] = None,
    sample: Annotated[bool, typer.Option(help="Draw a caption at random instead of searching for the best.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of --sample.")] = None,
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
    """Describe pictures in a sentence, guided by the tags found or by yours.

    Example: anytag caption photo.jpg --tags "beach,dog"
    """
    with reporting("caption"):
        paths, total = sources(pictures)
        chosen = tag_choice(allow, deny, rename, language)
        recognizer = open_recognizer(model, backend, device, precision, threads, chosen)
        results = recognizer.caption(
            paths,
            tags=names(tags),
            threshold=threshold,
            top=top,
            kinds=[choice.value for choice in kind] if kind else None,
            num_beams=num_beams,
            sample=sample,
            seed=seed,
        )
        finish(*write_results(results, json_, total, with_caption=True))
