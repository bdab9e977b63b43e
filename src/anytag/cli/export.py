"""``anytag export``: export a trained model for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from anytag.cli._commands import refuse
from anytag.cli._output import echo
from anytag.errors import UsageError, needs_extra


def export(
    source: Annotated[Path, Argument(help="Model folder of a training run, or a converted official model.")],
    out: Annotated[Path, Option(help="Model directory to write.")],
    full: Annotated[bool, Option("--full", help="Keep float32 weights.")] = False,
    int8: Annotated[bool, Option("--int8", help="Official models: 8-bit matrix products, not float16.")] = False,
    calibration: Annotated[
        str | None,
        Option(
            metavar="PICTURES",
            help="With --int8: a folder of photographs like yours, of which 32 are used to fix the scales of "
            "activations, as --backend openvino needs for 8 bits.",
        ),
    ] = None,
) -> None:
    """Write a model directory that runs without PyTorch; every graph is checked against PyTorch.

    Example: anytag export runs/lite/model --out lite
    """
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
        export_official(source, out, weights, echo, calibration=photographs)
        return
    refuse(("--int8",), f"is for official models; {directory.config.name} has graphs in 8 bits anyway")
    export_model(source, out, echo, small=not full)
