"""Learning rates over a run.

The official Tag2Text and RAM code changes the rate once an epoch: pre-training multiplies it by 0.9 after a warm-up in
the first epoch, fine-tuning follows a cosine (``pretrain.py``, ``finetune.py``). The lite recipe warms up and follows a
cosine from step to step.

The functions are the formulas. The classes are their settings as a recipe holds them; ``over`` makes a function of
the step out of one, for a run of known length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from anytag.errors import UsageError
from anytag.foundations.settings import Settings

#: Learning rate of a step; steps count from 0.
Rate = Callable[[int], float]


def warmup_rate(step: int, steps: int, start: float, peak: float) -> float:
    """In a straight line from ``start`` at step 0 to ``peak`` at step ``steps`` and after it."""
    return min(peak, start + (peak - start) * step / max(steps, 1))


def step_rate(epoch: int, peak: float, floor: float, decay: float) -> float:
    """``peak`` times ``decay`` for every epoch gone by, but not below ``floor``."""
    return max(floor, peak * decay**epoch)


def cosine_rate(place: float, end: float, peak: float, floor: float, *, official: bool = False) -> float:
    """Half a cosine from ``peak`` at place 0 to ``floor`` at place ``end``.

    Args:
        place: Epochs or steps gone by.
        end: Epochs or steps in all.
        peak: The highest rate.
        floor: The lowest.
        official: Go on with the cosine after the end, where it rises again, as the official function does. Otherwise
            the rate stays at the floor.
    """
    if place > end and not official:
        return floor
    return (peak - floor) * 0.5 * (1 + math.cos(math.pi * place / end)) + floor


class StepSchedule(Settings):
    """Pre-training of the official models: a warm-up by steps, then a lower rate with every epoch.

    Attributes:
        kind: Tells schedules apart in recipes.
        peak: Rate after the warm-up.
        floor: Lowest rate.
        decay: Factor of every epoch after the first.
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

    @model_validator(mode="after")
    def _peak_is_highest(self) -> Self:
        for name, value in (("floor", self.floor), ("warmup_start", self.warmup_start)):
            _refuse_above_peak(name, value, self.peak)
        return self

    def over(self, steps_per_epoch: int, steps: int) -> Rate:
        """The rate of every step of a run.

        Args:
            steps_per_epoch: Steps in one pass over the data.
            steps: Steps of the whole run.

        Raises:
            UsageError: If one of them is below 1.
        """
        _check(steps_per_epoch, steps)

        def rate(step: int) -> float:
            epoch = step // steps_per_epoch
            falling = step_rate(epoch, self.peak, self.floor, self.decay)
            if step >= self.warmup or (self.official and epoch > 0):
                return falling
            return min(falling, warmup_rate(step, self.warmup, self.warmup_start, self.peak))

        return rate


class CosineSchedule(Settings):
    """Fine-tuning of the official models: a cosine that moves on with every epoch.

    The last epoch is trained above the floor; only an epoch after the end would have it.

    Attributes:
        kind: Tells schedules apart in recipes.
        peak: Rate of the first epoch.
        floor: Where the cosine ends.
    """

    kind: Literal["cosine"] = "cosine"
    peak: PositiveFloat = 5e-6
    floor: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _peak_is_highest(self) -> Self:
        _refuse_above_peak("floor", self.floor, self.peak)
        return self

    def over(self, steps_per_epoch: int, steps: int) -> Rate:
        """The rate of every step of a run.

        Args:
            steps_per_epoch: Steps in one pass over the data.
            steps: Steps of the whole run; a last epoch that they do not fill counts as one.

        Raises:
            UsageError: If one of them is below 1.
        """
        _check(steps_per_epoch, steps)
        epochs = math.ceil(steps / steps_per_epoch)
        return lambda step: cosine_rate(step // steps_per_epoch, epochs, self.peak, self.floor)


class WarmupCosineSchedule(Settings):
    """The lite recipe: a warm-up in a straight line times a cosine, from step to step.

    Attributes:
        kind: Tells schedules apart in recipes.
        peak: The rate that the cosine starts from.
        floor_share: Where the cosine ends, as a share of the peak.
        warmup: Steps of the warm-up; in a short run, half of it at the most.
    """

    kind: Literal["warmup_cosine"] = "warmup_cosine"
    peak: PositiveFloat = 1e-3
    floor_share: float = Field(0.01, ge=0, le=1)
    warmup: int = Field(200, ge=0)

    def over(self, steps_per_epoch: int, steps: int) -> Rate:
        """The rate of every step of a run.

        Args:
            steps_per_epoch: Not used: the rate does not know of epochs.
            steps: Steps of the whole run.

        Raises:
            UsageError: If one of them is below 1.
        """
        _check(steps_per_epoch, steps)
        warmup = max(1, min(self.warmup, steps // 2))

        def rate(step: int) -> float:
            # The first step's rate is already above 0, so that no step is without effect.
            return min(1.0, (step + 1) / warmup) * cosine_rate(step, steps, self.peak, self.peak * self.floor_share)

        return rate


#: Any of them, told apart by ``kind``: for a field of a config.
Schedule = Annotated[StepSchedule | CosineSchedule | WarmupCosineSchedule, Field(discriminator="kind")]


def _refuse_above_peak(name: str, value: float, peak: float) -> None:
    if value > peak:
        raise ValueError(f"{name} is {value:g}, above the peak of {peak:g}")


def _check(steps_per_epoch: int, steps: int) -> None:
    for name, value in (("steps_per_epoch", steps_per_epoch), ("steps", steps)):
        if value < 1:
            raise UsageError(f"{name} is {value}; a schedule needs at least 1")
