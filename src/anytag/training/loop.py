"""The training loop: schedule, precision, checkpoints, log. It knows no data set and no objective."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from anytag.errors import AnytagError
from anytag.training.config import StageConfig, TrainingConfig

StepFunction = Callable[[nn.Module, int, StageConfig], tuple[Tensor, dict[str, float]]]
ValidateFunction = Callable[[nn.Module, bool], dict[str, float]]
Report = Callable[[str], None]


class DivergedError(AnytagError):
    """The loss became infinite or not a number."""

    kind = "diverged"


class TrainingLoop:
    """Runs the stages of a config over a model, resuming where a killed run left off.

    Everything random is drawn from the step's number or from a generator whose state is checkpointed, so a resumed
    run ends with the very weights of an uninterrupted one.

    Args:
        config: The resolved recipe.
        model: The network; its image encoder's parameters form a group of their own.
        step: Gives the loss of a step and its parts.
        validate: Gives figures of a model; its second argument is true for the final, thorough validation.
        steps_per_epoch: Steps in one pass over the data.
        folder: The run folder: ``log.jsonl``, ``checkpoint.pt``.
        report: Receives readable lines of progress.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: nn.Module,
        step: StepFunction,
        validate: ValidateFunction,
        steps_per_epoch: int,
        folder: Path,
        report: Report = print,
    ):
        self.config, self.model, self.step_function, self.validate = config, model, step, validate
        self.folder, self.report = folder, report
        self.stage_steps = [max(1, round(stage.epochs * steps_per_epoch)) for stage in config.stages]
        self.total_steps = sum(self.stage_steps)
        self.step = 0
        encoder = [p for n, p in model.named_parameters() if n.startswith("image_encoder.")]
        others = [(n, p) for n, p in model.named_parameters() if not n.startswith("image_encoder.")]
        # Norms, biases and embeddings are not decayed: shrinking them only undoes what they learn.
        plain = [p for n, p in others if p.ndim < 2 or "embedding" in n or "positions" in n or n == "no_picture"]
        decayed = [p for n, p in others if not any(p is q for q in plain)]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay, "part": "decoder"},
                {"params": plain, "weight_decay": 0.0, "part": "decoder"},
                {"params": encoder, "weight_decay": 0.0, "part": "encoder"},
            ],
            betas=(0.9, 0.98),
        )
        self.average = AveragedModel(model, multi_avg_fn=_moving_average(config.ema_decay))

    @property
    def checkpoint_path(self) -> Path:
        """Where the state is kept."""
        return self.folder / "checkpoint.pt"

    def place(self, step: int) -> tuple[int, int]:
        """The stage of a step and the step's number within it."""
        for index, count in enumerate(self.stage_steps):
            if step < count:
                return index, step
            step -= count
        raise IndexError(step)

    def _set_rates(self) -> float:
        index, place = self.place(self.step)
        stage, count = self.config.stages[index], self.stage_steps[index]
        warm = min(1.0, (place + 1) / max(1, min(stage.warmup, count // 2)))
        factor = warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * place / count)))
        for group in self.optimizer.param_groups:
            peak = stage.encoder_learning_rate if group["part"] == "encoder" else stage.learning_rate
            group["lr"] = peak * factor
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(stage.trains(name))
        return stage.learning_rate * factor

    def _settle(self) -> None:
        """Let what a stage leaves as it is be its moving average: that is what will be kept of it, and is the better.

        Otherwise the average would drift to the last steps' weights while the stage's own parts learn.
        """
        averages = dict(self.average.module.named_parameters())
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if not parameter.requires_grad and self.step:
                    parameter.copy_(averages[name])

    def resume(self) -> bool:
        """Take up the checkpoint, if there is one; whether there was."""
        if not self.checkpoint_path.exists():
            return False
        state = torch.load(self.checkpoint_path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        torch.set_rng_state(state["rng"])
        self._mend_log()
        return True

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "rng": torch.get_rng_state(),
        }
        part = self.checkpoint_path.with_suffix(".pt.part")
        torch.save(state, part)
        part.replace(self.checkpoint_path)

    def run(self, stop_after: float | None = None) -> bool:
        """Train to the end.

        Args:
            stop_after: Stop after this many seconds, with a checkpoint.

        Returns:
            Whether the end was reached.

        Raises:
            DivergedError: If the loss is not finite; the last checkpoint stays as it was.
        """
        config, start, since = self.config, time.perf_counter(), time.perf_counter()
        if self.step == 0:
            torch.manual_seed(config.seed)
        self.model.train()
        sums: dict[str, float] = {}
        summed = 0
        while self.step < self.total_steps:
            index, place = self.place(self.step)
            stage = config.stages[index]
            rate = self._set_rates()
            if place == 0:
                self._settle()
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss, parts = self.step_function(self.model, self.step, stage)
            if not math.isfinite(float(loss.detach())):
                raise DivergedError(
                    f"the loss is {float(loss.detach())} at step {self.step} (parts: {parts}); the last good state is "
                    f"{self.checkpoint_path}. Lower the learning rate and resume."
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
            if not math.isfinite(float(norm)):
                # Clipping by it would make every weight NaN, and the next checkpoint with them.
                raise DivergedError(
                    f"the gradient's norm is {float(norm)} at step {self.step} (parts: {parts}); the last good state "
                    f"is {self.checkpoint_path}. Lower the learning rate and resume."
                )
            self.optimizer.step()
            self.average.update_parameters(self.model)
            self.step += 1
            for name, value in {**parts, "gradient_norm": float(norm)}.items():
                sums[name] = sums.get(name, 0.0) + value
            summed += 1
            if self.step % config.log_every == 0 or self.step == self.total_steps:
                # After a resume, and at the end, fewer steps than log_every have been summed.
                seconds = (time.perf_counter() - since) / summed
                means = {name: value / summed for name, value in sums.items()}
                self._log({"step": self.step, "stage": stage.name, "rate": rate, "seconds": seconds, **means})
                sums, summed, since = {}, 0, time.perf_counter()
            if self.step % config.validate_every == 0 or self.step == self.total_steps:
                figures = self.validate(self.average.module, self.step == self.total_steps)
                self._log({"step": self.step, "stage": stage.name, "validation": figures})
                self.model.train()
                since = time.perf_counter()
            out_of_time = stop_after is not None and time.perf_counter() - start > stop_after
            if self.step % config.save_every == 0 or self.step == self.total_steps or out_of_time:
                self.save()
            if out_of_time:
                return self.step == self.total_steps
        return True

    def _mend_log(self) -> None:
        """Drop the lines of steps that will be run again, and a line that a kill cut off."""
        path = self.folder / "log.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= self.step:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
        part = path.with_suffix(".part")
        part.write_text("".join(kept), encoding="utf-8")
        part.replace(path)

    def _log(self, record: dict[str, Any]) -> None:
        record = {"time": round(time.time(), 1), **_rounded(record)}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        shown = " ".join(f"{k} {v}" for k, v in _flat(record) if k not in ("time", "step", "stage"))
        left = (self.total_steps - self.step) * record.get("seconds", 0.0)
        eta = f", {left / 60:.0f} min left" if left else ""
        self.report(f"{record['stage']} {self.step}/{self.total_steps}{eta}: {shown}")


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential moving average of parameters that forgets the random start sooner: (1 + n) / (10 + n) at first."""

    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        return _rounded(value) if isinstance(value, dict) else value

    return {key: short(value) for key, value in record.items()}


def _flat(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield key, value
