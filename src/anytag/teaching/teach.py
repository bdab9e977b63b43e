"""Teach a model a user's own tags: read the pictures, find a line for each tag, write the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anytag.datasets.opening import below, guess_kind, open_source
from anytag.datasets.sources import SampleSource
from anytag.errors import UsageError
from anytag.evaluation.ranking import average_precision
from anytag.foundations.report import Report
from anytag.foundations.wording import counted
from anytag.inference.recognizer import Recognizer, load
from anytag.inference.taught_tags import TaughtTags
from anytag.model.directory import TAUGHT_FILE, ModelDirectory, find_model, new_model
from anytag.model.vocabulary import VocabularyTag
from anytag.teaching.config import SHIPPED, Source, TeachingConfig
from anytag.teaching.discriminant import Discriminant, fit_discriminant
from anytag.teaching.model_files import taught_tags, with_taught, write_taught
from anytag.teaching.negatives import Negatives, encoder_of, make_negatives, shipped_negatives
from anytag.teaching.pictures import Key, OwnPictures, find_tags, read_pictures

#: Fewer pictures than this leave it to chance what a tag turns out to mean.
_FEW = 10

#: Of its pictures a tag should find at least this share.
_LEAST_FOUND = 0.5


@dataclass(frozen=True)
class TaughtTag:
    """What came out of teaching a tag.

    Attributes:
        tag: As it stands in the model's vocabulary.
        is_new: Whether the model did not know it.
        pictures: How many it was learned from.
        found: Share of these that are found by what was learned from the others; NaN of a single one.
        false_positives: Share of negatives that it is found in, likewise; NaN if there are none.
        validated: Average precision on the validation pictures; NaN if none shows the tag.
    """

    tag: VocabularyTag
    is_new: bool
    pictures: int
    found: float
    false_positives: float
    validated: float = float("nan")

    def __str__(self) -> str:
        new = "new" if self.is_new else "known"
        parts = [f"{self.tag.name} ({new}): {counted(self.pictures, 'picture')}"]
        if not np.isnan(self.found):
            parts.append(f"{self.found:.0%} of them found by what the others taught")
        if not np.isnan(self.false_positives):
            parts.append(f"{self.false_positives:.2%} of negatives")
        if not np.isnan(self.validated):
            parts.append(f"average precision {self.validated:.3f} on validation pictures")
        return ", ".join(parts)


def teach(
    config: TeachingConfig, data: Path, out: Path, report: Report = print, threads: int | None = None
) -> list[TaughtTag]:
    """Teach a model tags by pictures, and write it to another folder.

    Everything that the model knew stays as it is, but for tags that are taught again: these are found in pictures like
    the user's as well as where they were.

    Args:
        config: What is taught to which model, and how.
        data: Folder that relative paths start at.
        out: The model directory to write; one that was taught tags before is replaced.
        report: Receives progress, in sentences.
        threads: Of the runtime; ``None``: all processors.

    Returns:
        What came of each tag, the new ones first.

    Raises:
        UsageError: If pictures, tags or negatives are missing, or ``out`` holds something else or is written by another
            process.
        ModelError: If the model cannot be loaded.
    """
    directory = find_start(config.start, data)
    if out.exists() and out.resolve() == directory.path.resolve():
        raise UsageError(f"{out}: is the model that is taught; give another folder")
    if out.exists() and not (out / TAUGHT_FILE).is_file() and (out.is_file() or any(out.iterdir())):
        raise UsageError(
            f"{out}: exists and is not a model that was taught tags; it is not replaced, give another folder"
        )
    # Whatever is missing, or cannot be written to, comes out before pictures are read.
    opened = _opened(config.sources, data, report)
    validation, negatives = _opened(config.validation, data, report), _opened(config.negatives, data, report)
    recognizer = load(directory.path, threads=threads)
    with new_model(out) as part:
        return _teach(config, recognizer, opened, validation, negatives, part, report)


def _teach(
    config: TeachingConfig,
    recognizer: Recognizer,
    sources: Sequence[SampleSource],
    validation: Sequence[SampleSource],
    others: Sequence[SampleSource],
    out: Path,
    report: Report,
) -> list[TaughtTag]:
    directory = recognizer.directory
    own = read_pictures(recognizer, sources, config.views, config.seed)
    _complain(own, report)
    tags = find_tags(own.counts(), directory.vocabulary)
    negatives = _negatives(config, recognizer, others, own, report)
    if negatives is None:
        report(
            "warning: nothing is known of other pictures than yours as this model's image encoder sees them, so the "
            "tags may be found in all kinds of pictures; name some others as negatives"
        )
        negatives = make_negatives(
            own.inputs[:, 0], [()] * len(own.inputs), directory.vocabulary, directory.config.features
        )
        negatives = replace(negatives, points=negatives.points[:0], shown=())
    lines = fit_tags(config, own, tags, negatives, directory)
    taught = taught_tags(lines, negatives, directory)
    vocabulary = with_taught(directory.vocabulary, tags.values(), lines, len(negatives.points))
    results = [
        TaughtTag(vocabulary[id], id >= len(directory.vocabulary), line.pictures, line.found, line.false_positives)
        for id, line in sorted(lines.items(), key=lambda item: (item[0] < len(directory.vocabulary), item[0]))
    ]
    if validation:
        results = _validated(config, recognizer, validation, own, taught, results, tags, report)
    for result in results:
        report(str(result))
        _warn(result, report)
    write_taught(out, recognizer, config.name, vocabulary, taught, [str(result) for result in results])
    return results


def find_start(start: str, data: Path) -> ModelDirectory:
    """The model that is taught.

    Args:
        start: A folder, relative to ``data`` or not, a hub id, or ``lite`` for the model that ships.
        data: The data folder.

    Raises:
        ModelError: If there is no such model.
    """
    inside = data / start
    if start == SHIPPED and not Path(start).exists() and not inside.exists():
        return find_model(None)
    return find_model(inside if inside.is_dir() else start)


def fit_tags(
    config: TeachingConfig,
    own: OwnPictures,
    tags: dict[Key, VocabularyTag],
    negatives: Negatives,
    directory: ModelDirectory,
) -> dict[int, Discriminant]:
    """A line for each tag, by its id.

    Raises:
        UsageError: If there is nothing to separate a tag from.
    """
    count, views, width = own.inputs.shape
    points = negatives.project(own.inputs.reshape(-1, width)).reshape(count, views, -1)
    named = [{tags[key].id for key in given} for given in own.tags]
    lines: dict[int, Discriminant] = {}
    for tag in {tag.id: tag for tag in tags.values()}.values():
        truth = np.array([tag.id in ids for ids in named])
        others = negatives.points[~negatives.showing(tag)]
        if truth.all() and not len(others):
            raise UsageError(
                f"all pictures show {tag.name!r}, so there is nothing to separate it from; name other pictures as "
                "negatives"
            )
        lines[tag.id] = fit_discriminant(
            points,
            truth,
            others,
            penalty=config.penalty,
            max_false_positives=config.max_false_positives,
            folds=config.folds,
            seed=config.seed,
        )
    return lines


def _opened(sources: Sequence[Source], data: Path, report: Report) -> list[SampleSource]:
    opened = [open_source(_with_classes(below(source, data))) for source in sources]
    for source in opened:
        report(source.description)
    return opened


def _with_classes(options: dict[str, Any]) -> dict[str, Any]:
    """A folder for each class is understood without being asked for."""
    path = options.get("path")
    if "classes" in options or not isinstance(path, str) or options.get("kind", "folder") != "folder":
        return options
    return {**options, "classes": None} if Path(path).is_dir() and guess_kind(path) == "folder" else options


def _complain(given: OwnPictures, report: Report) -> None:
    """Nothing is left out without a word."""
    if given.problems:
        shown = "".join(f"\n  {problem}" for problem in given.problems[:3])
        report(f"warning: pictures that could not be used: {len(given.problems):,}. The first:{shown}")
    if given.untagged:
        report(f"warning: pictures without tags, which are not used: {given.untagged:,}")
    if given.repeated:
        report(f"warning: pictures that are there more than once, which count once: {given.repeated:,}")


def _negatives(
    config: TeachingConfig, recognizer: Recognizer, sources: Sequence[SampleSource], own: OwnPictures, report: Report
) -> Negatives | None:
    """The bank that ships, pictures that the user names, or both."""
    directory = recognizer.directory
    shipped = shipped_negatives(directory)
    if not sources:
        return shipped
    given = read_pictures(recognizer, sources, 1, config.seed, tagged=False)
    _complain(given, report)
    taught = set(own.keys)
    strange = [row for row, key in enumerate(given.keys) if key not in taught]
    if len(strange) < len(given.keys):
        report(
            f"warning: negatives that are your own pictures, which are left out there: "
            f"{len(given.keys) - len(strange):,}"
        )
        if not strange:
            raise UsageError("all negatives are your own pictures; name pictures of other things")
    inputs, named = given.inputs[strange, 0], [given.tags[row] for row in strange]
    if shipped is not None:
        names = (*shipped.names, *sorted({name for tags in named for name, _ in tags} - set(shipped.names)))
        place = {name: number for number, name in enumerate(names)}
        shown = tuple(np.array(sorted({place[name] for name, _ in tags}), np.uint16) for tags in named)
        points = np.concatenate([shipped.points, shipped.project(inputs)])
        return replace(shipped, points=points, names=names, shown=(*shipped.shown, *shown))
    tags = find_tags(given.counts(), directory.vocabulary)
    vocabulary = with_taught(directory.vocabulary, tags.values())
    ids = [sorted({tags[key].id for key in keys}) for keys in named]
    return make_negatives(inputs, ids, vocabulary, directory.config.features, encoder_of(directory))


def _validated(
    config: TeachingConfig,
    recognizer: Recognizer,
    sources: Sequence[SampleSource],
    own: OwnPictures,
    taught: TaughtTags,
    results: list[TaughtTag],
    tags: dict[Key, VocabularyTag],
    report: Report,
) -> list[TaughtTag]:
    """Results with average precisions on pictures that nothing was learned from; other tags' pictures are negatives."""
    given = read_pictures(recognizer, sources, 1, config.seed)
    _complain(given, report)
    if shared := len(set(given.keys) & set(own.keys)):
        report(f"warning: validation pictures that are taught as well, so the figures flatter: {shared:,}")
    inputs = given.inputs[:, 0]
    known = find_tags(given.counts() | Counter(dict.fromkeys(tags, 0)), recognizer.vocabulary)
    named = [{known[key].name for key in keys} for keys in given.tags]
    rows = {int(id): row for row, id in enumerate(taught.ids)}
    found = []
    for result in results:
        truth = np.array([result.tag.name in names for names in named])
        row = rows[result.tag.id]
        scores = inputs @ taught.weights[row] + taught.biases[row]
        found.append(replace(result, validated=average_precision(scores, truth)) if truth.any() else result)
    return found


def _warn(result: TaughtTag, report: Report) -> None:
    name = result.tag.name
    if result.pictures < _FEW:
        report(f"warning: {name}: few pictures; from {_FEW} on, what a tag means is less a matter of chance")
    if result.found < _LEAST_FOUND:
        report(
            f"warning: {name}: its pictures have too little in common that other pictures lack; give more of them, or "
            "ones in which it is larger"
        )
