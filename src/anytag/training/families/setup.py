"""Set up a run of an official objective: task, batches and validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from anytag.datasets.sources import IndexedSource, SampleSource
from anytag.datasets.stream import SampleStream
from anytag.errors import UsageError
from anytag.foundations.report import Report
from anytag.language.tokenizers.bert_tokenizer import CAPTION_TOKENS
from anytag.model.directory import ALIGNMENT_FILE
from anytag.nn.weights import read_alignment
from anytag.training.engine.distributed import Strategy, first_process_first
from anytag.training.engine.task import Setup
from anytag.training.families.batches import (
    Collator,
    Example,
    ExampleLoader,
    PictureTeacher,
    StreamBatches,
)
from anytag.training.families.data_sources import RunData, find_path
from anytag.training.families.feature_cache import CachedLoader, TokenCache
from anytag.training.families.initialization import InitialModel, bind_label_queries
from anytag.training.families.objectives import Tag2TextObjective
from anytag.training.families.task import FamilyTask, RecognizedGuides, make_objective
from anytag.training.families.teachers import CachedTeacher, ClipTeacher
from anytag.training.families.validation import Validator, stream_examples
from anytag.training.recipes.config import AnyObjectiveConfig, RamPlusConfig, Tag2TextConfig, TrainingConfig

#: Pictures per validation batch; larger ones are not faster without gradients.
_VALIDATION_BATCH = 32


def set_up(
    config: TrainingConfig,
    start: InitialModel,
    run_data: RunData,
    strategy: Strategy,
    device: torch.device,
    cache: Path,
    report: Report,
) -> Setup:
    """Set up a run of an official objective; tokens, for stages that read them, are cached.

    Raises:
        UsageError: If the recipe does not fit the data, the model or the teacher.
        ModelError: If weights do not fit.
    """
    captioner = start.config.captioner
    if start.tokenizer is not None and captioner is not None and captioner.positions < CAPTION_TOKENS:
        raise UsageError(
            f"captions of up to {CAPTION_TOKENS} word pieces do not fit into the captioner's {captioner.positions} "
            "positions; set model.captioner.positions"
        )
    count = count_samples(config, run_data.sources)
    steps_per_epoch = max(1, count // config.batch_size)
    at_once = max(1, config.batch_size // (strategy.world * config.accumulate))
    task = make_task(config, start, steps_per_epoch, at_once).to(device)
    collate = _collator(config, start, run_data.folder, device)
    stream = _stream(config, run_data, start, strategy)
    validator = None
    if run_data.validation:
        examples = stream_examples(config, run_data, start.config.image_encoder.preprocessing)
        validator = Validator(examples, collate, min(_VALIDATION_BATCH, config.batch_size))
    cached = _cached_loader(config, start, run_data, cache, report)
    batches = StreamBatches(stream, collate, config.batch_size, cached)
    return Setup(task, batches, validator, steps_per_epoch, count)


def make_task(config: TrainingConfig, start: InitialModel, steps_per_epoch: int, at_once: int) -> FamilyTask:
    """Build the task of a recipe, whose objective sees ``at_once`` pictures per call."""
    model = start.model
    bind_label_queries(start)
    settings = list(config.objectives)
    torch.manual_seed(config.seed)
    objective = make_objective(
        _with_every_part(settings), model, start.tokenizer, config.momentum, config.alignment_width, steps_per_epoch
    )
    objective.sum_scale = (config.pictures_per_loss or config.batch_size) / at_once
    encoder = objective.encoder if isinstance(objective, Tag2TextObjective) else None
    if encoder is not None and start.directory is not None and start.directory.has(ALIGNMENT_FILE):
        assert isinstance(objective, Tag2TextObjective)
        assert objective.contrast is not None
        known = read_alignment(start.directory.file(ALIGNMENT_FILE), model, encoder.match_id)
        encoder.load_state_dict(known.state_dict())
        # The momentum copies start as the encoder.
        objective.contrast.encoder_copy.update(encoder, 0.0)
    guides = None
    if config.recognized_share:
        if start.tokenizer is None:
            raise UsageError("recognized_share is of captions, and this model learns none; leave it at 0")
        guides = RecognizedGuides(
            config.recognized_share, config.recognized_threshold, start.vocabulary, start.tokenizer
        )
    return FamilyTask(model, objective, settings, config.encoder_weight_decay, guides)


def _with_every_part(settings: Sequence[AnyObjectiveConfig]) -> AnyObjectiveConfig:
    """The first stage's settings, plus the components of later stages, which have parameters of their own."""
    whole = settings[0]
    if not isinstance(whole, Tag2TextConfig):
        return whole
    parts = {name: max(getattr(each, name) for each in settings) for name in ("contrast", "matching")}
    return whole.model_copy(update=parts)


def count_samples(config: TrainingConfig, sources: Sequence[SampleSource]) -> int:
    """Samples per epoch, over all processes."""
    if config.stream.samples_per_epoch is not None:
        return config.stream.samples_per_epoch
    indexed = [source for source in sources if isinstance(source, IndexedSource)]
    if len(indexed) < len(sources):
        raise UsageError(
            "how many samples streamed sources hold is not known before they are read; set stream.samples_per_epoch"
        )
    return sum(len(source) for source in indexed)


def loader(config: TrainingConfig, start: InitialModel, run_data: RunData) -> ExampleLoader:
    """Build the loader of training examples."""
    preprocessing = start.config.image_encoder.preprocessing
    return ExampleLoader(run_data.tags, preprocessing, config.augmentation, config.tags, config.words, config.seed)


def _cached_loader(
    config: TrainingConfig, start: InitialModel, run_data: RunData, cache: Path, report: Report
) -> CachedLoader | None:
    """Compute tokens for stages that read them, and build their loader; ``None`` if there are no such stages."""
    if not any(stage.cached == "tokens" for stage in config.stages):
        return None
    encoder, sizes = start.model.image_encoder, start.config.image_encoder
    tokens = TokenCache(
        encoder, cache, sizes, config.seed, report, run_data.bad_samples, augmentation=config.augmentation
    )
    was_training = encoder.training
    encoder.eval()
    with first_process_first():
        shards = tokens.open(run_data.sources, config.views)
    encoder.train(was_training)
    return CachedLoader(loader(config, start, run_data), shards)


def _stream(
    config: TrainingConfig, run_data: RunData, start: InitialModel, strategy: Strategy
) -> SampleStream[Example]:
    settings = config.stream
    return SampleStream(
        run_data.sources,
        seed=config.seed,
        rank=strategy.rank,
        world_size=strategy.world,
        shuffle=settings.shuffle,
        window=settings.window,
        load=loader(config, start, run_data),
        threads=settings.threads,
        # A whole batch is decoded while the previous one is trained on.
        ahead=max(16, config.batch_size // (strategy.world * config.accumulate)),
        bad_share=settings.bad_share,
        bad_minimum=settings.bad_minimum,
        log=run_data.bad_samples,
    )


def _collator(config: TrainingConfig, start: InitialModel, data: Path, device: torch.device) -> Collator:
    texts = None
    if any(isinstance(used, RamPlusConfig) and used.alignment for used in config.objectives):
        texts = start.texts
        if texts is None:
            raise UsageError(
                "alignment needs a text encoder for captions; name a CLIP directory as teacher.clip, or set "
                "objective.alignment=0"
            )
    return Collator(
        start.config.image_encoder,
        start.vocabulary,
        start.tokenizer,
        _teacher(config, start, data, device),
        texts,
        device,
        official=getattr(config.objective, "official", False),
    )


def _teacher(config: TrainingConfig, start: InitialModel, data: Path, device: torch.device) -> PictureTeacher | None:
    if not any(getattr(used, "distillation", 0.0) for used in config.objectives):
        return None
    teacher: CachedTeacher | ClipTeacher
    if config.teacher.cached is not None:
        teacher = CachedTeacher(find_path(config.teacher.cached, data))
    else:
        assert config.teacher.clip is not None  # Checked in prepare.
        teacher = ClipTeacher.load(find_path(config.teacher.clip, data), start.config.image_encoder, device)
    if teacher.width != start.config.features:
        raise UsageError(
            f"the teacher's embeddings are {teacher.width} wide, the model's features {start.config.features}; "
            "take another teacher, or set objective.distillation=0"
        )
    return teacher
