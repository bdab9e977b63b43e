"""A training run from data folder to trained model: what ``anytag train`` does."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from anytag.errors import UsageError
from anytag.foundations.report import Report
from anytag.model.directory import new_model, write_config
from anytag.nn.efficientnet_lite import EfficientNetLite, load_imagenet_lite
from anytag.nn.model import RecognitionModel
from anytag.training.engine.distributed import connect, first_process_first
from anytag.training.engine.loop import TrainingLoop
from anytag.training.families.initialization import find_start, read_start
from anytag.training.families.tag_transfer import carry_over
from anytag.training.lite.config import TrainingConfig
from anytag.training.lite.consensus import ConsensusReward
from anytag.training.lite.model_card import model_card
from anytag.training.lite.objective import Objective
from anytag.training.lite.pairs import Batcher
from anytag.training.lite.pixels import PictureReader
from anytag.training.lite.prepare import Prepared, find_shards, prepare
from anytag.training.lite.steps import LiteStep
from anytag.training.lite.validation import Validator


def train(
    config: TrainingConfig,
    data: Path,
    folder: Path,
    cache: Path | None = None,
    report: Report = print,
    stop_after: float | None = None,
) -> bool:
    """Run a recipe, or go on with it; the run folder receives the resolved recipe, the log and the model.

    Returns:
        Whether the run reached its end (it does not if ``stop_after`` seconds passed first).
    """
    strategy = connect(config.parallel, device="cpu")  # Batches and embeddings are there.
    if strategy.is_sharded:
        raise UsageError("parallel=fsdp: this recipe asks whole models between its stages, and is small; use ddp")
    report = report if strategy.is_first else lambda line: None
    folder.mkdir(parents=True, exist_ok=True)
    start = find_start(config.start, data) if config.start is not None else None
    with first_process_first():
        prepared = prepare(config, data, cache or folder / "cache", report, start)
    config = prepared.config
    if strategy.is_first:
        (folder / "recipe.json").write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    torch.manual_seed(config.seed)
    model = RecognitionModel(config.model, len(prepared.vocabulary))
    untouched = _fill_image_encoder(model)
    if start is not None:
        known = read_start(start, lambda: prepared.label_embeddings)
        carry_over(known, model, range(len(prepared.vocabulary)))
    model.image_encoder.to(memory_format=torch.channels_last)
    batcher = Batcher(
        prepared.pairs,
        prepared.texts,
        prepared.vocabulary,
        batch_size=config.batch_size,
        text_batch_size=config.text_batch_size,
        views=config.data.views,
        loss=config.loss,
        seed=config.seed,
    )
    losses = [stage.loss or config.loss for stage in config.stages]
    tokenizer, reward = prepared.tokenizer, None
    if any(loss.consensus for loss in losses):
        reward = ConsensusReward(prepared.pairs.pictures, tokenizer.start_id, tokenizer.end_id)
    objectives = [Objective(loss, prepared.label_embeddings, prepared.prompts, reward) for loss in losses]
    pictures = held_out = None
    if any(stage.end_to_end for stage in config.stages):
        shards = find_shards(data, config.data.validation)
        held_out = PictureReader(shards, config.model.image_encoder.resolution, config.seed)
        shards = find_shards(data, config.data.train, exclude=shards)
        pictures = PictureReader(shards, config.model.image_encoder.resolution, config.seed)
    validator = Validator(
        prepared.validation,
        prepared.vocabulary,
        prepared.label_embeddings,
        prepared.tokenizer,
        prepared.prompts,
        held_out,
    )

    step = LiteStep(prepared, batcher, objectives, untouched, pictures, folder, report)

    def validate(model: torch.nn.Module, final: bool) -> dict[str, float]:
        assert isinstance(model, RecognitionModel)
        return validator(model, final)

    loop = TrainingLoop(config, model, step, validate, batcher.steps_per_epoch, folder, report, strategy=strategy)
    average = loop.averaged()
    assert isinstance(average, RecognitionModel)
    step.average = average
    if loop.resume():
        report(f"resumed at step {loop.step}")
    finished = loop.run(stop_after)
    if not strategy.is_first:
        return finished
    save_weights(average, prepared, folder / "model")
    card = model_card(
        config,
        prepared.vocabulary,
        len(prepared.pairs),
        len(prepared.pairs.caption_embeddings),
        len(prepared.texts),
        _last_figures(folder / "log.jsonl"),
    )
    (folder / "model" / "README.md").write_text(card, encoding="utf-8")
    return finished


def _fill_image_encoder(model: RecognitionModel) -> EfficientNetLite:
    """Give a model ImageNet's weights; gives the encoder as it is before training."""
    encoder = load_imagenet_lite(variant=model.config.image_encoder.name)
    assert encoder.classifier is not None
    model.classifier.load_state_dict(encoder.classifier.state_dict())
    encoder.classifier = None
    model.image_encoder.load_state_dict(encoder.state_dict())
    return encoder.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]


def _last_figures(log: Path) -> dict[str, float]:
    """The figures of the last validation in a run's log; none before the first."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    found = [record["validation"] for record in records if "validation" in record]
    return found[-1] if found else {}


def save_weights(model: torch.nn.Module, prepared: Prepared, folder: Path) -> None:
    """Write the torch half of a model directory: weights, config, vocabulary, tokenizer, label embeddings.

    A kill on the way leaves what was there before, or the new model whole.
    """
    from safetensors.torch import save_file, save_model

    with new_model(folder) as part:
        save_model(model, str(part / "model.safetensors"))
        save_file({"text_embeddings": prepared.label_embeddings}, part / "label_queries.safetensors")
        prepared.vocabulary.save(part / "vocabulary.json")
        prepared.tokenizer.save(part / "tokenizer.json")
        write_config(part, prepared.config.model, [path.name for path in part.iterdir()])
