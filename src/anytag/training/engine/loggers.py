"""Who receives a run's log beside ``log.jsonl``: TensorBoard, Weights & Biases, MLflow.

Each is asked for by name (``loggers`` in a recipe), takes its own settings from its own environment variables
(``WANDB_PROJECT``, ``MLFLOW_TRACKING_URI``), and is one small class. A run that is taken up again goes on in the run of
that service that it began: ``loggers.json`` in the run folder has its id.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from anytag.errors import needs_extra
from anytag.foundations.atomic_files import write_text

#: Ids of this run in the services that it is logged to.
IDS_FILE = "loggers.json"


class Logger(Protocol):
    """Receives figures; made when nothing is logged yet, so that what is missing is said at once."""

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        """The run begins, or goes on from a step: what came of later ones will come again."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step by name, such as ``training/tagging`` or ``validation/map``."""

    def close(self) -> None:
        """Nothing more will come."""


def open_logger(kind: str, folder: Path) -> Logger:
    """A logger.

    Args:
        kind: ``tensorboard``, ``wandb`` or ``mlflow``.
        folder: The run folder.

    Raises:
        MissingExtraError: If its package is not installed.
    """
    return _KINDS[kind](folder)


class TensorBoardLogger:
    """Files in ``tensorboard/`` of the run folder."""

    def __init__(self, folder: Path):
        self.folder = folder / "tensorboard"
        self._module = _module("torch.utils.tensorboard", "tensorboard", "Writing TensorBoard's files")
        self._writer: Any = None

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        """Go on behind a step; later ones are hidden."""
        self._writer = self._module.SummaryWriter(str(self.folder), purge_step=step + 1)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a point to every figure's curve."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class WandbLogger:
    """A run of Weights & Biases; what it has of a step already, it does not take again."""

    def __init__(self, folder: Path):
        self.folder, self._run = folder, None
        self._module: Any = _module("wandb", "wandb", "Logging to Weights & Biases")

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        """Begin a run there, or go on with the one that was begun."""
        run = self._module.init(
            project=os.environ.get("WANDB_PROJECT", "anytag"),
            name=os.environ.get("WANDB_NAME", self.folder.resolve().name),
            id=_id_of(self.folder, "wandb"),
            resume="allow",
            dir=str(self.folder),
            config=dict(settings),
            allow_val_change=True,
        )
        _keep_id(self.folder, "wandb", str(run.id))
        self._run = run

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Log them under the step."""
        if self._run is not None:
            self._run.log(dict(figures), step=step)

    def close(self) -> None:
        """Finish; without this the service takes the run for crashed."""
        if self._run is not None:
            self._run.finish()


class MlflowLogger:
    """A run of MLflow; what it has of a step already stands there twice, with the same values."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._module: Any = _module("mlflow", "mlflow", "Logging to MLflow")
        self._begun = False

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        """Begin a run there, or go on with the one that was begun."""
        known = _id_of(self.folder, "mlflow")
        name = None if known else self.folder.resolve().name
        run = self._module.start_run(run_id=known, run_name=name)
        _keep_id(self.folder, "mlflow", str(run.info.run_id))
        self._begun = True
        # Not as parameters, which can never be changed: a run may go on with other settings.
        self._module.log_dict(dict(settings), "recipe.json")

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Log them under the step."""
        self._module.log_metrics(dict(figures), step=step)

    def close(self) -> None:
        """End the run there."""
        if self._begun:
            self._module.end_run()


_KINDS: dict[str, type[TensorBoardLogger] | type[WandbLogger] | type[MlflowLogger]] = {
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
    "mlflow": MlflowLogger,
}


def _module(name: str, extra: str, what: str) -> Any:
    with needs_extra(what, extra):
        return importlib.import_module(name)


def _ids(folder: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads((folder / IDS_FILE).read_text(encoding="utf-8"))
        return dict(found) if isinstance(found, dict) else {}
    return {}


def _id_of(folder: Path, kind: str) -> str | None:
    return _ids(folder).get(kind)


def _keep_id(folder: Path, kind: str, id: str) -> None:
    known = _ids(folder)
    if known.get(kind) != id:
        write_text(folder / IDS_FILE, json.dumps({**known, kind: id}) + "\n")
