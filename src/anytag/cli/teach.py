"""``anytag teach``: teach a model your own tags with your own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from anytag.cli._inputs import Threads
from anytag.cli._output import echo


def teach(
    data: Annotated[
        list[str],
        Argument(
            help="Your pictures with their tags: a folder with a subfolder per tag, a table (CSV), a folder with a "
            "JSON file next to each picture, JSON lines, shards, Parquet."
        ),
    ],
    out: Annotated[Path, Option(help="Folder of the new model.")],
    model: Annotated[str, Option(help="Model to teach: a directory or hub id. (default: the shipped model)")] = "",
    validation: Annotated[list[str] | None, Option(help="More pictures with tags, to measure on; repeatable.")] = None,
    negatives: Annotated[list[str] | None, Option(help="Pictures that show none of the tags; repeatable.")] = None,
    threads: Threads = None,
) -> None:
    """Teach a model tags of your own with a few pictures of each; everything else that it knows stays unchanged.

    Example: anytag teach photos --out my-model && anytag tag new.jpg --model my-model
    """
    from anytag.teaching.config import SHIPPED, TeachingConfig
    from anytag.teaching.teach import teach as teach_tags

    config = TeachingConfig(
        name=out.resolve().name,
        start=model or SHIPPED,
        sources=tuple(data),
        validation=tuple(validation or ()),
        negatives=tuple(negatives or ()),
    )
    teach_tags(config, Path(), out, echo, threads)
    echo(f"done: {out}")
