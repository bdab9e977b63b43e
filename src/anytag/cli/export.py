"""``anytag export``: a trained model for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from anytag.cli._commands import refuse
from anytag.cli._output import tell
from anytag.cli._shared import reporting
from anytag.errors import UsageError, needs_extra


def export(
    source: Annotated[Path, typer.Argument(help="Model folder of a training run, or a converted official model.")],
    out: Annotated[Path, typer.Option(help="Model directory to write.")],
    full: Annotated[bool, typer.Option("--full", help="Keep float32 weights.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Official models: matrix products in 8 bits instead of float16 storage.")
    ] = False,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="PICTURES",
            help="With --int8: a folder of photographs like yours, 32 of which are looked at. Activations then have "
            "fixed scales, which --backend openvino needs for 8 bits.",
        ),
    ] = None,
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
        from anytag.pictures import find_pictures

        directory = find_model(source)
        source = directory.path
        official = directory.config.labels.kind != "text"
        if calibration is not None and (full or not int8 or not official):
            raise UsageError("--calibration goes with --int8, and with an official model; leave it away, or add --int8")
        if full:
            refuse(("--int8",), "and --full exclude each other: weights have 8 bits, or all 32")
        if official:
            weights: Literal["float32", "float16", "int8"] = "float32" if full else "int8" if int8 else "float16"
            photographs = None if calibration is None else find_pictures(calibration)
            export_official(source, out, weights, tell, calibration=photographs)
            return
        refuse(("--int8",), f"is for official models; {directory.config.name} has graphs in 8 bits anyway")
        export_model(source, out, tell, small=not full)
