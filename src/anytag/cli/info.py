"""``anytag info``: what is in a model?"""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from anytag.cli._shared import reporting


def info(
    model: Annotated[str | None, typer.Argument(help="Model directory or hub id. [default: the shipped model]")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Show a model's parts, tags, thresholds and files, after checking every file.

    Example: anytag info
    """
    with reporting("info"):
        from anytag.model_directory import find_model

        directory = find_model(model)
        sizes = {name: directory.file(name).stat().st_size for name in sorted(directory.config.files)}
        vocabulary, config = directory.vocabulary, directory.config
        kinds = Counter(tag.kind for tag in vocabulary)
        record = {
            "path": str(directory.path),
            "name": config.name,
            "family": config.family,
            "tags": len(vocabulary),
            "trained_tags": sum(tag.support > 0 for tag in vocabulary),
            "kinds": dict(kinds),
            "calibrated": sum(tag.threshold is not None for tag in vocabulary),
            "bytes": sum(sizes.values()),
            "files": sizes,
        }
        if json_:
            print(json.dumps(record))
            return
        console = Console(highlight=False)
        console.print(f"[bold]{config.name}[/bold] ({config.family}) in {directory.path}", soft_wrap=True)
        encoder, captioner = config.image_encoder, config.captioner
        console.print(f"  image encoder  {encoder.name}, {encoder.resolution} px, {encoder.tokens} tokens")
        console.print(f"  recognition    {config.recognition.layers} layers, width {config.width}")
        console.print(f"  label queries  {config.labels.encoder}")
        captions = f"{captioner.layers} layers, {captioner.vocabulary} word pieces" if captioner else "none"
        console.print(f"  captioner      {captions}")
        by_kind = ", ".join(f"{n} {kind}s" for kind, n in kinds.most_common())
        console.print(f"  tags           {len(vocabulary)} ({by_kind}), {record['trained_tags']} trained")
        console.print(f"  thresholds     {record['calibrated']} calibrated, default {config.default_threshold}")
        table = Table(box=None, show_header=False, padding=(0, 2))
        table.add_column()
        table.add_column(justify="right")
        for name, size in sizes.items():
            table.add_row(name, f"{size / 1e6:.2f} MB")
        table.add_row("in all", f"{sum(sizes.values()) / 1e6:.2f} MB")
        console.print(table)
