"""``anytag teach``: a model learns your own tags from your own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._inputs import Threads
from anytag.cli._output import tell
from anytag.cli._shared import reporting


def teach(
    data: Annotated[
        list[str],
        typer.Argument(
            help="Your pictures with their tags: a folder with a folder for each tag, a table (CSV), a folder with a "
            "JSON file next to each picture, JSON lines, shards, Parquet."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where to write the new model.")],
    model: Annotated[
        str, typer.Option(help="Model to teach: a directory or hub id. (default: the one that ships)")
    ] = "",
    validation: Annotated[
        list[str] | None, typer.Option(help="More pictures with tags, only to measure on; repeatable.")
    ] = None,
    negatives: Annotated[
        list[str] | None,
        typer.Option(help="Pictures of other things, in which the tags must not be found; repeatable."),
    ] = None,
    threads: Threads = None,
) -> None:
    """Teach a model tags of your own with a few pictures of each; everything else that it knows stays as it is.

    Example: anytag teach photos --out my-model && anytag tag new.jpg --model my-model
    """
    with reporting("teach"):
        from anytag.teaching.config import SHIPPED, TeachingConfig
        from anytag.teaching.teach import teach as teach_tags

        config = TeachingConfig(
            name=out.resolve().name,
            start=model or SHIPPED,
            sources=tuple(data),
            validation=tuple(validation or ()),
            negatives=tuple(negatives or ()),
        )
        teach_tags(config, Path(), out, tell, threads)
        tell(f"done: {out}")
