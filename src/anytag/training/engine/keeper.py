"""Which of a run's models is kept, by its validations, and when there is no hope of a better one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from anytag.training.engine.best import BestWeights
from anytag.training.engine.checkpointing import SaveError
from anytag.training.engine.config import LoopConfig
from anytag.training.engine.distributed import Strategy
from anytag.training.engine.logs import RunLog

#: Receives a model that is to be kept, and the figures of its validation, in the first process.
KeepFunction = Callable[[nn.Module, dict[str, float]], None]


class Keeper:
    """Keeps models after validations. All processes must ask it together, for the first one alone has the log.

    Args:
        config: Names the figure that the best model is told by; without one the last model is the one to keep.
        folder: The run folder.
        total_steps: Of the run.
        strategy: How processes share the run.
        log: Has the figures of all validations; ``None`` in all processes but the first.
        keep: Called in the first process with each model that is to be kept.
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
        """Whether there is a validation at a step.

        At the end there is the final one, before which the last weights compete for being the best.
        """
        if step == self.total_steps:
            return self.best is not None
        return step > 0 and step % self.config.validate_every == 0

    def owes_figures(self, step: int) -> bool:
        """Whether the validation of a step was not made, or was broken off."""
        missing = self.log is not None and step not in dict(self.log.validations(step))
        return self.is_due(step) and self._first(missing)

    def has_final_figures(self, step: int) -> bool:
        """Whether the final validation was made at a step."""
        return self._first(self.log is not None and self.log.final_figures(step) is not None)

    def has_lost_patience(self, step: int) -> bool:
        """Whether there were so many validations without a better figure that the run is over."""
        if self.best is None or self.config.patience is None:
            return False
        return self._first(
            self.log is not None and self.best.misses(self.log.validations(step)) >= self.config.patience
        )

    def keep(self, model: nn.Module, step: int, save: Callable[[], None]) -> None:
        """Keep the weights of a step that was just validated, if they are the best so far, or all are kept.

        Args:
            model: As it was validated.
            step: The step.
            save: Writes the checkpoint of the step, so that the run is never taken up before its best weights.

        Raises:
            SaveError: In every process, if something cannot be written.
            UsageError: If the validation lacks the figure that the best is told by.
        """
        known = self.log.validations(step) if self.log is not None else []
        has_figures = bool(known) and known[-1][0] == step
        if not self._first(self.best is None or (has_figures and self.best.is_beaten(known))):
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
        """The step of the model that is kept at a step of the run, and its newest figures; first process alone."""
        kept = step if self.best is None else self.best.step or step
        if self.log is None:
            return kept, {}
        if (final := self.log.final_figures(step)) is not None:
            return kept, final
        known = [figures for at, figures in self.log.validations(step) if self.best is None or at == kept]
        return kept, dict(known[-1]) if known else {}

    def _first(self, found: bool) -> bool:
        """What the first process found, in all of them."""
        return bool(self.strategy.gathered(found)[0])
