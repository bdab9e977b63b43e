"""``anytag calibrate``: thresholds from labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._shared import reporting


def calibrate(
    model: Annotated[Path, typer.Argument(help="Model directory; its thresholds are replaced.")],
    shards: Annotated[list[Path], typer.Argument(help="WebDataset shards of pictures with captions, not trained on.")],
    source: Annotated[str | None, typer.Option(help="Provenance to note. (default: the shards' names)")] = None,
    half: Annotated[
        bool, typer.Option(help="Use every other picture only, so that the rest can judge the result.")
    ] = False,
) -> None:
    """Fit a threshold for every tag, so that it fires when it is more likely right than wrong.

    Example: anytag calibrate runs/lite-onnx data/validation.tar
    """
    with reporting("calibrate"):
        from anytag.evaluation.calibration import calibrate as fit
        from anytag.evaluation.calibration import score_shards
        from anytag.inference.recognizer import load

        recognizer = load(model)
        data = score_shards(recognizer, shards)
        if half:
            data = data[::2]
        label = source or ", ".join(shard.stem for shard in shards) + (" (every other picture)" if half else "")
        fit(recognizer, data, label)
