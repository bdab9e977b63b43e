"""Two training loops that take turns within one run, and the time of each."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anytag.training.engine.autocast import autocast
from anytag.training.engine.config import Precision


@dataclass
class Clock:
    """Wall-clock and processor seconds so far.

    Attributes:
        wall: Wall-clock seconds of every turn.
        cpu: Processor seconds of every turn, including child processes.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    _began: tuple[float, float] | None = None

    def start(self) -> None:
        """Begin a turn."""
        self._began = (time.perf_counter(), processor_seconds())

    def stop(self) -> None:
        """End the turn, if one has begun."""
        if self._began is not None:
            self.wall.append(time.perf_counter() - self._began[0])
            self.cpu.append(processor_seconds() - self._began[1])
            self._began = None


def processor_seconds() -> float:
    """Processor time of this process and its living children, such as a loader's workers."""
    own = time.process_time()
    ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # Not Linux, or gone.
            continue
        own += (int(fields[11]) + int(fields[12])) / ticks
    return own


class Turns:
    """Run a plain loop between the steps of ours, so that both run under the same conditions.

    The first steps of a turn do not count: they use up what was read ahead during the other loop's turn.

    Args:
        plain: One step of the plain loop.
        rounds: Turns of each loop.
        steps: Measured steps per turn.
        unseen: Unmeasured steps before them.
    """

    def __init__(self, plain: Callable[[], None], rounds: int, steps: int, unseen: int):
        self._plain, self.rounds, self.steps, self.unseen = plain, rounds, steps, unseen
        self.ours, self.plain = Clock(), Clock()
        self._number = 0

    @property
    def length(self) -> int:
        """Steps of a turn."""
        return self.steps + self.unseen

    def epochs(self, steps_per_epoch: int) -> float:
        """Length of the stage: all turns, and the step that ends the last."""
        return (self.rounds * self.length + 1) / steps_per_epoch

    def before_step(self) -> None:
        """Call this before each of our steps, and once more to end the last turn."""
        turn, place = divmod(self._number, self.length)
        self._number += 1
        if place == 0:
            self.ours.stop()
        if turn >= self.rounds:
            return
        if place == 0:
            for number in range(self.length):
                if number == self.unseen:
                    self.plain.start()
                self._plain()
            self.plain.stop()
        if place == self.unseen:
            self.ours.start()

    def figures(self, batch_size: int) -> dict[str, Any]:
        """Pictures per second of both, and their ratio; turns are compared in pairs."""
        rounds = min(len(self.ours.wall), len(self.plain.wall))
        if not rounds:
            raise SystemExit("no turn was completed")
        pictures = self.steps * batch_size
        found: dict[str, Any] = {"rounds": rounds, "steps_a_turn": self.steps, "batch_size": batch_size}
        for name, clock in (("ours", self.ours), ("plain", self.plain)):
            found[name] = {
                "per_second": pictures * rounds / sum(clock.wall[:rounds]),
                "per_cpu_second": pictures * rounds / sum(clock.cpu[:rounds]),
            }
        for kind in ("wall", "cpu"):
            ours, plain = getattr(self.ours, kind)[:rounds], getattr(self.plain, kind)[:rounds]
            found[f"ratio_{kind}"] = sum(plain) / sum(ours)
            found[f"ratios_{kind}"] = [theirs / own for theirs, own in zip(plain, ours, strict=True)]
        return found


class PlainLoop:
    """A hand-written training loop: loss, backward, clip, step; without averaging, logging or checkpoints.

    Args:
        model: The model to train.
        loss: The loss of a batch.
        batches: Endless batches.
        precision: Precision of the forward pass.
        betas: AdamW's.
        clip: Maximum norm of gradients; 0 for no clipping.
        rate: Learning rate, the same as ours.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any], Tensor],
        batches: Iterator[Any],
        precision: Precision,
        betas: tuple[float, float],
        clip: float,
        rate: float,
    ):
        self._loss, self._batches, self._precision, self._clip = loss, batches, precision, clip
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=rate, betas=betas)

    def __call__(self) -> None:
        """One step."""
        batch = next(self._batches)
        with autocast("cpu", self._precision):
            loss = self._loss(batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._clip:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimizer.step()
