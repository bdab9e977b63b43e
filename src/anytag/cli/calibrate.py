"""``anytag calibrate``: fit thresholds on labeled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from anytag.cli._commands import refuse
from anytag.cli._output import echo
from anytag.errors import UsageError


def calibrate(
    model: Annotated[Path, Argument(help="Model directory; its thresholds are replaced.")],
    data: Annotated[
        list[str] | None,
        Argument(
            help="Pictures with captions or tags, not trained on: folders, tables, JSON, COCO files, shards, Parquet."
        ),
    ] = None,
    source: Annotated[str | None, Option(help="Name of the data in the model. (default: their file names)")] = None,
    half: Annotated[bool, Option("--half", help="Use only every other picture, to test on the rest.")] = False,
    undo: Annotated[bool, Option("--undo", help="Undo the last calibration.")] = False,
) -> None:
    """Fit a threshold for every tag, above which it is more likely right than wrong.

    Tags that the pictures do not show keep their threshold.

    Example: anytag calibrate runs/lite-onnx data/validation.tar
    """
    if undo == bool(data):
        raise UsageError("give the pictures to calibrate on, or --undo")
    from anytag.evaluation import calibration

    if undo:
        refuse(("--source", "--half"), "is about pictures to calibrate on; --undo takes none")
        calibration.undo(model)
        echo(f"{model}: as before the last calibration")
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
