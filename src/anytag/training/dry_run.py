"""A dry run: prepare a run up to its first step, describe its data, and draw training samples."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from anytag.datasets.samples import Sample
from anytag.datasets.sources import IndexedSource, spread
from anytag.errors import PictureError
from anytag.foundations.atomic_files import whole_file
from anytag.foundations.report import Report
from anytag.foundations.wording import counted
from anytag.model.vocabulary import TagVocabulary
from anytag.training.engine.distributed import Strategy, find_place
from anytag.training.families.data_findings import SourceFindings, check_source, shared_pictures
from anytag.training.families.setup import count_samples, loader
from anytag.training.lite.feature_cache import augment
from anytag.training.prepared_run import PreparedRun, filling, prepare
from anytag.training.recipes.config import TrainingConfig

#: Samples that are drawn, and that are tried for them.
_DRAWN, _TRIED = 5, 50

#: Tags that are listed as the most frequent and as the rarest.
_LISTED = 10

#: Side of a drawn sample, height of the text below it, and gap, in pixels.
_SIDE, _WORDS, _GAP = 256, 118, 12


def dry_run(
    config: TrainingConfig,
    data: Path,
    folder: Path,
    report: Report = print,
    cache: Path | None = None,
    picture: Path | None = None,
    device: str | None = None,
) -> Path | None:
    """Prepare a run, report on its data, and draw five samples as the network would see them; train nothing.

    Vocabulary, texts and the model are prepared as for the run, so that mistakes in the recipe show up; cached results
    are kept for it. Features of all pictures, for stages that read them, are not computed. Arguments and errors are
    those of :func:`~anytag.training.run.train`; ``picture`` is where samples are drawn, by default ``samples.png`` in
    the run folder.

    Returns:
        Path of the drawing; ``None`` if no sample can be read.
    """
    with filling(cache or folder / "cache", report):
        folder.mkdir(parents=True, exist_ok=True)
        prepared = prepare(config, data, folder, cache, report)
        _report_data(config, prepared, report)
        if not (prepared.is_lite or prepared.reads_cache):
            prepared.set_up(Strategy(), find_place(device), report)
        _report_steps(config, prepared, report)
        samples = _samples(prepared)
        prepared.close()
        if not samples:
            return None
        target = picture or folder / "samples.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        draw_samples(samples, target)
        return target


def _report_data(config: TrainingConfig, prepared: PreparedRun, report: Report) -> None:
    run_data = prepared.run_data
    findings = [check_source(source, run_data.tags, config.tags, by_content=True) for source in run_data.sources]
    indexed = [source for source in run_data.sources if isinstance(source, IndexedSource)]
    total = sum(map(len, indexed)) if len(indexed) == len(run_data.sources) else None
    for line in describe(findings, prepared.start.vocabulary, total):
        report(line)
    shared = shared_pictures(run_data.sources, run_data.validation, config.validation_pictures, by_content=True)
    if run_data.validation:
        report(f"validation pictures that are trained on as well: {shared:,}")
    for found in findings:
        for line in found.lines():
            report(f"warning: {line}")


def _report_steps(config: TrainingConfig, prepared: PreparedRun, report: Report) -> None:
    steps = max(1, count_samples(config, prepared.run_data.sources) // config.batch_size)
    stages = [(stage.name, max(1, round(stage.epochs * steps))) for stage in config.stages]
    named = ", ".join(f"{name} {number:,}" for name, number in stages)
    total = sum(number for _, number in stages)
    report(f"steps: {steps:,} an epoch of {config.batch_size:,} pictures each, {total:,} in all ({named})")


@dataclass(frozen=True)
class TrainingSample:
    """A sample as the network sees it.

    Attributes:
        pixels: ``[R, R, 3]``, 0 to 255, after augmentation.
        tags: Names of its target tags.
        caption: The drawn caption; empty if there is none.
    """

    pixels: npt.NDArray[np.uint8]
    tags: tuple[str, ...]
    caption: str = ""


def _samples(prepared: PreparedRun) -> list[TrainingSample]:
    """Some samples of the first epoch, evenly spread over the sources."""
    load = _lite_sample if prepared.is_lite else _family_sample
    loaded: list[TrainingSample] = []
    sources = prepared.run_data.sources
    for item in (item for source in sources for item in spread(source, max(1, _TRIED // len(sources)))):
        if isinstance(item, Sample):
            with suppress(PictureError):
                loaded.append(load(prepared, item))
    chosen = sorted({round(place * (len(loaded) - 1) / max(1, _DRAWN - 1)) for place in range(_DRAWN)})
    return [loaded[place] for place in chosen] if loaded else []


def _family_sample(prepared: PreparedRun, sample: Sample) -> TrainingSample:
    example = loader(prepared.config, prepared.start, prepared.run_data)(sample, 0)
    assert example.pixels is not None
    names = tuple(prepared.start.vocabulary[id].name for id in example.tags)
    return TrainingSample(example.pixels, names, example.caption)


def _lite_sample(prepared: PreparedRun, sample: Sample) -> TrainingSample:
    config, preprocessing = prepared.config, prepared.start.config.image_encoder.preprocessing
    read = preprocessing.read(sample.picture, sample.place, draft=False)
    # Like the second cached view; the first is not augmented.
    pixels = preprocessing.pixels(augment(read, random.Random(f"{config.seed}/1/{sample.source}")))
    ids = prepared.run_data.tags.of_picture(sample, config.tags) or set()
    names = tuple(prepared.start.vocabulary[id].name for id in sorted(ids))
    return TrainingSample(pixels, names, sample.captions[0] if sample.captions else "")


def describe(findings: Sequence[SourceFindings], vocabulary: TagVocabulary, total: int | None) -> list[str]:
    """Describe pictures, captions and tags of training data, of ``total`` samples if known before they are read."""
    usable, distinct = sum(f.usable for f in findings), len(set().union(*(f.pictures for f in findings)))
    checked = sum(f.samples for f in findings)
    lines = [f"pictures: {checked:,}" if total is None or total == checked else f"pictures: {total:,}"]
    if total != checked:
        lines.append(f"looked at: {checked:,} of them, evenly spread; what follows is about these")
    repeated = usable - distinct
    lines.append(f"distinct: {distinct:,}" + (f" ({repeated:,} are there more than once)" if repeated else ""))
    if captions := sum(f.captions for f in findings):
        lines.append(f"captions: {captions:,}, {captions / max(1, usable):.1f} a picture")
    counts = np.array([count for f in findings for count in f.tag_counts])
    if not len(counts):
        return [*lines, "tags: no picture has any"]
    without = f"; {counted(usable - len(counts), 'picture')} without any" if usable > len(counts) else ""
    lines.append(
        f"tags a picture: {counts.mean():.1f} on average, {counts.min()} to {counts.max()}, median "
        f"{np.median(counts):g}{without}"
    )
    named: Counter[int] = Counter()
    for found in findings:
        named.update(found.tags)
    order = sorted(named, key=lambda id: (named[id], vocabulary[id].name))
    never = len(vocabulary) - len(named)
    absent = f"; {never:,} of the vocabulary's {len(vocabulary):,} are in no picture" if never else ""
    frequent, rare = (
        ", ".join(f"{vocabulary[id].name} ({named[id]:,})" for id in ids[:_LISTED]) for ids in (order[::-1], order)
    )
    return [*lines, f"most frequent tags: {frequent}", f"rarest tags: {rare}{absent}"]


def draw_samples(samples: Sequence[TrainingSample], path: Path) -> None:
    """Write a PNG of samples side by side, with their tags and captions below, whole or not at all."""
    width = _GAP + len(samples) * (_SIDE + _GAP)
    sheet = Image.new("RGB", (width, _SIDE + _WORDS + 2 * _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, sample in enumerate(samples):
        left = _GAP + place * (_SIDE + _GAP)
        picture = Image.fromarray(sample.pixels)
        # Enlarged without interpolation, to show the resolution of the input.
        sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (left, _GAP))
        lines = _wrapped(", ".join(sample.tags) or "(no tags)", font, 4)
        lines += _wrapped(f"“{sample.caption}”", font, 6 - len(lines)) if sample.caption else []
        for number, line in enumerate(lines):
            draw.text((left, _GAP + _SIDE + 6 + 18 * number), line, fill="black", font=font)
    with whole_file(path) as part:
        sheet.save(part, format="PNG")


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, most: int) -> list[str]:
    """Wrap a text at the width of a sample, and cut it after ``most`` lines."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > _SIDE:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} …"]
