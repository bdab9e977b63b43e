"""The training loop: schedules, precision, accumulation, divergence; independent of data and objective.

See :mod:`anytag.training.engine.distributed` for several processes, and :mod:`anytag.training.engine.checkpointing` and
:mod:`anytag.training.engine.logs` for files.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from anytag.errors import UsageError
from anytag.foundations.interrupts import StoppedBySignalError
from anytag.foundations.report import Report
from anytag.training.engine.activation_checkpointing import checkpoint_activations, large_blocks
from anytag.training.engine.autocast import autocast
from anytag.training.engine.checkpointing import RunState
from anytag.training.engine.config import LoopConfig, LoopStage
from anytag.training.engine.distributed import LossModule, Share, Strategy, connect
from anytag.training.engine.keeper import Keeper, KeepFunction
from anytag.training.engine.logs import Means, Progress, RunLog, peak_memory
from anytag.training.engine.loss_watch import DivergedError, LossWatch
from anytag.training.engine.parameters import GroupFunction, moving_average, of_one_kind, parameter_groups
from anytag.training.engine.stop_signals import StopSignals
from anytag.training.engine.task import Batches, Task

#: Model, step, stage and share of the batch to the loss and its components.
StepFunction = Callable[[nn.Module, int, Any, Share], tuple[Tensor, dict[str, float]]]
ValidateFunction = Callable[[nn.Module, bool], dict[str, float]]

#: Difference between the seeds of two processes.
_SEED_STRIDE = 1_000_003


class TrainingLoop:
    """Trains a model through the stages of a config, and resumes after a kill.

    All randomness comes from the step number or from a generator whose state is checkpointed, so that a resumed run
    ends with the same weights as an uninterrupted one. Under ``torchrun`` every process has a loop of its own.

    Args:
        config: The resolved recipe.
        model: The network. Parameters that do not require gradients now are never trained.
        step: Returns the loss of its share of a step's batch, as a mean over samples, and the loss components.
        validate: Returns metrics of a model, in the first process; its second argument is true for the final, thorough
            validation.
        steps_per_epoch: Steps in one pass over the data.
        folder: The run folder, for log and checkpoints.
        report: Receives readable lines of progress.
        groups: Parameter groups of a model that is not a :class:`~anytag.training.engine.task.Task`.
        strategy: How processes share the run; ``None``: according to the config.
        keep: Called after every validation on the way with the model to keep: if there is a ``best_metric``, the best
            one so far, else every one.
        batches: What the step function draws from, if checkpoints have to include its position in the data.

    Attributes:
        average: The moving average; ``None`` if the config has none.
        step: Completed steps.
        saved_step: Step of the newest checkpoint; ``None`` before the first.

    Raises:
        UsageError: If the batch cannot be divided among processes and micro-batches, or a stage trains nothing.
        MissingExtraError: If a logger is not installed.
    """

    def __init__(
        self,
        config: LoopConfig,
        model: nn.Module,
        step: StepFunction,
        validate: ValidateFunction,
        steps_per_epoch: int,
        folder: Path,
        report: Report = print,
        groups: GroupFunction = parameter_groups,
        strategy: Strategy | None = None,
        keep: KeepFunction = lambda model, figures: None,
        batches: Batches | None = None,
    ):
        self.config, self.step_function, self.validate, self.folder = config, step, validate, folder
        self.strategy = strategy or connect(config.parallel)
        shares = self.strategy.world * config.accumulate
        if config.batch_size % shares:
            raise UsageError(
                f"a batch of {config.batch_size} cannot be divided evenly among {self.strategy.world} processes with "
                f"{config.accumulate} micro-batches each; set batch_size to a multiple of {shares}"
            )
        self.stage_steps = [max(1, round(stage.epochs * steps_per_epoch)) for stage in config.stages]
        self.total_steps = sum(self.stage_steps)
        self._courses = [
            stage.course(steps_per_epoch, steps) for stage, steps in zip(config.stages, self.stage_steps, strict=True)
        ]
        self.step = 0
        self.saved_step: int | None = None
        self.report = report
        self._progress = Progress(self.total_steps, steps_per_epoch, config.validate_every)
        self._log = RunLog(folder, self._progress, report, config.loggers) if self.strategy.is_first else None
        self.keeper = Keeper(config, folder, self.total_steps, self.strategy, self._log, keep)
        self._watch = LossWatch(config.divergence_factor, config.divergence_steps)
        self._entered = -1
        self._summed = model.summed_parts if isinstance(model, Task) else ()
        self._fixed = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        self._refuse_idle_stages(model)
        self.device = self.strategy.device_of(model)
        self.model = model.to(self.device)
        if config.activation_checkpointing:
            checkpoint_activations(large_blocks(model))
        self.average = AveragedModel(model, multi_avg_fn=moving_average(config.ema_decay)) if config.ema_decay else None
        losses = LossModule(model, lambda *arguments: self.step_function(*arguments))
        self.strategy.prepare(losses, self.average and self.average.module)
        self.optimizer = torch.optim.AdamW(
            of_one_kind(model.groups(config) if isinstance(model, Task) else groups(model, config)), betas=config.betas
        )
        self._state = RunState(folder, model, self.average, self.optimizer, self.strategy, batches)

    def _refuse_idle_stages(self, model: nn.Module) -> None:
        names = [name for name, _ in model.named_parameters() if name not in self._fixed]
        for stage in self.config.stages:
            if not any(stage.trains(name) for name in names):
                raise UsageError(f"stage {stage.name!r} trains no part of the model; what should it learn?")

    @property
    def checkpoint_path(self) -> Path:
        return self._state.path

    def averaged(self) -> nn.Module:
        """Return the model to validate and to keep: the average, or the model itself if there is none.

        All processes must call it together; the first one's result is unsharded.
        """
        return self.strategy.whole(self.model if self.average is None else self.average.module)

    def kept(self) -> nn.Module:
        """Return the final model: the best one if the config has a ``best_metric``, else :meth:`averaged`.

        All processes must call it together; the first one's result is unsharded. The run cannot continue afterwards.
        """
        model = self.averaged()
        if self.keeper.best is not None and self.strategy.is_first:
            self.keeper.best.load_into(model)
        return model

    def is_over(self) -> bool:
        """Whether there is nothing left to train; all processes must call it together."""
        return self.step >= self.total_steps or self.keeper.has_lost_patience(self.step)

    def place(self, step: int) -> tuple[int, int]:
        """Return the stage of a step, and the step's number within it."""
        for index, count in enumerate(self.stage_steps):
            if step < count:
                return index, step
            step -= count
        raise IndexError(step)

    def resume(self) -> bool:
        """Load the checkpoint and the position in the data, if there are any; return whether there were."""
        step = self._state.load()
        if step is None:
            return False
        self.step = self.saved_step = step
        return True

    def save(self) -> None:
        """Write the checkpoint whole or not at all.

        Raises:
            SaveError: If it cannot be written; the previous one stays.
        """
        self._state.save(self.step)
        self.saved_step = self.step

    def note(self, record: dict[str, Any]) -> None:
        """Add a record to the log at this step."""
        if self._log is not None:
            self._log.note({"step": self.step, **record})

    def run(self, stop_after: float | None = None) -> bool:
        """Train to the end, and return whether it was reached.

        Args:
            stop_after: Stop after this many seconds, with a checkpoint.

        Raises:
            DivergedError: If the loss is not finite, or stays far above its median; the last good checkpoint stays.
            SaveError: If a checkpoint cannot be written; the previous one stays.
            StoppedBySignalError: If a signal stopped the run, with a checkpoint.
        """
        with StopSignals(self.report) as signals:
            finished = self._run(stop_after, signals)
        if signals.seen is not None and not finished:
            kept = "no checkpoint could be saved" if self.saved_step is None else f"saved at step {self.saved_step:,}"
            raise StoppedBySignalError(signals.seen, f"{kept} ({self.checkpoint_path}); go on with the same command")
        return finished

    def _run(self, stop_after: float | None, signals: StopSignals) -> bool:
        config, start, since = self.config, time.perf_counter(), time.perf_counter()
        if self._log is not None:
            self._log.begin(self.step, config.model_dump(mode="json"))
        if self.step == 0:
            torch.manual_seed(config.seed + _SEED_STRIDE * self.strategy.rank)
        self.model.train()
        means = Means(self.strategy, self._summed)
        is_due, out_of_time = False, not self._catch_up(signals)
        is_over = self.is_over()
        while not (is_over or out_of_time):
            index, place = self.place(self.step)
            stage = config.stages[index]
            if index != self._entered:
                self._enter(index, settle=place == 0)
            rate = self._set_rates()
            out_of_time = stop_after is not None and time.perf_counter() - start > stop_after
            parts, out_of_time = self._learn(stage, out_of_time or signals.seen is not None)
            out_of_time = out_of_time or (signals.seen is not None and self.strategy.world == 1)
            means.add(parts)
            is_over = self.step == self.total_steps
            if self.step % config.log_every == 0 or is_over:
                self._write_progress(stage.name, rate, (time.perf_counter() - since) / means.steps, means)
                since = time.perf_counter()
            if self.keeper.is_due(self.step) and not out_of_time and self._watch.is_calm:
                began = time.perf_counter()
                out_of_time = not self._validate(signals) or (signals.seen is not None and self.strategy.world == 1)
                since += time.perf_counter() - began
                self._progress.validated(time.perf_counter() - began)
                is_over = self.is_over()
            is_due = is_due or self.step % config.save_every == 0 or out_of_time
            if is_over or (is_due and self._watch.is_calm):
                self._save_once()
                is_due = False
        # The last checkpoint comes before the final validation, which alone has to be repeated if it is interrupted.
        finished = is_over and not (out_of_time and self.keeper.owes_figures(self.step))
        if finished and self.step < self.total_steps:
            self.report(
                f"stopped at step {self.step:,} of {self.total_steps:,}: no better {config.best_metric} in "
                f"{config.patience} validations"
            )
        if finished and not self.keeper.has_final_figures(self.step):
            finished = self._validate(signals, final=True)
        if self._log is not None:
            self._log.close()
        return finished

    def _write_progress(self, stage: str, rate: float, seconds: float, means: Means) -> None:
        figures = means.take()
        self._write(
            {
                "step": self.step,
                "epoch": self.step / self._progress.steps_per_epoch,
                "stage": stage,
                "rate": rate,
                "seconds": seconds,
                "pictures_per_second": self.config.batch_size / seconds,
                "memory": max(self.strategy.gathered(peak_memory(self.device))),
                **figures,
            }
        )
        if figures.get("gradient_norm") == 0:
            self.report(
                "warning: all gradients are 0, so nothing is learned; do the data name tags that the model has?"
            )

    def _catch_up(self, signals: StopSignals) -> bool:
        """Validate and keep the model if the run was stopped before that; return whether no signal interrupted it."""
        if self.keeper.owes_figures(self.step):
            return self._validate(signals)
        if self.keeper.best is not None and self.keeper.is_due(self.step):
            self.keeper.keep(self.averaged(), self.step, self._save_once)
        return True

    def _save_once(self) -> None:
        if self.saved_step != self.step:
            self.save()

    def _enter(self, index: int, settle: bool) -> None:
        """Begin or resume a stage."""
        stage = self.config.stages[index]
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in self._fixed and stage.trains(name))
        if settle:
            self._settle()
        if isinstance(self.model, Task):
            self.model.enter(index, stage, self.averaged)
        self._watch.restart()
        self.strategy.enter()
        self._entered = index

    def _set_rates(self) -> float:
        index, place = self.place(self.step)
        stage, factor = self.config.stages[index], self._courses[index](place)
        for group in self.optimizer.param_groups:
            peak = stage.encoder_learning_rate if group["part"] == "encoder" else stage.learning_rate
            group["lr"] = peak * factor * group.get("scale", 1.0)
        return stage.learning_rate * factor

    def _settle(self) -> None:
        """Replace frozen weights by their moving average, which is what will be kept, and better.

        Otherwise the average would drift to the weights of the last steps while other parts of the model learn.
        """
        if self.average is None or not self.step:
            return
        averages = dict(self.average.module.named_parameters())
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if not parameter.requires_grad:
                    parameter.copy_(averages[name])

    def _learn(self, stage: LoopStage, out_of_time: bool) -> tuple[list[dict[str, float]], bool]:
        """Take an optimizer step; return the loss components of this process's micro-batches, and if time is up."""
        micros, total = self.config.accumulate, 0.0
        parts: list[dict[str, float]] = []
        self.optimizer.zero_grad(set_to_none=True)
        for micro in range(micros):
            share = Share(self.strategy.rank, self.strategy.world, micro, micros, self.device)
            with self.strategy.accumulating(last=micro == micros - 1):
                with autocast(self.device, self.config.precision):
                    loss, own = self.strategy.forward(self.step, stage, share)
                (loss / micros if micros > 1 else loss).backward()
            total += float(loss.detach()) / micros
            parts.append(own)
        total, late = self.strategy.means([total, float(out_of_time)])
        shown = parts if micros > 1 else parts[0]
        if not math.isfinite(total):
            raise self._diverged(f"the loss is {total} at step {self.step} (parts: {shown})")
        norm = self.strategy.clip(self.model.parameters(), self.config.gradient_clip or math.inf)
        if not math.isfinite(norm):
            # Clipping by it would make every weight NaN, and the next checkpoint with them.
            raise self._diverged(f"the gradient's norm is {norm} at step {self.step} (parts: {shown})")
        usual = self._watch.median
        self._watch.add(total)
        if self._watch.has_diverged:
            raise self._diverged(
                f"the loss is {total:.4g} at step {self.step} (parts: {shown}), for {self._watch.steps} steps more "
                f"than {self._watch.factor:g} times its running median of {usual:.4g}"
            )
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        return [{**own, "gradient_norm": norm} for own in parts], late > 0

    def _diverged(self, what: str) -> DivergedError:
        if self.saved_step is None:
            return DivergedError(f"{what}; there is no checkpoint yet. Lower the learning rate and begin again.")
        return DivergedError(
            f"{what}; the last good state is that of step {self.saved_step:,}, {self.checkpoint_path}. Lower the "
            "learning rate and resume."
        )

    def _validate(self, signals: StopSignals, final: bool = False) -> bool:
        """Validate; return whether no signal interrupted it."""
        index, _ = self.place(min(self.step, self.total_steps) - 1)
        if self._entered < 0:
            self._enter(index, settle=False)
        model, done, figures = self.kept() if final else self.averaged(), True, {}
        if self.strategy.is_first:
            done = False
            with signals.breaking_off():
                figures, done = self.validate(model, final), True
            if figures:  # There are none without validation data.
                last = {"final": True} if final else {}
                stage = self.config.stages[index].name
                self._write({"step": self.step, "stage": stage, **last, "validation": figures})
        self.strategy.wait()
        done = bool(self.strategy.gathered(done)[0])
        if done and not final:
            self.keeper.keep(model, self.step, self._save_once)
        self.model.train()
        return done

    def _write(self, record: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.write(record)
