"""Model selection: keep the best or the last model of a run, and stop early."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from anytag.training.engine.best import BestWeights
from anytag.training.engine.checkpointing import SaveError
from anytag.training.engine.config import LoopConfig
from anytag.training.engine.distributed import Strategy
from anytag.training.engine.logs import RunLog

#: Called in the first process with a model to keep and the metrics of its validation.
KeepFunction = Callable[[nn.Module, dict[str, float]], None]


class Keeper:
    """Keeps models after validations. All processes must call it together, since only the first one has the log.

    Args:
        config: Its ``best_metric`` selects the best model; without one, the last model is kept.
        folder: The run folder.
        total_steps: Steps of the run.
        strategy: How processes share the run.
        log: Holds the metrics of all validations; ``None`` in all processes but the first.
        keep: Called in the first process with each model to keep.
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
