"""Per-tag thresholds, fitted on labelled pictures and written into a model's vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anytag.datasets.samples import Sample
from anytag.datasets.webdataset import read_shard
from anytag.errors import UsageError
from anytag.evaluation.tagging import best_common_threshold, best_thresholds
from anytag.foundations.log_odds import log_odds, sigmoid
from anytag.foundations.report import Report
from anytag.inference.recognizer import Recognizer
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.vocabulary_builder import TagMapper
from anytag.model.config import ModelConfig
from anytag.model.directory import new_model, write_config
from anytag.model.vocabulary import TagVocabulary


@dataclass(frozen=True)
class LabelledScores:
    """What a model says of pictures, and what their captions say.

    Attributes:
        logits: ``[N, T]``, the recognition decoder's, of the whole vocabulary.
        truth: ``[N, T]``: the tags parsed from the picture's captions, and what they imply.
        samples: The pictures' annotations; their bytes are dropped.
        evidence: ``[N, T]``, the classifier's say (:meth:`~anytag.inference.scoring.Scorer.evidence`).
    """

    logits: NDArray[np.float32]
    truth: NDArray[np.bool_]
    samples: list[Sample]
    evidence: NDArray[np.float32]

    def __getitem__(self, rows: slice) -> LabelledScores:
        return LabelledScores(self.logits[rows], self.truth[rows], self.samples[rows], self.evidence[rows])


def score_shards(recognizer: Recognizer, shards: Sequence[Path], parser: str = "auto") -> LabelledScores:
    """Run a model over shards whose samples have captions.

    Raises:
        UsageError: If a shard or no sample could be read.
    """
    from anytag.pictures import load_batches

    samples: list[Sample] = []

    def sources() -> Iterable[tuple[str, bytes]]:
        for shard in shards:
            for sample in read_shard(shard):
                samples.append(replace(sample, picture=b""))
                yield sample.source, sample.picture_bytes()

    labels = recognizer.labels.all()
    resolution = recognizer.directory.config.image_encoder.resolution
    rows, said, read = [], [], []
    for batch in load_batches(sources(), resolution, 16):
        read += batch.paths
        encoded = recognizer.backend.encode(batch.pixels)
        rows.append(recognizer.backend.recognize(encoded.features, labels.queries))
        said.append(recognizer.scorer.evidence(encoded, labels))
    if not read:
        raise UsageError(f"no picture could be read from {', '.join(map(str, shards))}")
    by_source = {sample.source: sample for sample in samples}
    kept = [by_source[source] for source in read]
    mapper, reader = TagMapper(recognizer.vocabulary), load_parser(parser)  # type: ignore[arg-type]
    truth = np.zeros((len(kept), len(recognizer.vocabulary)), dtype=bool)
    for row, sample in zip(truth, kept, strict=True):
        row[list(mapper(tag for caption in sample.captions for tag in reader.parse(caption)))] = True
    return LabelledScores(np.concatenate(rows), truth, kept, np.concatenate(said))


def shifts_by_prevalence(logits: NDArray[np.float64], prevalence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per tag, the logit that as large a share of pictures exceeds as the tag is true of.

    A rare tag has no positives to fit a threshold on, but it has scores, and how often it is true is known from
    training. Shares below a twentieth lie beyond what the data can show; there the excesses over the 95th percentile
    are taken to fall off exponentially (peaks over threshold).

    Args:
        logits: ``[N, T]`` raw logits.
        prevalence: ``[T]``, in (0, 1).

    Returns:
        ``[T]``.
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
    """How often each tag is true of a picture: ``[T]``, in (0, 1).

    Args:
        truth: ``[N, T]`` of the validation pictures, which count as much as as many training pictures.
        support: ``[T]``, training pictures that a tag is true of; all 0 in models that do not say, as the published.
        training_pictures: How many there were.
    """
    count = len(truth)
    # Half a picture for tags that were never seen.
    seen = (truth.sum(0) + 0.5) / (count + 1)
    if support.any():
        pictures = max(training_pictures, int(support.max()))
        seen = (truth.sum(0) / count + (support + 0.5) / (pictures + 1)) / 2
    clipped: NDArray[np.float64] = np.clip(seen, 1e-6, 0.95)
    return clipped


def fit_slope(margins: NDArray[np.float64], truth: NDArray[np.bool_], steps: int = 30) -> tuple[float, float]:
    """Logistic regression of truth on one variable (Platt scaling) by Newton's method.

    Args:
        margins: Any shape.
        truth: The same shape.
        steps: Newton steps.

    Returns:
        Slope and intercept.
    """
    x, y = margins.ravel(), truth.ravel().astype(np.float64)
    slope, intercept = 1.0, 0.0
    for _ in range(steps):
        p = sigmoid(slope * x + intercept)
        weight, error = p * (1 - p) + 1e-12, p - y
        gradient = np.array([(error * x).sum(), error.sum()])
        curve = np.array([[(weight * x * x).sum(), (weight * x).sum()], [(weight * x).sum(), weight.sum()]])
        change = np.linalg.solve(curve + 1e-9 * np.eye(2), gradient)
        slope, intercept = slope - change[0], intercept - change[1]
        if np.abs(change).max() < 1e-8:
            break
    return float(slope), float(intercept)


def fit_class_weight(
    logits: NDArray[np.float64],
    evidence: NDArray[np.float64],
    truth: NDArray[np.bool_],
    prevalence: NDArray[np.float64],
    weights: Sequence[float] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
) -> float:
    """The weight of the classifier's evidence that makes the captions' tags likeliest.

    Args:
        logits: ``[N, T]``.
        evidence: ``[N, T]``; columns of zeros have none.
        truth: ``[N, T]``.
        prevalence: ``[T]``, in (0, 1).
        weights: What to choose from; the first where there is no evidence at all.
    """
    known = evidence.any(0)
    if not known.any():
        return weights[0]
    logits, evidence, truth, prevalence = logits[:, known], evidence[:, known], truth[:, known], prevalence[known]

    def loss(weight: float) -> float:
        joint = logits + weight * evidence
        margins = joint - shifts_by_prevalence(joint, prevalence)
        slope, intercept = fit_slope(margins, truth)
        odds = slope * margins + intercept
        return float(np.logaddexp(0, np.where(truth, -odds, odds)).mean())

    return min(weights, key=loss)


def fit_thresholds(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], shrinkage: float = 40.0
) -> tuple[float, NDArray[np.float64], NDArray[np.int64]]:
    """Thresholds with the best F1, where scores of different tags mean the same.

    The common one maximises micro-F1 over all tags. (The mean of the tags' own F1, over those that happen to have a
    positive, would leave the false alarms of all others out, and be far too low.) A tag's own best is drawn towards
    it, in log-odds, as if the common one stood for ``shrinkage`` positives.

    Args:
        scores: ``[N, T]`` in (0, 1).
        truth: ``[N, T]``.
        shrinkage: Positives that the common threshold counts for.

    Returns:
        The common threshold, ``[T]`` thresholds, and ``[T]`` numbers of positives.
    """
    common, _ = best_common_threshold(scores, truth)
    positives = truth.sum(0)
    thresholds = np.full(len(positives), common)
    for tag in np.flatnonzero(positives >= shrinkage / 8):
        own = best_thresholds(scores[:, [tag]], truth[:, [tag]], shrinkage=0.0).own[0]
        weight = positives[tag] / (positives[tag] + shrinkage)
        odds = weight * log_odds(own) + (1 - weight) * log_odds(common)
        thresholds[tag] = sigmoid(odds)
    return common, thresholds, positives


def calibrate(recognizer: Recognizer, data: LabelledScores, source: str, report: Report = print) -> None:
    """Make scores comparable, make them probabilities, fit thresholds, and save all that.

    First the classifier's evidence is weighed against the decoder's. Then every tag's logits are shifted by
    prevalence, then one slope and intercept for all tags turn them into the probability that a caption names the tag,
    then thresholds with the best F1 are chosen, drawn towards a common one where positives are few. Captions leave
    out much of what is true of a picture, so all this errs on the side of naming less.

    Args:
        recognizer: The model; its directory is changed: ``vocabulary.json`` and ``config.json``.
        data: Logits and truth of pictures that the model was not trained on.
        source: Provenance, written beside every threshold.
        report: Receives a summary.
    """
    directory, vocabulary = recognizer.directory, recognizer.vocabulary
    logits, truth, count = data.logits.astype(np.float64), data.truth, len(data.logits)
    support = np.array([tag.support for tag in vocabulary], dtype=np.float64)
    prevalence = expected_prevalence(truth, support, directory.config.training_pictures)
    evidence = data.evidence.astype(np.float64)
    weight = fit_class_weight(logits, evidence, truth, prevalence)
    logits = logits + weight * evidence
    shifts = shifts_by_prevalence(logits, prevalence)
    slope, intercept = fit_slope(logits - shifts, truth)
    shifts = shifts - intercept / slope
    scores = sigmoid((logits - shifts) * slope)
    common, thresholds, positives = fit_thresholds(scores, truth)
    tags = [
        replace(
            tag,
            shift=round(float(shifts[tag.id]), 4),
            threshold=round(float(thresholds[tag.id]), 4),
            threshold_from=f"{source}, {int(positives[tag.id])} positives",
        )
        for tag in vocabulary
    ]
    update = {
        "class_weight": weight,
        "score_slope": round(slope, 5),
        "open_shift": round(float(np.median(shifts[support < 8])) if (support < 8).any() else 0.0, 4),
        "default_threshold": round(common, 4),
        "open_threshold": round(common, 4),
    }
    config = directory.config.model_copy(update=update)
    _install(directory.path, TagVocabulary(tags), config)
    report(
        f"{count} pictures, {(positives > 0).sum()} tags with positives, classifier's weight {weight}, "
        f"slope {slope:.3f}, common threshold "
        f"{common:.3f}, {(scores >= thresholds).sum() / count:.1f} tags found and {truth.sum() / count:.1f} named a "
        "picture"
    )


def _install(folder: Path, vocabulary: TagVocabulary, config: ModelConfig) -> None:
    """Give a model another vocabulary and config, both or neither."""
    with new_model(folder) as part:
        vocabulary.save(part / "vocabulary.json")
        write_config(part, config, ["vocabulary.json"], config.files)
