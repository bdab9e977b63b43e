"""``anytag export``: a trained model for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from anytag.cli._output import tell
from anytag.cli._shared import reporting
from anytag.errors import needs_extra


def export(
    source: Annotated[Path, typer.Argument(help="Model folder of a training run, or a converted official model.")],
    out: Annotated[Path, typer.Option(help="Model directory to write.")],
    full: Annotated[bool, typer.Option("--full", help="Keep float32 weights.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Official models: matrix products in 8 bits instead of float16 storage.")
    ] = False,
) -> None:
    """Write a model directory that runs without PyTorch; every graph is checked against it.

    Example: anytag export runs/lite/model --out lite
    """
    with reporting("export"):
        with needs_extra("Exporting", "export"):
            import onnx  # noqa: F401
            import torch  # noqa: F401
        from anytag.export.model import export_model
        from anytag.export.official import export_official
        from anytag.model.directory import find_model

        directory = find_model(source)
        source = directory.path
        if directory.config.labels.kind != "text":
            weights: Literal["float32", "float16", "int8"] = "float32" if full else "int8" if int8 else "float16"
            export_official(source, out, weights, tell)
            return
        export_model(source, out, tell, small=not full)
