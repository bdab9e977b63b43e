"""Set up a run of the ``lite`` objective: task, batches and validation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from anytag.errors import UsageError
from anytag.foundations.report import Report
from anytag.nn.efficientnet_lite import load_imagenet_lite
from anytag.training.engine.distributed import Strategy, first_process_first
from anytag.training.engine.task import Setup
from anytag.training.families.batches import Collator
from anytag.training.families.data_sources import RunData
from anytag.training.families.initialization import InitialModel, bind_label_queries
from anytag.training.families.validation import Validator, stream_examples
from anytag.training.lite.batches import LiteBatches
from anytag.training.lite.consensus import ConsensusReward
from anytag.training.lite.data import held_out_examples, prepare
from anytag.training.lite.feature_cache import PictureReader
from anytag.training.lite.objective import LiteObjective
from anytag.training.lite.task import LiteTask, Teachers
from anytag.training.recipes.config import LiteConfig, TrainingConfig

#: Cached features are in main memory, and models of this size train on a CPU.
DEVICE: Literal["cpu"] = "cpu"

#: Pictures per validation batch, which fit into the CPU's cache without gradients.
_VALIDATION_BATCH = 8


def set_up(
    config: TrainingConfig,
    start: InitialModel,
    run_data: RunData,
    strategy: Strategy,
    folder: Path,
    cache: Path,
    report: Report,
) -> Setup:
    """Set up a run of the ``lite`` objective.

    Raises:
        UsageError: If the recipe does not fit the data or the model.
    """
    if strategy.is_sharded:
        raise UsageError("parallel=fsdp: this recipe asks whole models between its stages, and is small; use ddp")
    if start.config.image_encoder.swin is not None or start.config.labels.kind != "text":
        raise UsageError(f"LiteConfig trains lite models only, not a {start.config.family} model")
    if config.parser == "none":
        raise UsageError("LiteConfig learns the tags of captions; parser=none leaves it without any")
    captioner = start.config.captioner
    for used in config.objectives:
        assert isinstance(used, LiteConfig)
        if captioner is not None and (longest := max(used.caption_tokens, used.tag_tokens)) > captioner.positions:
            raise UsageError(
                f"objective: {longest} tokens (caption_tokens, tag_tokens) do not fit into the captioner's "
                f"{captioner.positions} positions"
            )
    encoder = start.config.image_encoder
    untouched = load_imagenet_lite(variant=encoder.name)
    untouched.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with first_process_first():
        data = prepare(config, start, run_data, cache, untouched, report)
    start.vocabulary = data.vocabulary
    untouched.classifier = None
    untouched.requires_grad_(False)
    start.model.image_encoder.to(memory_format=torch.channels_last)
    bind_label_queries(start)
    settings, reward = config.objectives, None
    if any(isinstance(used, LiteConfig) and used.consensus for used in settings):
        reward = ConsensusReward(data.pairs.pictures)
    assert isinstance(settings[0], LiteConfig)
    objective = LiteObjective(settings[0], data.prompts, reward)
    teachers = Teachers(config, data, untouched, folder, report)
    task = LiteTask(start.model, objective, settings, config.encoder_weight_decay, teachers)
    on_pixels = any(stage.cached == "nothing" for stage in config.stages)
    reader = PictureReader(run_data.sources, data.shards, encoder, config.seed) if on_pixels else None
    batches = LiteBatches(data.pairs, data.texts, len(data.vocabulary), config, reader)
    validator = None
    if run_data.validation:
        if on_pixels:  # Cached maps are not those of a trained lower encoder.
            examples = stream_examples(config, run_data, encoder.preprocessing)
        else:
            examples = held_out_examples(data.held_out, run_data.tags, config.validation_pictures)
        validator = Validator(examples, Collator(start.config.image_encoder, data.vocabulary), _VALIDATION_BATCH)
    return Setup(task, batches, validator, batches.steps_per_epoch, len(data.pairs))
