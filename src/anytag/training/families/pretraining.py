"""A run of a published family, from any sources to a model directory: pre-training and every fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anytag.datasets.health import JsonLinesLog
from anytag.datasets.sources import IndexedSource, SampleSource
from anytag.datasets.stream import SampleStream
from anytag.errors import UsageError
from anytag.foundations.report import Report
from anytag.language.parsing.parsed_captions import ParsedCaptions
from anytag.language.parsing.parser import load_parser
from anytag.model.directory import ALIGNMENT_FILE
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.alignment_file import read_alignment
from anytag.nn.label_queries import TextLabelQueries
from anytag.training.engine.config import LoopConfig
from anytag.training.engine.distributed import Share, Strategy, connect, first_process_first
from anytag.training.engine.stream_resume import StreamLoop
from anytag.training.families.data_sources import find_path, open_sources
from anytag.training.families.initialization import Start, begin, find_start
from anytag.training.families.learner import Learner, RecognisedGuides, make_objective
from anytag.training.families.model_files import pretraining_card, write_model
from anytag.training.families.objectives import RamPlusConfig, Tag2TextObjective
from anytag.training.families.pair_source import (
    PairBatches,
    PairCollator,
    PairExample,
    PairLoader,
    PictureTeacher,
    SampleTags,
)
from anytag.training.families.pair_validation import PairValidator
from anytag.training.families.pretraining_config import PretrainingConfig, PretrainingStage
from anytag.training.families.tag_transfer import BoundLabelQueries
from anytag.training.families.teachers import CachedTeacher, ClipTeacher
from anytag.training.families.vocabularies import read_vocabulary

#: Pictures of a validation batch; activations of more gain nothing without gradients.
_VALIDATION_BATCH = 32


def pretrain(
    config: PretrainingConfig,
    data: Path,
    folder: Path,
    report: Report = print,
    stop_after: float | None = None,
) -> bool:
    """Run a recipe, or go on with it.

    The run folder receives the recipe (``recipe.json``), the log (``log.jsonl``), samples that could not be read
    (``bad-samples.jsonl``), checkpoints, and the model (``model/``), which ``anytag.load(…, backend="torch")`` opens.
    Under ``torchrun`` every process calls this.

    Args:
        config: The recipe.
        data: Folder that its paths start at.
        folder: The run folder; one that is there is taken up where it stopped.
        report: Receives progress.
        stop_after: Stop after this many seconds of training, with a checkpoint.

    Returns:
        Whether the run reached its end.

    Raises:
        UsageError: If the recipe asks for what the data, the model or the teacher do not have.
        ModelError: If weights do not fit.
        DataError: If too many samples cannot be read.
    """
    strategy = connect(config.parallel)
    report = report if strategy.is_first else lambda line: None
    folder.mkdir(parents=True, exist_ok=True)
    parser = None if config.parser == "none" else ParsedCaptions(load_parser(config.parser), folder / "cache")
    directory = find_start(config.start, data) if config.start is not None else None
    listed = _listed(config, data, directory.vocabulary if directory is not None else None)
    sources = open_sources(config.sources, data, listed)
    validation = open_sources(config.validation, data, listed)
    for source in (*sources, *validation):
        report(source.description)
    with first_process_first():  # The others find on disk what it has counted and embedded.
        start = begin(config, data, folder / "cache", directory, sources, parser)
    report(f"{start.config.family}: {_millions(start.model)}, {len(start.vocabulary):,} tags")
    count = _count(config, sources)
    device = strategy.device_of(start.model) if strategy.world > 1 else _device()
    steps_per_epoch = max(1, count // config.batch_size)
    at_once = max(1, config.batch_size // (strategy.world * config.accumulate))
    learner = make_learner(config, start, steps_per_epoch, at_once).to(device)
    tags = SampleTags(start.vocabulary, parser)
    collate = _collator(config, start, data, device)
    stream = _stream(config, sources, tags, start, strategy, JsonLinesLog(folder / "bad-samples.jsonl"))
    batches = PairBatches(stream, collate)
    validator = None
    if validation:
        validator = PairValidator(
            validation,
            tags,
            collate,
            config.tags,
            config.validation_pictures,
            min(_VALIDATION_BATCH, config.batch_size),
            config.words,
            config.stream.threads,
        )

    def step(model: nn.Module, number: int, stage: PretrainingStage, share: Share) -> tuple[Tensor, dict[str, float]]:
        rows = share.rows(config.batch_size)
        return model(batches.draw(rows.stop - rows.start))

    def validate(model: nn.Module, final: bool) -> dict[str, float]:
        assert isinstance(model, Learner)
        return validator(model) if validator is not None else {}

    if strategy.is_first:
        (folder / "recipe.json").write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    loop = StreamLoop(config, learner, step, validate, steps_per_epoch, folder, report, learner_groups, strategy)
    loop.batches = batches
    if loop.resume():
        report(f"resumed at step {loop.step}")
    try:
        finished = loop.run(stop_after)
    finally:
        batches.close()
        if parser is not None:
            parser.flush()
    kept = loop.averaged()
    if strategy.is_first:
        assert isinstance(kept, Learner)
        figures = _last_figures(folder / "log.jsonl")
        card = pretraining_card(config, start, sources, validation, figures, loop.step)
        write_model(folder / "model", kept.model, start, card, figures.get("threshold"), kept.encoder, count)
    strategy.wait()
    return finished


def make_learner(config: PretrainingConfig, start: Start, steps_per_epoch: int, at_once: int) -> Learner:
    """The model and the objective of a recipe, as one module.

    Args:
        config: The recipe.
        start: What the run begins with.
        steps_per_epoch: Steps in one pass over the data.
        at_once: Pictures that the objective sees at once.
    """
    model = start.model
    if isinstance(model.label_queries, TextLabelQueries):
        assert start.label_embeddings is not None
        model.label_queries = BoundLabelQueries(model.label_queries, start.label_embeddings)
    settings = config.objective
    if config.pictures_per_loss is not None and isinstance(settings, RamPlusConfig):
        share = config.pictures_per_loss / at_once
        weights = {"tagging": settings.tagging * share, "alignment": settings.alignment * share}
        settings = settings.model_copy(update=weights)
    torch.manual_seed(config.seed)
    objective = make_objective(
        settings, model, start.tokenizer, config.momentum, config.alignment_width, steps_per_epoch
    )
    encoder = objective.encoder if isinstance(objective, Tag2TextObjective) else None
    if encoder is not None and start.directory is not None and start.directory.has(ALIGNMENT_FILE):
        assert isinstance(objective, Tag2TextObjective)
        assert objective.contrast is not None
        known = read_alignment(start.directory.file(ALIGNMENT_FILE), model, encoder.match_id)
        encoder.load_state_dict(known.state_dict())
        # The slow copies begin where the encoder does.
        objective.contrast.encoder_copy.update(encoder, 0.0)
    guides = None
    if config.recognised_share:
        if start.tokenizer is None:
            raise UsageError("recognised_share is of captions, and this model learns none; leave it at 0")
        guides = RecognisedGuides(
            config.recognised_share, config.recognised_threshold, start.vocabulary, start.tokenizer
        )
    return Learner(model, objective, guides)


def learner_groups(model: nn.Module, config: LoopConfig) -> list[dict[str, Any]]:
    """Parameter groups: the image encoder and the rest, each with what is decayed and what is not.

    The released code decays everything. Norms, biases, tables of positions and the temperatures are left out here:
    shrinking them only undoes what they learn.
    """
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        part = "encoder" if name.startswith("model.image_encoder.") else "decoder"
        is_decayed = parameter.ndim > 1 and "position" not in name and "embedding" not in name
        groups.setdefault((part, is_decayed), []).append(parameter)
    return [
        {"params": parameters, "part": part, "weight_decay": config.weight_decay if is_decayed else 0.0}
        for (part, is_decayed), parameters in groups.items()
    ]


def _listed(config: PretrainingConfig, data: Path, start: TagVocabulary | None) -> TagVocabulary | None:
    """The vocabulary that published lists may leave unsaid, where it is known before the data are read."""
    if start is not None and config.vocabulary.change == "keep":
        return start
    return read_vocabulary(find_path(config.vocabulary.tags, data)) if config.vocabulary.tags is not None else None


def _count(config: PretrainingConfig, sources: Sequence[SampleSource]) -> int:
    """Samples of an epoch, of all processes."""
    if config.stream.samples_per_epoch is not None:
        return config.stream.samples_per_epoch
    indexed = [source for source in sources if isinstance(source, IndexedSource)]
    if len(indexed) < len(sources):
        raise UsageError(
            "how many samples streamed sources hold is not known before they are read; set stream.samples_per_epoch"
        )
    return sum(len(source) for source in indexed)


def _stream(
    config: PretrainingConfig,
    sources: Sequence[SampleSource],
    tags: SampleTags,
    start: Start,
    strategy: Strategy,
    log: JsonLinesLog,
) -> SampleStream[PairExample]:
    settings = config.stream
    resolution = start.config.image_encoder.resolution
    return SampleStream(
        sources,
        seed=config.seed,
        rank=strategy.rank,
        world_size=strategy.world,
        shuffle=settings.shuffle,
        window=settings.window,
        load=PairLoader(tags, resolution, config.augmentation, config.tags, config.words, config.seed),
        threads=settings.threads,
        # A whole batch is decoded while the one before is learnt from.
        ahead=max(16, config.batch_size // (strategy.world * config.accumulate)),
        bad_share=settings.bad_share,
        bad_minimum=settings.bad_minimum,
        log=log,
    )


def _collator(config: PretrainingConfig, start: Start, data: Path, device: torch.device) -> PairCollator:
    objective = config.objective
    texts = None
    if isinstance(objective, RamPlusConfig) and objective.alignment:
        texts = start.texts
        if texts is None:
            raise UsageError(
                "alignment needs a text encoder for captions; name a CLIP directory as teacher.clip, or set "
                "objective.alignment=0"
            )
    return PairCollator(
        start.config.image_encoder,
        start.vocabulary,
        start.tokenizer,
        _teacher(config, start, data, device),
        texts,
        device,
        released=getattr(objective, "released", False),
    )


def _teacher(config: PretrainingConfig, start: Start, data: Path, device: torch.device) -> PictureTeacher | None:
    if not getattr(config.objective, "distillation", 0.0):
        return None
    teacher: CachedTeacher | ClipTeacher
    if config.teacher.cached is not None:
        teacher = CachedTeacher(find_path(config.teacher.cached, data))
    elif config.teacher.clip is not None:
        teacher = ClipTeacher.load(find_path(config.teacher.clip, data), start.config.image_encoder, device)
    else:
        raise UsageError(
            "distillation needs a teacher; name a CLIP directory as teacher.clip, or set objective.distillation=0"
        )
    if teacher.width != start.config.features:
        raise UsageError(
            f"the teacher's embeddings are {teacher.width} wide, the model's features {start.config.features}; "
            "take another teacher, or set objective.distillation=0"
        )
    return teacher


def _device() -> torch.device:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def _millions(model: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters"


def _last_figures(log: Path) -> dict[str, float]:
    """The figures of the last validation in a run's log; none before the first."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    found = [record["validation"] for record in records if "validation" in record]
    return found[-1] if found else {}
