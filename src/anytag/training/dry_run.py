"""A run up to its first step: what its data hold, what cannot be learned from, and what the network will see."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from anytag.datasets.samples import Sample
from anytag.datasets.sources import IndexedSource, spread
from anytag.errors import PictureError
from anytag.foundations.report import Report
from anytag.training.engine.distributed import Strategy, find_place
from anytag.training.families.data_findings import look_at, shared_pictures
from anytag.training.families.data_report import Shown, describe, draw_samples
from anytag.training.families.setup import count_samples, loader
from anytag.training.lite.feature_cache import augment
from anytag.training.prepared_run import PreparedRun, filling, prepare
from anytag.training.recipes.config import TrainingConfig

#: Samples that are drawn, and how many are tried for them.
_SHOWN, _TRIED = 5, 50


def dry_run(
    config: TrainingConfig,
    data: Path,
    folder: Path,
    report: Report = print,
    cache: Path | None = None,
    picture: Path | None = None,
    device: str | None = None,
) -> Path | None:
    """Prepare a run, say what its data hold, and draw five samples as the network would see them; train nothing.

    Vocabulary, texts and the model are made as for the run, so that mistakes in the recipe come out; what is made once
    stays in the cache for it. Features of all pictures, where stages read them, are left for the run.

    Args:
        config: The recipe.
        data: Folder that its paths start at.
        folder: The run folder.
        report: Receives the lines.
        cache: Folder for what is made once; ``None``: in the run folder.
        picture: Where to draw the samples; ``None``: ``samples.png`` in the run folder.
        device: See :func:`~anytag.training.run.train`.

    Returns:
        The picture; ``None`` if no sample can be read.

    Raises:
        UsageError: If the recipe asks for what the data, the model or the teacher do not have.
        ModelError: If weights do not fit.
    """
    with filling(cache or folder / "cache", report):
        return _dry_run(config, data, folder, report, cache, picture, device)


def _dry_run(
    config: TrainingConfig,
    data: Path,
    folder: Path,
    report: Report,
    cache: Path | None,
    picture: Path | None,
    device: str | None,
) -> Path | None:
    folder.mkdir(parents=True, exist_ok=True)
    prepared = prepare(config, data, folder, cache, report)
    given, vocabulary = prepared.given, prepared.start.vocabulary
    findings = [look_at(source, given.tags, config.tags, by_content=True) for source in given.sources]
    known = all(isinstance(source, IndexedSource) for source in given.sources)
    total = sum(len(source) for source in given.sources if isinstance(source, IndexedSource)) if known else None
    for line in describe(findings, vocabulary, total):
        report(line)
    shared = shared_pictures(given.sources, given.validation, config.validation_pictures, by_content=True)
    if given.validation:
        report(f"validation pictures that are trained on as well: {shared:,}")
    for found in findings:
        for line in found.lines():
            report(f"warning: {line}")
    if not (prepared.is_lite or prepared.reads_cache):
        prepared.set_up(Strategy(), find_place(device), report)
    _say_course(config, prepared, report)
    samples = _samples(prepared)
    prepared.close()
    if not samples:
        return None
    target = picture or folder / "samples.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    draw_samples(samples, target)
    return target


def _say_course(config: TrainingConfig, prepared: PreparedRun, report: Report) -> None:
    count = count_samples(config, prepared.given.sources)
    steps = max(1, count // config.batch_size)
    stages = [max(1, round(stage.epochs * steps)) for stage in config.stages]
    named = ", ".join(f"{stage.name} {number:,}" for stage, number in zip(config.stages, stages, strict=True))
    report(f"steps: {steps:,} an epoch of {config.batch_size:,} pictures each, {sum(stages):,} in all ({named})")


def _samples(prepared: PreparedRun) -> list[Shown]:
    """Some samples, evenly spread over the sources, as they come in the first epoch."""
    show = _as_lite_sees(prepared) if prepared.is_lite else _as_families_see(prepared)
    shown: list[Shown] = []
    sources = prepared.given.sources
    for item in (item for source in sources for item in spread(source, max(1, _TRIED // len(sources)))):
        if isinstance(item, Sample):
            with suppress(PictureError):
                shown.append(show(item))
    chosen = sorted({round(place * (len(shown) - 1) / max(1, _SHOWN - 1)) for place in range(_SHOWN)})
    return [shown[place] for place in chosen] if shown else []


def _as_families_see(prepared: PreparedRun) -> Callable[[Sample], Shown]:
    load, vocabulary = loader(prepared.config, prepared.start, prepared.given), prepared.start.vocabulary

    def show(sample: Sample) -> Shown:
        example = load(sample, 0)
        assert example.pixels is not None
        return Shown(example.pixels, tuple(vocabulary[id].name for id in example.tags), example.caption)

    return show


def _as_lite_sees(prepared: PreparedRun) -> Callable[[Sample], Shown]:
    config, tags = prepared.config, prepared.given.tags
    preprocessing = prepared.start.config.image_encoder.preprocessing

    def show(sample: Sample) -> Shown:
        read = preprocessing.read(sample.picture, sample.place, draft=False)
        # As the second of the cached views is: the first is the picture as it is.
        pixels = preprocessing.pixels(augment(read, random.Random(f"{config.seed}/1/{sample.source}")))
        ids = tags.of_picture(sample, config.tags) or set()
        names = tuple(prepared.start.vocabulary[id].name for id in sorted(ids))
        return Shown(pixels, names, sample.captions[0] if sample.captions else "")

    return show
