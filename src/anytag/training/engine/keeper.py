"""Model selection: keep the best or the last model of a run, and stop early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from anytag.errors import UsageError
from anytag.training.engine.checkpointing import SaveError, explained, read_state, write_state
from anytag.training.engine.config import LoopConfig
from anytag.training.engine.distributed import Strategy
from anytag.training.engine.logs import RunLog, Validations

#: Called in the first process with a model to keep and the metrics of its validation.
KeepFunction = Callable[[nn.Module, dict[str, float]], None]


class BestWeights:
    """The file ``best.pt``: weights of the best validation so far.

    The file holds its step, the log the metrics of all validations, and there is no other state: a run resumed with
    another metric or more patience behaves as if it had never stopped.
    """

    def __init__(self, folder: Path, metric: str, lower_is_better: bool = False):
        self.path, self.metric, self._sign = folder / "best.pt", metric, -1 if lower_is_better else 1

    @property
    def step(self) -> int | None:
        """The step of the stored weights, if there are any."""
        return int(read_state(self.path)["step"]) if self.path.exists() else None

    def is_beaten(self, validations: Validations) -> bool:
        """Whether the last validation is better than that of the stored weights.

        Raises:
            UsageError: If it lacks the metric.
        """
        value, (best, _) = self._value(validations[-1][1]), self._best(validations)
        return value == value and (best is None or value > best)

    def misses(self, validations: Validations) -> int:
        """Number of validations since that of the stored weights."""
        return self._best(validations)[1]

    def save(self, model: nn.Module, step: int) -> None:
        """Replace the stored weights by a model's.

        Raises:
            SaveError: If they cannot be written; the file stays as it was.
        """
        part = self.path.with_name(self.path.name + ".part")
        with explained(self.path, step):
            write_state({"step": torch.tensor(step), "model": model.state_dict()}, part)
            part.replace(self.path)

    def load_into(self, model: nn.Module) -> None:
        """Load the stored weights, if there are any, into a model."""
        if self.path.exists():
            model.load_state_dict(read_state(self.path)["model"])

    def _best(self, validations: Validations) -> tuple[float | None, int]:
        """Metric of the stored weights, and the number of later validations; (None, 0) if not in the log."""
        step = self.step
        for place, (validated, metrics) in enumerate(validations):
            if validated == step:
                return self._value(metrics), len(validations) - 1 - place
        return None, 0

    def _value(self, metrics: Mapping[str, float]) -> float:
        if self.metric not in metrics:
            raise UsageError(
                f"best_metric={self.metric}: the validation has no such figure; it has {', '.join(metrics)}"
            )
        return self._sign * float(metrics[self.metric])


class Keeper:
    """Keeps the best model, or the last one if the config has no ``best_metric``.

    All processes must call it together, since only the first one has the log, with the metrics of all validations.
    """

    def __init__(
        self,
        config: LoopConfig,
        folder: Path,
        total_steps: int,
        strategy: Strategy,
        log: RunLog | None,
        keep: KeepFunction,
    ):
        self.config, self.total_steps, self.strategy, self.log, self._keep = config, total_steps, strategy, log, keep
        self.best: BestWeights | None = None
        if config.best_metric is not None:
            self.best = BestWeights(folder, config.best_metric, config.lower_is_better)

    def is_due(self, step: int) -> bool:
        """Whether a step is validated.

        At the end there is the final validation; before it, the last weights compete for being the best.
        """
        if step == self.total_steps:
            return self.best is not None
        return step > 0 and step % self.config.validate_every == 0

    def owes_figures(self, step: int) -> bool:
        """Whether the validation of a step is missing or was interrupted."""
        missing = self.log is not None and step not in dict(self.log.validations(step))
        return self.is_due(step) and self._in_first(missing)

    def has_final_figures(self, step: int) -> bool:
        """Whether the final validation was made at a step."""
        return self._in_first(self.log is not None and self.log.final_figures(step) is not None)

    def has_lost_patience(self, step: int) -> bool:
        """Whether the run ends because ``patience`` validations brought no better metric."""
        if self.best is None or self.config.patience is None:
            return False
        return self._in_first(
            self.log is not None and self.best.misses(self.log.validations(step)) >= self.config.patience
        )

    def keep(self, model: nn.Module, step: int, save: Callable[[], None]) -> None:
        """Keep the weights that were just validated, if they are the best so far or there is no ``best_metric``.

        Args:
            model: The model that was validated.
            step: Its step.
            save: Writes the checkpoint of the step, so that a run never resumes before its best weights.

        Raises:
            SaveError: In every process, if something cannot be written.
            UsageError: If the validation lacks ``best_metric``.
        """
        known = self.log.validations(step) if self.log is not None else []
        has_figures = bool(known) and known[-1][0] == step
        if not self._in_first(self.best is None or (has_figures and self.best.is_beaten(known))):
            return
        if self.best is not None:
            save()
        failure = ""
        if self.strategy.is_first:
            try:
                if self.best is not None:
                    self.best.save(model, step)
                self._keep(model, dict(known[-1][1]) if has_figures else {})
            except (SaveError, OSError) as error:
                failure = str(error)
        if reason := self.strategy.gathered(failure)[0]:
            raise SaveError(reason)

    def figures(self, step: int) -> tuple[int, dict[str, float]]:
        """The step of the model kept by then, and its latest metrics; for the first process."""
        kept = step if self.best is None else self.best.step or step
        if self.log is None:
            return kept, {}
        if (final := self.log.final_figures(step)) is not None:
            return kept, final
        known = [figures for at, figures in self.log.validations(step) if self.best is None or at == kept]
        return kept, dict(known[-1]) if known else {}

    def _in_first(self, value: bool) -> bool:
        """The first process's value, in every process."""
        return bool(self.strategy.gathered(value)[0])
