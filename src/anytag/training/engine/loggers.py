"""External loggers of a run: TensorBoard, Weights & Biases, MLflow.

Recipes name them (``loggers``). Each reads its settings from its own environment variables (``WANDB_PROJECT``,
``MLFLOW_TRACKING_URI``). A run that is resumed continues the service's run that it began, whose id is in
``loggers.json`` in the run folder.
"""

from __future__ import annotations

import importlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from anytag.errors import needs_extra
from anytag.foundations.atomic_files import write_text

#: Ids of this run in the services that it is logged to.
IDS_FILE = "loggers.json"


class Logger(ABC):
    """Receives the metrics of a run."""

    kind: str
    module: str
    purpose: str
    #: What :meth:`begin` opened.
    run: Any = None

    def __init__(self, folder: Path):
        self.folder = folder
        with needs_extra(self.purpose, self.kind):
            self.package: Any = importlib.import_module(self.module)

    @abstractmethod
    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        """Begin the run, or continue after a step: metrics of later ones will come again."""

    @abstractmethod
    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Log metrics of a step by name, such as ``training/tagging`` or ``validation/map``."""

    @abstractmethod
    def close(self) -> None:
        """End the run; services take a run that does not end for crashed."""

    @property
    def run_id(self) -> str | None:
        """Id of the service's run that continues."""
        return _ids(self.folder).get(self.kind)

    def keep_id(self, id: str) -> None:
        if self.run_id != id:
            write_text(self.folder / IDS_FILE, json.dumps({**_ids(self.folder), self.kind: id}) + "\n")


class TensorBoardLogger(Logger):
    """Files in ``tensorboard/`` of the run folder."""

    kind, module, purpose = "tensorboard", "torch.utils.tensorboard", "Writing TensorBoard's files"

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        self.run = self.package.SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.run.add_scalar(name, value, step)
        self.run.flush()

    def close(self) -> None:
        if self.run is not None:
            self.run.close()


class WandbLogger(Logger):
    """A run of Weights & Biases, which ignores metrics of a step that it has already."""

    kind, module, purpose = "wandb", "wandb", "Logging to Weights & Biases"

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        self.run = self.package.init(
            project=os.environ.get("WANDB_PROJECT", "anytag"),
            name=os.environ.get("WANDB_NAME", self.folder.resolve().name),
            id=self.run_id,
            resume="allow",
            dir=str(self.folder),
            config=dict(settings),
            allow_val_change=True,
        )
        self.keep_id(str(self.run.id))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        if self.run is not None:
            self.run.log(dict(figures), step=step)

    def close(self) -> None:
        if self.run is not None:
            self.run.finish()


class MlflowLogger(Logger):
    """A run of MLflow; metrics of a step that it has already appear twice, with the same values."""

    kind, module, purpose = "mlflow", "mlflow", "Logging to MLflow"

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        name = None if self.run_id else self.folder.resolve().name
        self.run = self.package.start_run(run_id=self.run_id, run_name=name)
        self.keep_id(str(self.run.info.run_id))
        # Not as parameters, which can never change: a run may continue with other settings.
        self.package.log_dict(dict(settings), "recipe.json")

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        self.package.log_metrics(dict(figures), step=step)

    def close(self) -> None:
        if self.run is not None:
            self.package.end_run()


def open_logger(kind: str, folder: Path) -> Logger:
    """Open a logger for a run folder: ``tensorboard``, ``wandb`` or ``mlflow``.

    Raises:
        MissingExtraError: If its package is not installed.
    """
    return {logger.kind: logger for logger in (TensorBoardLogger, WandbLogger, MlflowLogger)}[kind](folder)


def _ids(folder: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads((folder / IDS_FILE).read_text(encoding="utf-8"))
        return dict(found) if isinstance(found, dict) else {}
    return {}
