"""Teach a model a user's own tags: read the pictures, fit a classifier for each tag, write the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anytag.datasets.folder import FolderSource
from anytag.datasets.opening import below, guess_kind, open_source
from anytag.datasets.sources import SampleSource
from anytag.errors import UsageError
from anytag.evaluation.ranking import average_precision
from anytag.foundations.report import Report
from anytag.foundations.wording import counted, listed
from anytag.inference.recognizer import Recognizer, load
from anytag.inference.taught_tags import TaughtTags
from anytag.model.directory import TAUGHT_FILE, ModelDirectory, find_model, new_model
from anytag.model.names import normalize_name
from anytag.model.vocabulary import VocabularyTag
from anytag.pictures.finding import SYSTEM_FOLDERS
from anytag.teaching.classifier import TagClassifier, fit_classifier
from anytag.teaching.config import SHIPPED, Source, TeachingConfig
from anytag.teaching.model_files import make_taught_tags, with_new_tags, write_taught
from anytag.teaching.negatives import Negatives, encoder_of, make_negatives, shipped_negatives
from anytag.teaching.pictures import Key, OwnPictures, find_tags, read_pictures

#: Pictures of a tag below which a warning is given.
_FEW = 10

#: Share of a tag's pictures found in cross-validation below which a warning is given.
_LEAST_FOUND = 0.5


@dataclass(frozen=True)
class TaughtTag:
    """The result for one taught tag.

    Attributes:
        tag: The tag in the new model's vocabulary.
        is_new: Whether the model did not know it before.
        pictures: Pictures of the tag.
        found: Share of these in which cross-validation finds the tag; NaN for a single one.
        false_positives: Share of negatives in which cross-validation finds the tag; NaN without negatives.
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
            parts.append(f"{self.found:.0%} of them found when left out of training")
        if not np.isnan(self.false_positives):
            parts.append(f"wrongly found in {self.false_positives:.2%} of other pictures")
        if not np.isnan(self.validated):
            parts.append(f"average precision {self.validated:.3f} on validation pictures")
        return ", ".join(parts)


def teach(
    config: TeachingConfig, data: Path, out: Path, report: Report = print, threads: int | None = None
) -> list[TaughtTag]:
    """Teach a model tags with pictures, and write the new model to another folder.

    All other tags score as before. A tag that the model already knew is still found where it was, and in pictures like
    the user's as well.

    Args:
        config: The settings.
        data: Folder that relative paths start at.
        out: The model directory to write; an earlier taught model there is replaced.
        report: Receives progress.
        threads: Of the runtime; ``None``: all processors.

    Returns:
        A result for each tag, the new ones first.

    Raises:
        UsageError: If pictures, tags or negatives are missing, ``out`` holds anything but a taught model, or another
            process is writing it.
        ModelError: If the model cannot be loaded.
    """
    directory = find_start(config.start, data)
    if out.exists() and out.resolve() == directory.path.resolve():
        raise UsageError(f"{out}: is the model that is taught; give another folder")
    if out.exists() and not (out / TAUGHT_FILE).is_file() and (out.is_file() or any(out.iterdir())):
        raise UsageError(
            f"{out}: exists and is not a model that was taught tags; it is not replaced, give another folder"
        )
    # Report what is missing or cannot be written before reading pictures, which takes long.
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
    own = read_pictures(recognizer, sources, config.views, config.seed, report)
    _warn_of_losses(own, report)
    _warn_of_useless_folders(sources, own, report)
    tags = find_tags(own.counts(), directory.vocabulary)
    negatives = _negatives(config, recognizer, others, own, report)
    if negatives is None:
        report(
            "warning: there is no bank of negatives for this model's image encoder, so the tags may be found in all "
            "kinds of pictures; give pictures of other things as negatives"
        )
        negatives = make_negatives(
            own.inputs[:, 0], [()] * len(own.inputs), directory.vocabulary, directory.config.features
        )
        negatives = replace(negatives, points=negatives.points[:0], shown=())
    classifiers = fit_tags(config, own, tags, negatives, directory)
    taught = make_taught_tags(classifiers, negatives, directory)
    vocabulary = with_new_tags(directory.vocabulary, tags.values(), classifiers, len(negatives.points))
    count = len(directory.vocabulary)
    results = [
        TaughtTag(vocabulary[id], id >= count, fitted.pictures, fitted.found, fitted.false_positives)
        for id, fitted in sorted(classifiers.items(), key=lambda item: (item[0] < count, item[0]))
    ]
    if validation:
        results = _validated(config, recognizer, validation, own, taught, results, tags, report)
    for result in results:
        report(str(result))
        _warn_of_doubts(result, report)
    write_taught(out, recognizer, config.name, vocabulary, taught, [str(result) for result in results])
    return results


def find_start(start: str, data: Path) -> ModelDirectory:
    """Find the model that is taught.

    Args:
        start: A folder, relative to ``data`` or not, a hub id, or ``lite`` for the shipped model.
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
) -> dict[int, TagClassifier]:
    """Fit a classifier for each tag, by tag id.

    Raises:
        UsageError: If all pictures show a tag and there are no negatives.
    """
    count, views, width = own.inputs.shape
    points = negatives.project(own.inputs.reshape(-1, width)).reshape(count, views, -1)
    named = [{tags[key].id for key in given} for given in own.tags]
    classifiers: dict[int, TagClassifier] = {}
    for tag in {tag.id: tag for tag in tags.values()}.values():
        truth = np.array([tag.id in ids for ids in named])
        others = negatives.points[~negatives.showing(tag)]
        if truth.all() and not len(others):
            raise UsageError(
                f"all pictures show {tag.name!r}, so there is nothing to separate it from; give pictures of other "
                "things as negatives"
            )
        classifiers[tag.id] = fit_classifier(
            points,
            truth,
            others,
            penalty=config.penalty,
            max_false_positives=config.max_false_positives,
            folds=config.folds,
            seed=config.seed,
        )
    return classifiers


def _opened(sources: Sequence[Source], data: Path, report: Report) -> list[SampleSource]:
    opened = [open_source(_with_classes(below(source, data))) for source in sources]
    for source in opened:
        report(source.description)
    return opened


def _with_classes(options: dict[str, Any]) -> dict[str, Any]:
    """Take folders' names as tags where that is possible."""
    path = options.get("path")
    if "classes" in options or not isinstance(path, str) or options.get("kind", "folder") != "folder":
        return options
    return {**options, "classes": None} if Path(path).is_dir() and guess_kind(path) == "folder" else options


def _warn_of_losses(given: OwnPictures, report: Report) -> None:
    if given.problems:
        first = "".join(f"\n  {problem}" for problem in given.problems[:3])
        report(f"warning: pictures that could not be used: {len(given.problems):,}. The first:{first}")
    if given.untagged:
        report(f"warning: pictures without tags, which are not used: {given.untagged:,}")
    if given.repeated:
        report(f"warning: pictures that are there more than once, which count once: {given.repeated:,}")


def _warn_of_useless_folders(sources: Sequence[SampleSource], own: OwnPictures, report: Report) -> None:
    """Warn of folders that should teach a tag, but hold no picture that can be read."""
    names = {name for name, _ in own.counts()}
    for source in sources:
        if not isinstance(source, FolderSource) or not source.classes:
            continue
        folders = {file.parent for file in source.content_files()} - {source.path}
        useless = [folder for folder in folders if normalize_name(" ".join(folder.name.split("_"))) not in names]
        useless += [
            folder
            for folder in source.path.iterdir()
            if folder.is_dir()
            and not folder.name.startswith(".")
            and folder.name not in SYSTEM_FOLDERS
            and not any(other.is_relative_to(folder) for other in folders)
        ]
        if useless:
            report(
                f"warning: folders without a usable picture, which teach nothing: {listed(sorted(map(str, useless)))}"
            )


def _negatives(
    config: TeachingConfig, recognizer: Recognizer, sources: Sequence[SampleSource], own: OwnPictures, report: Report
) -> Negatives | None:
    """The bank that ships, the user's negatives, or both; ``None`` if there are neither."""
    directory = recognizer.directory
    shipped = shipped_negatives(directory)
    if not sources:
        return shipped
    given = read_pictures(recognizer, sources, 1, config.seed, report, tagged=False)
    _warn_of_losses(given, report)
    taught = set(own.keys)
    kept = [row for row, key in enumerate(given.keys) if key not in taught]
    if len(kept) < len(given.keys):
        report(
            f"warning: negatives that are your own pictures, which are not used as negatives: "
            f"{len(given.keys) - len(kept):,}"
        )
        if not kept:
            raise UsageError("all negatives are your own pictures; give pictures of other things")
    inputs, named = given.inputs[kept, 0], [given.tags[row] for row in kept]
    if shipped is not None:
        names = (*shipped.names, *sorted({name for tags in named for name, _ in tags} - set(shipped.names)))
        place = {name: number for number, name in enumerate(names)}
        places = tuple(np.array(sorted({place[name] for name, _ in tags}), np.uint16) for tags in named)
        points = np.concatenate([shipped.points, shipped.project(inputs)])
        return replace(shipped, points=points, names=names, shown=(*shipped.shown, *places))
    tags = find_tags(given.counts(), directory.vocabulary)
    vocabulary = with_new_tags(directory.vocabulary, tags.values())
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
    """Add average precisions on validation pictures; those of other tags are negatives."""
    given = read_pictures(recognizer, sources, 1, config.seed, report)
    _warn_of_losses(given, report)
    if shared := len(set(given.keys) & set(own.keys)):
        report(f"warning: validation pictures that are taught as well, so the figures are too high: {shared:,}")
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


def _warn_of_doubts(result: TaughtTag, report: Report) -> None:
    name = result.tag.name
    if name.isdigit():
        report(f"warning: {name}: is a number; if your data hold class numbers, replace them by the classes' names")
    if result.pictures < _FEW:
        report(f"warning: {name}: few pictures, so the result depends on chance; give {_FEW} or more")
    if result.found < _LEAST_FOUND:
        report(
            f"warning: {name}: its pictures look too much like other pictures, or too little like each other; give "
            "more of them, or ones in which it is larger"
        )
