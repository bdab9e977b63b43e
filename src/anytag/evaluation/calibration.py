"""Per-tag thresholds, fitted on labeled pictures and written into a model's vocabulary."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anytag.errors import UsageError
from anytag.evaluation.labeled_scores import LabeledScores
from anytag.evaluation.ranking import RankedScores, best_common_threshold
from anytag.foundations.folder_locks import only_writer
from anytag.foundations.log_odds import EDGE, log_odds, sigmoid
from anytag.foundations.report import Report
from anytag.foundations.wording import counted
from anytag.inference.recognizer import Recognizer
from anytag.model.config import ModelConfig
from anytag.model.directory import RUN_FILE, ModelDirectory, new_model, write_config
from anytag.model.vocabulary import TagVocabulary

#: Folder in a calibrated model that keeps its previous vocabulary and config.
BEFORE = "before-calibration"


def shifts_by_prevalence(logits: NDArray[np.float64], prevalence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logit of each tag that is exceeded in as many pictures as show the tag, ``[T]``.

    A rare tag has no positives to fit a threshold on, but it has scores, and its prevalence is known from training.
    For a prevalence below a twentieth, excesses over the 95th percentile are assumed to fall off exponentially (peaks
    over threshold).

    Args:
        logits: ``[N, T]`` raw logits.
        prevalence: ``[T]``, in (0, 1).
    """
    tail = 0.05
    edge = np.quantile(logits, 1 - tail, axis=0)
    excess = np.maximum(logits - edge, 0).sum(0) / np.maximum((logits > edge).sum(0), 1)
    beyond = edge + excess * np.log(tail / np.minimum(prevalence, tail))
    within = np.array([np.quantile(column, 1 - max(p, tail)) for column, p in zip(logits.T, prevalence, strict=True)])
    return np.where(prevalence < tail, beyond, within)


def expected_prevalence(
    truth: NDArray[np.bool_], support: NDArray[np.float64], training_pictures: int
) -> NDArray[np.float64]:
    """Estimate how often each tag is true of a picture: ``[T]``, in (0, 1).

    Args:
        truth: ``[N, T]`` of the validation pictures, whose share has the same weight as that in training.
        support: ``[T]``, training pictures that a tag is true of; all 0 if unknown, as for published models.
    """
    count = len(truth)
    # Half a picture for tags without positives.
    share = (truth.sum(0) + 0.5) / (count + 1)
    if support.any():
        pictures = max(training_pictures, int(support.max()))
        share = (truth.sum(0) / count + (support + 0.5) / (pictures + 1)) / 2
    clipped: NDArray[np.float64] = np.clip(share, 1e-6, 0.95)
    return clipped


def fit_slope(margins: NDArray[np.float64], truth: NDArray[np.bool_], steps: int = 50) -> tuple[float, float]:
    """Fit slope and intercept of a logistic regression on one variable (Platt scaling) by Newton's method.

    The targets are Platt's, (n + 1) / (n + 2) of n positives and 1 / (n + 2) of n negatives, so that the slope stays
    finite for few pictures which the model separates perfectly.

    Args:
        margins: Any shape.
        truth: The same shape.
    """
    x, y = margins.ravel(), truth.ravel()
    positives, negatives = int(y.sum()), int((~y).sum())
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(slope: float, intercept: float) -> float:
        odds = slope * x + intercept
        return float((np.logaddexp(0, odds) - target * odds).mean())

    slope, intercept = 1.0, 0.0
    now = loss(slope, intercept)
    for _ in range(steps):
        p = sigmoid(np.clip(slope * x + intercept, -500, 500))
        weight, error = p * (1 - p) + 1e-12, p - target
        gradient = np.array([(error * x).sum(), error.sum()])
        curve = np.array([[(weight * x * x).sum(), (weight * x).sum()], [(weight * x).sum(), weight.sum()]])
        change = np.linalg.solve(curve + 1e-9 * np.eye(2), gradient)
        # Far from the minimum a whole step can overshoot it.
        while (then := loss(slope - change[0], intercept - change[1])) > now + 1e-12 and np.abs(change).max() > 1e-8:
            change = change / 2
        slope, intercept, now = slope - change[0], intercept - change[1], then
        if np.abs(change).max() < 1e-8:
            break
    return float(slope), float(intercept)


_CLASS_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def fit_class_weight(
    logits: NDArray[np.float64],
    evidence: NDArray[np.float64],
    truth: NDArray[np.bool_],
    prevalence: NDArray[np.float64],
    before: float = 0.0,
) -> float:
    """Choose the weight of the classifier's evidence with the highest likelihood of the annotated tags.

    Args:
        logits: ``[N, T]``.
        evidence: ``[N, T]``; columns of zeros have none.
        truth: ``[N, T]``.
        prevalence: ``[T]``, in (0, 1).
        before: Returned if the classifier has evidence for no tag with positives.
    """
    known = evidence.any(0)
    if not truth[:, known].any():
        return before
    logits, evidence, truth, prevalence = logits[:, known], evidence[:, known], truth[:, known], prevalence[known]

    def loss(weight: float) -> float:
        joint = logits + weight * evidence
        margins = joint - shifts_by_prevalence(joint, prevalence)
        slope, intercept = fit_slope(margins, truth)
        odds = slope * margins + intercept
        return float(np.logaddexp(0, np.where(truth, -odds, odds)).mean())

    return min(_CLASS_WEIGHTS, key=loss)


def _fit_thresholds(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], shrinkage: float = 40.0
) -> tuple[float, NDArray[np.float64], NDArray[np.int64]]:
    """Find the thresholds with the best F1 for scores that are comparable between tags.

    The common one maximizes micro-F1 over all tags. (The mean F1 of the tags that happen to have a positive would
    ignore the false alarms of all others, and give a far too low threshold.) A tag's own best is shrunk towards it, in
    log-odds, as if the common one stood for ``shrinkage`` positives.

    Args:
        scores: ``[N, T]`` in (0, 1).
        truth: ``[N, T]``.

    Returns:
        The common threshold, ``[T]`` thresholds, and ``[T]`` numbers of positives.
    """
    common, _ = best_common_threshold(scores, truth)
    positives = truth.sum(0)
    thresholds = np.full(len(positives), common)
    for tag in np.flatnonzero(positives >= shrinkage / 8):
        own = RankedScores(scores[:, [tag]], truth[:, [tag]]).best_own()[0]
        weight = positives[tag] / (positives[tag] + shrinkage)
        odds = weight * log_odds(own) + (1 - weight) * log_odds(common)
        thresholds[tag] = sigmoid(odds)
    return common, thresholds, positives


def calibrate(recognizer: Recognizer, data: LabeledScores, source: str, report: Report = print) -> None:
    """Turn scores into comparable probabilities, fit thresholds, and save both in the model.

    First the classifier's evidence is weighted. Then every tag's logits are shifted by prevalence, one slope and
    intercept for all tags turn them into the probability that a caption names the tag, and thresholds with the best F1
    are chosen, shrunk towards a common one where positives are few. Captions omit much of what is true of a picture,
    so the calibrated model errs on the side of naming less.

    A tag without positives that already has a threshold keeps it: at the same logit or, if the classifier's weight has
    changed, passed by as many of the pictures. The previous vocabulary and config are kept in :data:`BEFORE`, from
    where :func:`undo` restores them.

    Args:
        recognizer: The model, whose ``vocabulary.json`` and ``config.json`` are changed.
        data: Logits and truth of pictures that the model was not trained on.
        source: Provenance, written beside every threshold.

    Raises:
        UsageError: If no threshold can be fitted on the pictures, another command has changed the model meanwhile, or
            the run that the model belongs to still trains; nothing is written then.
    """
    directory, vocabulary = recognizer.directory, recognizer.vocabulary
    for note in data.notes:
        report(note)
    judged = np.ones(len(vocabulary), bool) if data.judged is None else data.judged
    _check(data.truth, judged)
    logits, truth, count = data.logits.astype(np.float64), data.truth, len(data.logits)
    support = np.array([tag.support for tag in vocabulary], dtype=np.float64)
    prevalence = expected_prevalence(truth, support, directory.config.training_pictures)
    evidence = data.evidence.astype(np.float64)
    weight = fit_class_weight(
        logits[:, judged],
        evidence[:, judged],
        truth[:, judged],
        prevalence[judged],
        before=directory.config.class_weight,
    )
    earlier, logits = logits + directory.config.class_weight * evidence, logits + weight * evidence
    shifts = shifts_by_prevalence(logits, prevalence)
    margins = (logits - shifts)[:, judged]
    slope, intercept = fit_slope(margins, truth[:, judged])
    if not 0 < slope < math.inf or not np.ptp(margins):
        raise UsageError(
            f"the model's scores of these {count:,} pictures do not rise with their tags (slope {slope:.3g}), so no "
            "threshold would mean anything and nothing was written; check that captions and tags belong to the pictures"
        )
    shifts = shifts - intercept / slope
    scores = sigmoid((logits - shifts) * slope)
    common, fitted, positives = _fit_thresholds(scores[:, judged], truth[:, judged])
    thresholds, supported = np.full(len(vocabulary), common), np.zeros(len(vocabulary), np.int64)
    thresholds[judged], supported[judged] = fitted, positives
    kept = np.array([tag.threshold is not None for tag in vocabulary]) & (supported == 0)
    for tag in (vocabulary[int(id)] for id in np.flatnonzero(kept)):
        assert tag.threshold is not None
        thresholds[tag.id] = tag.threshold
        odds = float(log_odds(tag.threshold, EDGE))
        edge = tag.shift + odds / directory.config.score_slope
        edge += _edge_change(earlier[:, tag.id], logits[:, tag.id], edge)
        shifts[tag.id] = edge - odds / slope
    tags = [
        replace(
            tag,
            shift=round(float(shifts[tag.id]), 4),
            threshold=round(float(thresholds[tag.id]), 4),
            threshold_from=tag.threshold_from
            if kept[tag.id]
            else f"{source}, {counted(int(supported[tag.id]), 'positive')}",
        )
        for tag in vocabulary
    ]
    rare = judged & ~kept & (support < 8)
    update = {
        "class_weight": weight,
        "score_slope": round(slope, 5),
        "default_threshold": round(common, 4),
        "open_threshold": round(common, 4),
        # Without annotations of rare tags, other texts still use the median shift of rare tags.
        "open_shift": round(float(np.median(shifts[rare if rare.any() else support < 8])), 4)
        if (support < 8).any()
        else 0.0,
    }
    config = directory.config.model_copy(update=update)
    with _exclusive(directory.path):
        if ModelDirectory(directory.path).config != directory.config:
            raise UsageError(
                f"{directory.path}: the model was changed since it was loaded, so nothing was written; load it and "
                "calibrate again if that was right"
            )
        _keep_before(directory)
        _install(directory.path, TagVocabulary(tags), config)
    scores = sigmoid((logits - shifts) * slope)
    report(
        f"{counted(count, 'picture')}, {counted(int((supported > 0).sum()), 'tag')} with positives, "
        f"{counted(int(kept.sum()), 'tag')} without that keep their thresholds, classifier's weight {weight:g}, slope "
        f"{slope:.3f}, common threshold {common:.3f}, {(scores >= thresholds).sum() / count:.1f} tags found and "
        f"{truth.sum() / count:.1f} named a picture"
    )
    if _is_unfinished(directory.path):
        report(
            f"warning: the run in {directory.path.resolve().parent} is not finished; if it goes on, its next "
            "validation replaces this model, and the calibration with it"
        )


def undo(folder: Path) -> None:
    """Restore the vocabulary and config of before the last calibration.

    Raises:
        UsageError: If there was none, or the folder now holds another model.
    """
    ModelDirectory(folder)  # Raises an error if there is no model, before the folder is locked.
    with _exclusive(folder):
        directory, kept = ModelDirectory(folder), folder / BEFORE
        if not (kept / "config.json").is_file():
            raise UsageError(f"{folder}: nothing to undo; no calibration by this version was written here")
        before = ModelDirectory(kept)
        files, files_before = dict(directory.config.files), dict(before.config.files)
        if files | {"vocabulary.json": ""} != files_before | {"vocabulary.json": ""}:
            raise UsageError(f"{folder}: contains another model than the one that was calibrated; nothing was changed")
        _install(folder, before.vocabulary, before.config)
        shutil.rmtree(kept)


def refuse_while_training(folder: Path) -> None:
    """Raise ``UsageError`` for a model that a training run would replace at its next validation."""
    with _no_training(folder):
        pass


@contextmanager
def _no_training(folder: Path) -> Iterator[None]:
    """Lock the run that a model belongs to, if there is one."""
    run = folder.resolve().parent
    advice = "calibrate a copy: the run replaces its model at every validation"
    with only_writer(run, "a run trains", advice) if _belongs_to_run(folder) else nullcontext():
        yield


def _belongs_to_run(folder: Path) -> bool:
    return folder.resolve().name == "model" and (folder.resolve().parent / RUN_FILE).is_file()


def _is_unfinished(folder: Path) -> bool:
    if not _belongs_to_run(folder):
        return False
    try:
        return json.loads((folder.resolve().parent / RUN_FILE).read_text(encoding="utf-8"))["finished"] is None
    except (ValueError, KeyError, TypeError):  # Damaged: the run itself reports it.
        return False


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    with _no_training(folder), only_writer(folder, "another calibration writes", "give the same command again"):
        yield


def _check(truth: NDArray[np.bool_], judged: NDArray[np.bool_]) -> None:
    """Raise ``UsageError`` if no threshold can be fitted: no tag, or every tag, is true of every picture."""
    if not truth.any():
        raise UsageError(
            f"no tag of the model is true of any of the {len(truth):,} pictures, so there is nothing to fit thresholds "
            "on and nothing was written; give pictures with captions, or with tags that the model knows"
        )
    if truth[:, judged].all():
        raise UsageError(
            f"every tag that the {len(truth):,} pictures name is true of all of them, so no threshold can be fitted "
            "and nothing was written; add pictures that show other things"
        )


def _edge_change(earlier: NDArray[np.float64], now: NDArray[np.float64], edge: float) -> float:
    """Return how far to move an edge so that as many logits now exceed it as did earlier: ``[N]`` each."""
    above = int((earlier > edge).sum())
    ends = slice(max(above - 1, 0), above + 1)
    return float(np.sort(now)[::-1][ends].mean() - np.sort(earlier)[::-1][ends].mean())


def _keep_before(directory: ModelDirectory) -> None:
    kept = directory.path / BEFORE
    part = kept.with_name(kept.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    shutil.copyfile(directory.file("vocabulary.json"), part / "vocabulary.json")
    shutil.copyfile(directory.path / "config.json", part / "config.json")
    shutil.rmtree(kept, ignore_errors=True)
    part.replace(kept)


def _install(folder: Path, vocabulary: TagVocabulary, config: ModelConfig) -> None:
    """Replace a model's vocabulary and config, both or neither."""
    with new_model(folder) as part:
        vocabulary.save(part / "vocabulary.json")
        write_config(part, config, ["vocabulary.json"], config.files)
