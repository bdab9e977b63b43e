"""Train one run (a setting, a seed, a number of steps), and measure the time of a step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _claims_config import SETTINGS, Setting
from _claims_data import ClaimsData
from _claims_held_out import without
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.nn.efficientnet_lite import load_imagenet_lite
from anytag.nn.label_queries import LearnedLabelQueries, TextLabelQueries
from anytag.nn.model import RecognitionModel
from anytag.training.engine.autocast import autocast
from anytag.training.engine.loop import TrainingLoop
from anytag.training.families.tag_transfer import BoundLabelQueries
from anytag.training.lite.batches import LiteBatches
from anytag.training.lite.objective import LiteObjective
from anytag.training.recipes.config import LiteConfig, TrainingConfig, TrainingStage

StepFunction = Callable[[nn.Module, int, TrainingStage], tuple[Tensor, dict[str, float]]]


def run_config(base: TrainingConfig, setting: Setting, seed: int, steps: int, steps_per_epoch: int) -> TrainingConfig:
    """The recipe of a run."""
    stage = base.stages[0].model_copy(update={"epochs": steps / steps_per_epoch})
    return base.model_copy(
        update={"stages": (stage,), "seed": seed, "objective": base.objective.model_copy(update=setting.loss)}
    )


def build_model(data: ClaimsData, setting: Setting, seed: int) -> RecognitionModel:
    """Make a new model; parts shared by settings start from the same weights."""
    config = data.start.config
    torch.manual_seed(seed)
    model = RecognitionModel(config, len(data.prepared.vocabulary))
    torch.manual_seed(seed)
    if setting.queries == "learned":
        model.label_queries = LearnedLabelQueries(len(data.prepared.vocabulary), config.width)
    else:
        queries: TextLabelQueries = model.label_queries
        if setting.queries == "text":
            queries.offsets = None
        model.label_queries = BoundLabelQueries(queries, data.label_embeddings)
    if setting.distillation:
        model.teacher_head = nn.Linear(config.width, config.labels.width)
    encoder = load_imagenet_lite(variant=config.image_encoder.name)
    assert encoder.classifier is not None
    model.classifier.load_state_dict(encoder.classifier.state_dict())
    encoder.classifier = None
    model.image_encoder.load_state_dict(encoder.state_dict())
    model.image_encoder.to(memory_format=torch.channels_last)
    return model


def distillation_loss(features: Tensor, head: nn.Module, teacher: Tensor) -> Tensor:
    """Mean absolute distance of the whole picture's feature from the teacher's embedding (RAM section 3.2).

    Args:
        features: ``[B, width]``.
        head: Projection to the teacher's width.
        teacher: Unit vectors ``[B, D]``, rescaled to entries of about one, as for label queries.
    """
    return F.l1_loss(head(features).float(), teacher * teacher.shape[1] ** 0.5)


def make_step(data: ClaimsData, setting: Setting, config: TrainingConfig, batcher: LiteBatches) -> StepFunction:
    """The step of a run: the objective on cached tokens of the frozen encoder."""
    prepared = data.prepared
    assert isinstance(config.objective, LiteConfig)
    objective = LiteObjective(config.objective, prepared.prompts)
    hidden = data.held_out(config.seed) if setting.hold_out else np.empty(0, np.int64)

    def step(model: nn.Module, number: int, stage: TrainingStage, *_: object) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, RecognitionModel)
        batch = batcher.draw(number, stage)
        if len(hidden):
            batch = without(batch, hidden)
        assert batch.maps is not None
        tokens = batch.maps.flatten(2).transpose(1, 2)
        total, parts = objective(model, batch, tokens)
        if setting.distillation:
            teacher = data.teacher[torch.from_numpy(batch.indices)]
            loss = distillation_loss(model.features(tokens)[:, 0], model.teacher_head, teacher)
            total = total + data.config.distillation * loss
            parts["teacher"] = float(loss.detach())
        return total, parts

    return step


def make_batcher(data: ClaimsData, setting: Setting, config: TrainingConfig, manifests: Path) -> LiteBatches:
    """Batches of a run; with the same seed and pictures, they are the same for all settings."""
    prepared = data.prepared
    return LiteBatches(data.pairs(setting, manifests), prepared.texts, len(prepared.vocabulary), config)


@dataclass(frozen=True)
class Trained:
    """Result of a run: the averaged model, processor seconds since its last start, true tags per training picture."""

    model: RecognitionModel
    seconds: float
    tags: float


def train(data: ClaimsData, setting: Setting, seed: int, steps: int, folder: Path, manifests: Path) -> Trained:
    """Train, or continue a stopped run."""
    base = data.config.training.model_copy(update={"seed": seed})
    settled = base.model_copy(update={"objective": base.objective.model_copy(update=setting.loss)})
    batcher = make_batcher(data, setting, settled, manifests)
    config = run_config(base, setting, seed, steps, batcher.steps_per_epoch)
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(data, setting, seed)
    step = make_step(data, setting, config, batcher)
    start = time.process_time()
    loop = TrainingLoop(config, model, step, lambda *_: {}, batcher.steps_per_epoch, folder, data.report)
    if loop.resume():
        data.report(f"resumed at step {loop.step}")
    loop.run()
    averaged = loop.averaged()
    assert isinstance(averaged, RecognitionModel)
    tags = float(np.mean([len(picture.tags) for picture in batcher.pairs.pictures]))
    return Trained(averaged, time.process_time() - start, tags)


def measure_steps(data: ClaimsData, rounds: int = 6) -> dict[str, float]:
    """Seconds of a training step with and without captioning on idle cores.

    Measured as processor time of one thread divided by the number of cores, so that other programs do not matter;
    both kinds of steps take turns.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    runs, seconds = {}, {"joint": 0.0, "alone": 0.0}
    for name in seconds:
        setting = SETTINGS[name]
        base = data.config.training
        config = base.model_copy(update={"objective": base.objective.model_copy(update=setting.loss)})
        batcher = make_batcher(data, setting, config, Path())
        model = build_model(data, setting, 0).train()
        model.image_encoder.requires_grad_(False)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
        runs[name] = (model, make_step(data, setting, config, batcher), optimizer, config)
    for number in range(rounds + 2):
        for name, (model, step, optimizer, config) in runs.items():
            before = time.process_time()
            with autocast("cpu", config.precision):
                loss, _ = step(model, number, config.stages[0])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if number >= 2:  # The first ones allocate memory.
                seconds[name] += (time.process_time() - before) / rounds
    torch.set_num_threads(threads)
    return {name: value / (os.cpu_count() or 1) for name, value in seconds.items()}
