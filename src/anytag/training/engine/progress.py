"""Progress of a run for people: epochs, pictures per second, remaining time, memory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch


class Progress:
    """Describes the progress of a run.

    Args:
        total_steps: Steps of the run.
        steps_per_epoch: Steps in one pass over the data.
        validate_every: Steps between validations, which take time as well.
    """

    def __init__(self, total_steps: int, steps_per_epoch: int, validate_every: int):
        self.total_steps, self.steps_per_epoch, self.validate_every = total_steps, steps_per_epoch, validate_every
        self._validation = 0.0

    def validated(self, seconds: float) -> None:
        """Note how long a validation took."""
        self._validation = seconds

    def left(self, step: int, seconds: float) -> float:
        """Seconds to the end, validations included, at ``seconds`` per step."""
        validations = self.total_steps // self.validate_every - step // self.validate_every
        return (self.total_steps - step) * seconds + (validations + 1) * self._validation

    def line(self, record: Mapping[str, Any]) -> str:
        """Describe a record of the log: "epoch 0.40 of 2, step 80/400, 31 pictures/s, 12 min left, 1.2 GB"."""
        step, epochs = record["step"], self.total_steps / self.steps_per_epoch
        words = [f"epoch {step / self.steps_per_epoch:.2f} of {epochs:.4g}", f"step {step:,}/{self.total_steps:,}"]
        if "pictures_per_second" in record:
            words.append(f"{record['pictures_per_second']:.3g} pictures/s")
            if step < self.total_steps:
                words.append(f"{_duration(self.left(step, record['seconds']))} left")
        if "memory" in record:
            words.append(f"{record['memory']:.2g} GB")
        return ", ".join(words)


def peak_memory(device: torch.device) -> float:
    """Peak memory of this process in gigabytes: the GPU's on CUDA, else main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    # Linux counts in kilobytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours / 24:.1f} days"
