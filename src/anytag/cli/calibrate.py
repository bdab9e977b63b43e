"""``anytag calibrate``: thresholds from labeled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._commands import refuse
from anytag.cli._output import tell
from anytag.cli._shared import reporting
from anytag.errors import UsageError


def calibrate(
    model: Annotated[Path, typer.Argument(help="Model directory; its thresholds are replaced.")],
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures with captions or tags, not trained on: folders, tables, JSON, COCO files, shards, Parquet."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="What to call the data in the model. (default: their names)")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Use every other picture only, so that the rest can judge the result.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the last calibration.")] = False,
) -> None:
    """Fit a threshold for every tag, so that it fires when it is more likely right than wrong.

    Tags that the pictures do not show keep the threshold that they have.

    Example: anytag calibrate runs/lite-onnx data/validation.tar
    """
    with reporting("calibrate"):
        if undo == bool(data):
            raise UsageError("give the pictures to calibrate on, or --undo")
        from anytag.evaluation import calibration

        if undo:
            refuse(("--source", "--half"), "is about pictures to calibrate on; --undo takes none")
            calibration.undo(model)
            tell(f"{model}: as before the last calibration")
            return
        from anytag.evaluation.labeled_scores import score_pictures
        from anytag.inference.recognizer import load

        assert data is not None
        calibration.refuse_while_training(model)  # Scoring the pictures takes minutes.
        recognizer = load(model)
        scores = score_pictures(recognizer, data)
        label = source or ", ".join(Path(entry).stem for entry in data)
        if half:
            scores, label = scores[::2], label if source else f"{label} (every other picture)"
        calibration.calibrate(recognizer, scores, label)
