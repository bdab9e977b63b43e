"""Learning rate schedules.

The official Tag2Text and RAM code changes the rate once per epoch: pre-training multiplies it by 0.9 after a warm-up in
the first epoch, fine-tuning follows a cosine (``pretrain.py``, ``finetune.py``). The lite recipe warms up and follows a
cosine from step to step.

The functions are the formulas; the classes are the settings in a recipe.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from anytag.errors import UsageError
from anytag.foundations.settings import Settings

#: Step, counted from 0, to learning rate.
Rate = Callable[[int], float]


def warmup_rate(step: int, steps: int, start: float, peak: float) -> float:
    """Linear from ``start`` at step 0 to ``peak`` at step ``steps``, then constant."""
    return min(peak, start + (peak - start) * step / max(steps, 1))


def step_rate(epoch: int, peak: float, floor: float, decay: float) -> float:
    """``peak`` times ``decay`` for every completed epoch, but at least ``floor``."""
    return max(floor, peak * decay**epoch)


def cosine_rate(place: float, end: float, peak: float, floor: float, *, official: bool = False) -> float:
    """Half a cosine from ``peak`` at place 0 to ``floor`` at place ``end``.

    Args:
        place: Completed epochs or steps.
        end: Epochs or steps in all.
        peak: The highest rate.
        floor: The lowest rate.
        official: Continue the cosine after the end, where it rises again, as the official function does. Otherwise the
            rate stays at the floor.
    """
    if place > end and not official:
        return floor
    return (peak - floor) * 0.5 * (1 + math.cos(math.pi * place / end)) + floor


class _Schedule(Settings, ABC):
    peak: PositiveFloat

    def over(self, steps_per_epoch: int, steps: int) -> Rate:
        """Return the rate of every step of a run.

        Args:
            steps_per_epoch: Steps in one pass over the data.
            steps: Steps of the whole run.

        Raises:
            UsageError: If either is below 1.
        """
        for name, value in (("steps_per_epoch", steps_per_epoch), ("steps", steps)):
            if value < 1:
                raise UsageError(f"{name} is {value}; a schedule needs at least 1")
        return self._rate(steps_per_epoch, steps)

    @abstractmethod
    def _rate(self, steps_per_epoch: int, steps: int) -> Rate: ...

    @model_validator(mode="after")
    def _peak_is_highest(self) -> Self:
        for name in ("floor", "warmup_start"):
            if (value := getattr(self, name, 0.0)) > self.peak:
                raise ValueError(f"{name} is {value:g}, above the peak of {self.peak:g}")
        return self


class StepSchedule(_Schedule):
    """Pre-training of the official models: warm-up by steps, then a lower rate with every epoch.

    Attributes:
        peak: Rate after the warm-up.
        floor: Lowest rate.
        decay: Factor per epoch after the first.
        warmup: Steps of the warm-up.
        warmup_start: Rate of the first step.
        official: End the warm-up with the first epoch, finished or not, as the official loop does: the rate then jumps
            to that of the second epoch. Otherwise a warm-up longer than an epoch is finished first.
    """

    kind: Literal["step"] = "step"
    peak: PositiveFloat = 1e-4
    floor: float = Field(5e-7, ge=0)
    decay: float = Field(0.9, gt=0, le=1)
    warmup: int = Field(3000, ge=0)
    warmup_start: float = Field(5e-7, ge=0)
    official: bool = False

    def _rate(self, steps_per_epoch: int, steps: int) -> Rate:
        def rate(step: int) -> float:
            epoch = step // steps_per_epoch
            falling = step_rate(epoch, self.peak, self.floor, self.decay)
            if step >= self.warmup or (self.official and epoch > 0):
                return falling
            return min(falling, warmup_rate(step, self.warmup, self.warmup_start, self.peak))

        return rate


class CosineSchedule(_Schedule):
    """Fine-tuning of the official models: a cosine over epochs, constant within each.

    The last epoch's rate is above the floor, which only an epoch after the end would have. An epoch that the steps do
    not fill counts as one.

    Attributes:
        peak: Rate of the first epoch.
        floor: Where the cosine ends.
    """

    kind: Literal["cosine"] = "cosine"
    peak: PositiveFloat = 5e-6
    floor: float = Field(0.0, ge=0)

    def _rate(self, steps_per_epoch: int, steps: int) -> Rate:
        epochs = math.ceil(steps / steps_per_epoch)
        return lambda step: cosine_rate(step // steps_per_epoch, epochs, self.peak, self.floor)


class WarmupCosineSchedule(_Schedule):
    """The lite recipe: a linear warm-up times a cosine, from step to step, whatever an epoch is.

    Attributes:
        peak: Rate at the start of the cosine.
        floor_share: Where the cosine ends, as a share of the peak.
        warmup: Steps of the warm-up; at most half of the run.
    """

    kind: Literal["warmup_cosine"] = "warmup_cosine"
    peak: PositiveFloat = 1e-3
    floor_share: float = Field(0.01, ge=0, le=1)
    warmup: int = Field(200, ge=0)

    def _rate(self, steps_per_epoch: int, steps: int) -> Rate:
        warmup = max(1, min(self.warmup, steps // 2))

        def rate(step: int) -> float:
            # The first step's rate is already above 0, so that no step is without effect.
            return min(1.0, (step + 1) / warmup) * cosine_rate(step, steps, self.peak, self.peak * self.floor_share)

        return rate


#: For a field of a config; ``kind`` selects the class.
Schedule = Annotated[StepSchedule | CosineSchedule | WarmupCosineSchedule, Field(discriminator="kind")]
