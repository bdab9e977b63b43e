"""``anytag export``: a trained model for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._shared import reporting


def export(
    source: Annotated[Path, typer.Argument(help="Model folder of a training run.")],
    out: Annotated[Path, typer.Option(help="Model directory to write.")],
    full: Annotated[bool, typer.Option("--full", help="Keep float32 weights.")] = False,
) -> None:
    """Write a model directory that runs without PyTorch; every graph is checked against it.

    Example: anytag export runs/lite/model --out lite
    """
    with reporting("export"):
        try:
            import onnx  # noqa: F401
            import torch  # noqa: F401
        except ImportError:
            from anytag.errors import MissingExtraError

            raise MissingExtraError("Exporting", "export") from None
        from anytag.export.model import export_model

        export_model(source, out, lambda line: print(line, flush=True), small=not full)
