"""The training loop: schedule, precision, accumulation, divergence. It knows no data set and no objective.

How several processes share a run is a matter of :mod:`anytag.training.engine.distributed`, what is on disk of
:mod:`anytag.training.engine.checkpointing` and :mod:`anytag.training.engine.logs`.
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
from anytag.training.engine.distributed import LossModule, Share, Strategy, connect, local_part
from anytag.training.engine.logs import RunLog
from anytag.training.engine.loss_watch import DivergedError, LossWatch
from anytag.training.engine.stop_signals import StopSignals
from anytag.training.engine.task import Task

#: Model, number of the step, the stage (of the config's own kind), and which rows of the batch: loss and its parts.
StepFunction = Callable[[nn.Module, int, Any, Share], tuple[Tensor, dict[str, float]]]
ValidateFunction = Callable[[nn.Module, bool], dict[str, float]]

#: Model and config to parameter groups of an optimizer. Beside ``params`` a group has ``part``, which tells whether
#: the stage's ``encoder_learning_rate`` (``"encoder"``) or its ``learning_rate`` is the group's, and it may have
#: ``weight_decay`` and ``scale``, by which the rate is multiplied.
GroupFunction = Callable[[nn.Module, LoopConfig], list[dict[str, Any]]]

#: Between the seeds of two processes' draws.
_SEED_STRIDE = 1_000_003


def parameter_groups(model: nn.Module, config: LoopConfig) -> list[dict[str, Any]]:
    """The usual groups: what is decayed, what is not, and the image encoder, which is not either.

    Norms, biases and embeddings are not decayed: shrinking them only undoes what they learn.
    """
    encoder = [p for n, p in model.named_parameters() if n.startswith("image_encoder.")]
    others = [(n, p) for n, p in model.named_parameters() if not n.startswith("image_encoder.")]
    plain = [p for n, p in others if p.ndim < 2 or "embedding" in n or "positions" in n or n == "no_picture"]
    decayed = [p for n, p in others if not any(p is q for q in plain)]
    return [
        {"params": decayed, "weight_decay": config.weight_decay, "part": "decoder"},
        {"params": plain, "weight_decay": 0.0, "part": "decoder"},
        {"params": encoder, "weight_decay": 0.0, "part": "encoder"},
    ]


class TrainingLoop:
    """Runs the stages of a config over a model, resuming where a killed run left off.

    Everything random is drawn from the step's number or from a generator whose state is checkpointed, so a resumed
    run ends with the very weights of an uninterrupted one. Under ``torchrun`` every process makes a loop of its own.

    Args:
        config: The resolved recipe.
        model: The network. Parameters that need no gradient now never will.
        step: Gives the loss of its share of a step's batch, as a mean over samples, and the loss's parts.
        validate: Gives figures of a model, in the first process; its second argument is true for the final, thorough
            validation.
        steps_per_epoch: Steps in one pass over the data.
        folder: The run folder: ``log.jsonl``, ``checkpoint.pt``.
        report: Receives readable lines of progress.
        groups: Divides the parameters into groups.
        strategy: How processes share the run; ``None``: as the config says.

    Attributes:
        average: The moving average; ``None`` if the config has none.
        step: Steps gone by.
        saved_step: The step of the newest checkpoint; ``None`` before the first.

    Raises:
        UsageError: If the batch cannot be divided among processes and micro-batches.
        MissingExtraError: If TensorBoard is asked for and not installed.
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
        self._log = RunLog(folder, self.total_steps, report, config.tensorboard) if self.strategy.is_first else None
        self._watch = LossWatch(config.divergence_factor, config.divergence_steps)
        self._entered = -1
        self._fixed = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        self.device = self.strategy.device_of(model)
        self.model = model.to(self.device)
        if config.activation_checkpointing:
            checkpoint_activations(large_blocks(model))
        self.average = (
            AveragedModel(model, multi_avg_fn=_moving_average(config.ema_decay)) if config.ema_decay else None
        )
        losses = LossModule(model, lambda *arguments: self.step_function(*arguments))
        self.strategy.prepare(losses, self.average and self.average.module)
        self.optimizer = torch.optim.AdamW(
            _of_one_kind(model.groups(config) if isinstance(model, Task) else groups(model, config)), betas=config.betas
        )
        self._state = RunState(folder, model, self.average, self.optimizer, self.strategy)

    @property
    def checkpoint_path(self) -> Path:
        """Where the state is kept."""
        return self._state.path

    def averaged(self) -> nn.Module:
        """The model to validate and to keep: the average, or the model itself if there is none.

        All processes must ask together; in the first, what they get is whole.
        """
        return self.strategy.whole(self.model if self.average is None else self.average.module)

    def place(self, step: int) -> tuple[int, int]:
        """The stage of a step and the step's number within it."""
        for index, count in enumerate(self.stage_steps):
            if step < count:
                return index, step
            step -= count
        raise IndexError(step)

    def resume(self) -> bool:
        """Take up the checkpoint, if there is one; whether there was."""
        step = self._state.load()
        if step is None:
            return False
        self.step = self.saved_step = step
        return True

    def save(self) -> None:
        """Write the checkpoint whole or not at all.

        Raises:
            SaveError: If it cannot be written; the one before stays.
        """
        self._state.save(self.step)
        self.saved_step = self.step

    def note(self, record: dict[str, Any]) -> None:
        """Add a record to the log at this step, for whoever reads it later."""
        if self._log is not None:
            self._log.note({"step": self.step, **record})

    def run(self, stop_after: float | None = None) -> bool:
        """Train to the end.

        Args:
            stop_after: Stop after this many seconds, with a checkpoint.

        Returns:
            Whether the end was reached.

        Raises:
            DivergedError: If the loss is not finite, or stays far above what it was; the last checkpoint before that
                stays as it was.
            SaveError: If a checkpoint cannot be written; the one before stays.
            StoppedBySignalError: If a signal asked for the end; there is a checkpoint then.
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
            self._log.begin(self.step)
        if self.step == 0:
            torch.manual_seed(config.seed + _SEED_STRIDE * self.strategy.rank)
        self.model.train()
        sums: dict[str, float] = {}
        summed, is_due = 0, False
        while self.step < self.total_steps:
            index, place = self.place(self.step)
            stage = config.stages[index]
            if index != self._entered:
                self._enter(index, settle=place == 0)
            rate = self._set_rates()
            out_of_time = stop_after is not None and time.perf_counter() - start > stop_after
            parts, out_of_time = self._learn(stage, out_of_time or signals.seen is not None)
            out_of_time = out_of_time or (signals.seen is not None and self.strategy.world == 1)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value
            summed += 1
            is_last = self.step == self.total_steps
            if self.step % config.log_every == 0 or is_last:
                # After a resume, and at the end, fewer steps than log_every have been summed.
                seconds = (time.perf_counter() - since) / summed
                means = self._means({name: value / summed for name, value in sums.items()})
                self._write({"step": self.step, "stage": stage.name, "rate": rate, "seconds": seconds, **means})
                if means.get("gradient_norm") == 0:
                    self.report(
                        "warning: all gradients are 0, so nothing is learned; do the data name tags that the model has?"
                    )
                sums, summed, since = {}, 0, time.perf_counter()
            if self.step % config.validate_every == 0 and not is_last and not out_of_time:
                self._validate(stage.name, False, signals)
                since = time.perf_counter()
                out_of_time = out_of_time or (signals.seen is not None and self.strategy.world == 1)
            is_due = is_due or self.step % config.save_every == 0 or out_of_time
            if is_last or (is_due and self._watch.is_calm):
                self.save()
                is_due = False
            if out_of_time:
                break
        finished = self.step == self.total_steps
        # The last checkpoint comes before the last figures: whatever ends those, only they have to be made again.
        if finished and not self._has_last_figures():
            finished = self._validate(config.stages[-1].name, True, signals)
        if self._log is not None:
            self._log.close()
        return finished

    def _has_last_figures(self) -> bool:
        found = self._log is not None and self._log.has_figures(self.total_steps)
        return bool(self.strategy.gathered(found)[0])

    def _enter(self, index: int, settle: bool) -> None:
        """Begin a stage, or go on with it after a resume."""
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
        """Let what a stage leaves as it is be its moving average: that is what will be kept of it, and is the better.

        Otherwise the average would drift to the last steps' weights while the stage's own parts learn.
        """
        if self.average is None or not self.step:
            return
        averages = dict(self.average.module.named_parameters())
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if not parameter.requires_grad:
                    parameter.copy_(averages[name])

    def _learn(self, stage: LoopStage, out_of_time: bool) -> tuple[dict[str, float], bool]:
        """One step of the optimizer; the loss's parts in this process, and whether a process is out of time."""
        micros, total = self.config.accumulate, 0.0
        parts: dict[str, float] = {}
        self.optimizer.zero_grad(set_to_none=True)
        for micro in range(micros):
            share = self.strategy.share(micro, micros, self.device)
            with self.strategy.accumulating(last=micro == micros - 1):
                with autocast(self.device, self.config.precision):
                    loss, own = self.strategy.forward(self.step, stage, share)
                (loss / micros if micros > 1 else loss).backward()
            total += float(loss.detach()) / micros
            for name, value in own.items():
                parts[name] = parts.get(name, 0.0) + value / micros
        total, late = self.strategy.means([total, float(out_of_time)])
        if not math.isfinite(total):
            raise self._diverged(f"the loss is {total} at step {self.step} (parts: {parts})")
        norm = self.strategy.clip(self.model.parameters(), self.config.gradient_clip or math.inf)
        if not math.isfinite(norm):
            # Clipping by it would make every weight NaN, and the next checkpoint with them.
            raise self._diverged(f"the gradient's norm is {norm} at step {self.step} (parts: {parts})")
        usual = self._watch.median
        self._watch.add(total)
        if self._watch.has_diverged:
            raise self._diverged(
                f"the loss is {total:.4g} at step {self.step} (parts: {parts}), for {self._watch.steps} steps more "
                f"than {self._watch.factor:g} times its running median of {usual:.4g}"
            )
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        return {**parts, "gradient_norm": norm}, late > 0

    def _diverged(self, what: str) -> DivergedError:
        if self.saved_step is None:
            return DivergedError(f"{what}; there is no checkpoint yet. Lower the learning rate and begin again.")
        return DivergedError(
            f"{what}; the last good state is that of step {self.saved_step:,}, {self.checkpoint_path}. Lower the "
            "learning rate and resume."
        )

    def _validate(self, stage: str, final: bool, signals: StopSignals) -> bool:
        """Whether the figures are made, or there is nothing to say; a signal breaks this off."""
        model, done = self.averaged(), True
        if self.strategy.is_first:
            done, figures = False, {}
            with signals.breaking_off():
                figures, done = self.validate(model, final), True
            if figures:  # Without validation data there is nothing to say.
                self._write({"step": self.step, "stage": stage, "validation": figures})
        self.strategy.wait()
        done = bool(self.strategy.gathered(done)[0])
        self.model.train()
        return done

    def _means(self, parts: dict[str, float]) -> dict[str, float]:
        """Over all processes; what one of them has not got counts as nothing, as a step without it does."""
        gathered = self.strategy.gathered(parts)
        names = dict.fromkeys(name for own in gathered for name in own)
        return {name: sum(own.get(name, 0.0) for own in gathered) / len(gathered) for name in names}

    def _write(self, record: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.write(record)


def _of_one_kind(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups without those that nothing is in, and with divided parameters apart: an optimizer takes no mixture."""
    kinds: list[dict[str, Any]] = []
    for group in groups:
        by_type: dict[bool, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_type.setdefault(local_part(parameter) is parameter, []).append(parameter)
        kinds += [{**group, "params": parameters} for parameters in by_type.values()]
    return kinds


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential moving average of parameters that forgets the random start sooner: (1 + n) / (10 + n) at first."""

    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        n = int(count)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        torch._foreach_lerp_([local_part(t) for t in averages], [local_part(t) for t in current], weight)

    return update
