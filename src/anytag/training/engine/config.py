"""Configuration of the training loop, and overrides from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from anytag.errors import UsageError
from anytag.foundations.settings import BatchSize, LearningRate, Seed, Settings, first_error
from anytag.training.engine.schedules import Schedule, WarmupCosineSchedule

#: Precision of matrix products in training; ``auto``: bfloat16 where that is faster.
Precision = Literal["auto", "float32", "bfloat16"]

#: Decay of a moving average per step.
Decay = Annotated[float, Field(ge=0, lt=1)]


class LoopStage(Settings):
    """One stage of training, with its own learning rate schedule.

    Attributes:
        name: For logs.
        epochs: Passes over the training pictures.
        learning_rate: Peak rate of everything but the image encoder.
        encoder_learning_rate: Peak rate of the image encoder; 0 keeps it frozen.
        warmup: Steps of linear warm-up, before a cosine decay to a hundredth of the peak.
        schedule: Another schedule, in place of ``warmup`` and cosine. It is scaled so that its peak becomes the peak
            rates above.
    """

    name: str
    epochs: float = Field(gt=0, le=1_000_000)
    learning_rate: LearningRate = 1e-3
    encoder_learning_rate: LearningRate = 0.0
    warmup: int = Field(default=200, ge=0)
    schedule: Schedule | None = None

    def trains(self, parameter: str) -> bool:
        """Whether the stage trains a parameter, by its name in the model."""
        return self.encoder_learning_rate > 0 or not parameter.startswith("image_encoder.")

    def course(self, steps_per_epoch: int, steps: int) -> Callable[[int], float]:
        """Return the share of the peak rates at every step of a stage of ``steps`` steps."""
        schedule = self.schedule or WarmupCosineSchedule(peak=1.0, floor_share=0.01, warmup=self.warmup)
        rate = schedule.over(steps_per_epoch, steps)
        return lambda step: rate(step) / schedule.peak


class LoopConfig(Settings):
    """Configuration of :class:`~anytag.training.engine.loop.TrainingLoop`, whatever it trains.

    Attributes:
        stages: One after another.
        batch_size: Samples per step, over all processes and micro-batches.
        accumulate: Micro-batches that a process divides its share of a batch into, to save memory: the mean of their
            losses equals that of one large batch wherever the loss is a mean over samples.
        weight_decay: Of matrices; norms, biases and embeddings are not decayed. In each step, AdamW subtracts this
            share of every weight, times the learning rate.
        betas: AdamW's.
        gradient_clip: Maximum norm of the gradients; 0: no clipping.
        ema_decay: Decay of the moving average of the weights, which is what is saved; 0: no average.
        save_every: Steps between checkpoints.
        log_every: Steps between lines in the log.
        validate_every: Steps between validations.
        precision: Of matrix products; weights stay in float32. ``auto``: bfloat16 (autocast) where that is faster: on
            GPUs that support it, and on CPUs with AMX.
        parallel: How the processes that ``torchrun`` starts share the work. ``ddp``: each holds the whole model;
            ``fsdp``: weights, gradients, optimizer and average are sharded; ``auto``: ``ddp``.
        activation_checkpointing: Recompute activations of the large blocks in the backward pass instead of storing
            them: less memory, a third more time.
        best_metric: Validation metric by which the best model is kept; ``None``: the last model is kept.
        lower_is_better: Whether the lowest value of ``best_metric`` is the best, as for losses.
        patience: Stop after this many validations without a better ``best_metric``; ``None``: at the last step.
        loggers: External loggers besides ``log.jsonl`` (:mod:`anytag.training.engine.loggers`), each with an
            extra of its name.
        divergence_factor: A loss this many times its running median counts as diverging; above 1, or 0: no check.
        divergence_steps: This many such steps in a row end the run; no checkpoint is written meanwhile.
    """

    stages: tuple[LoopStage, ...]
    seed: Seed = 0
    batch_size: BatchSize = 64
    accumulate: int = Field(default=1, ge=1)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[Decay, Decay] = (0.9, 0.98)
    gradient_clip: float = Field(default=5.0, ge=0)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    save_every: int = Field(default=200, ge=1)
    log_every: int = Field(default=20, ge=1)
    validate_every: int = Field(default=400, ge=1)
    precision: Precision = "auto"
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    activation_checkpointing: bool = False
    best_metric: str | None = None
    lower_is_better: bool = False
    patience: int | None = Field(default=None, ge=1)
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    divergence_factor: float = Field(default=20.0, ge=0)
    divergence_steps: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _patience_is_for_something(self) -> Self:
        if self.best_metric is None and (self.patience is not None or self.lower_is_better):
            raise ValueError("patience and lower_is_better are of a figure of validation; name it as best_metric")
        return self

    @model_validator(mode="after")
    def _factors_mean_something(self) -> Self:
        if 0 < self.divergence_factor <= 1:
            raise ValueError(
                f"divergence_factor is {self.divergence_factor:g}, so that usual losses would end the run; "
                "give a number above 1, or 0 to let any loss pass"
            )
        for stage in self.stages:
            if (taken := self.weight_decay * max(stage.learning_rate, stage.encoder_learning_rate)) >= 1:
                raise ValueError(
                    f"a weight_decay of {self.weight_decay:g} at the rate of stage {stage.name!r} takes {taken:.3g} "
                    "times every weight away in each step; give a smaller one"
                )
        return self


Config = TypeVar("Config", bound=BaseModel)


@dataclass
class Overrides:
    """``--set`` arguments: ``path.to.key=value``."""

    pairs: list[str] = field(default_factory=list)

    def apply(self, config: Config) -> Config:
        """Return the config with every setting; values are parsed as JSON, else taken as strings.

        Raises:
            UsageError: If a pair has no ``=``, an unknown setting, or a value of the wrong type.
        """
        changes: _Changes = {}
        for pair in self.pairs:
            path, equals, text = pair.partition("=")
            if not equals:
                raise UsageError(f"--set {pair}: write it as key=value, e.g. stages.0.epochs=2")
            try:
                value = json.loads(text)
            except json.JSONDecodeError:
                value = text
            if not _exists(config, path.split(".")):
                raise UsageError(f"--set {path}: this recipe has no such setting")
            *parents, key = path.split(".")
            place: Any = changes
            for parent in parents:
                place = place.setdefault(parent, {})
                if isinstance(place, _Value):
                    raise UsageError(f"--set {path}: {parent} is set as a whole already; set it once")
            place[key] = _Value(value)
        changed: Config = _with(config, changes, ())
        return changed


@dataclass
class _Value:
    value: Any


_Changes = dict[str, "_Value | _Changes"]


def _exists(node: Any, path: list[str]) -> bool:
    """Whether there is such a setting; entries of lists are not settings."""
    for place, key in enumerate(path):
        if isinstance(node, BaseModel) and key in type(node).model_fields:
            node = getattr(node, key)
        elif isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list | tuple) and key.isdecimal() and int(key) < len(node) and place < len(path) - 1:
            node = node[int(key)]
        else:
            return False
    return True


def _with(node: Any, changes: _Changes, path: tuple[str, ...]) -> Any:
    """Apply changes to a part of a config; each model is validated by its own class."""
    if isinstance(node, list | tuple):
        items = list(node)
        for key, change in changes.items():
            assert isinstance(change, dict)
            items[int(key)] = _with(items[int(key)], change, (*path, key))
        return type(node)(items)
    is_model = isinstance(node, BaseModel)
    values = {name: getattr(node, name) for name in type(node).model_fields} if is_model else dict(node)
    for key, change in changes.items():
        values[key] = change.value if isinstance(change, _Value) else _with(values[key], change, (*path, key))
    if not is_model:
        return values
    try:
        return type(node).model_validate(values)
    except ValidationError as error:
        where, complaint = first_error(error)
        named = ".".join((*path, *map(str, where)))
        raise UsageError(f"--set {named}: {complaint}" if named else f"--set: {complaint}") from None
