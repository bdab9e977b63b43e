"""Fit the weights of all predictors for each tag: a hierarchical logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytag.evaluation.calibration import shifts_by_prevalence
from anytag.foundations.report import Report
from anytag.inference.evidence import PREDICTORS
from anytag.training.evidence.likelihood import description_loss, log_omission
from anytag.training.evidence.optimization import minimize
from anytag.training.evidence.partial_labels import TRUE, UNKNOWN, PartialLabels
from anytag.training.recipes.evidence import WeightsConfig

_Floats = NDArray[np.float32]

_COLUMNS = (*PREDICTORS, "prevalence", "constant")

#: Typical magnitudes of the columns; weights are fitted in these units, so that all are regularized alike.
_UNITS = np.array([0.2, 0.2, 0.2, 0.5, 1, 0.2, 0.2, 1, 0.2, 0.2, 0.2, 1], np.float32)

#: Initial weights of all tags.
_FIRST = (0.4, 0.4, 0.1, 0.2, 0, 0, 0, 0, 0, 0, 0.2, -1.0)

_PLACE = {name: place for place, name in enumerate(_COLUMNS)}

#: Columns with weights for each tag.
_OWN = tuple(_PLACE[name] for name in ("decoder", "picture", "classes", "unfamiliar", "unfamiliar_picture", "constant"))

#: Pairs of picture and tag with a predictor above one of these are all used; others are sampled.
_LIKELY = {"decoder": -2.0, "picture": -3.2, "classes": -3.5}

#: Numbers of training pictures of the decoder and of the network that separate groups of tags.
_DECODER_EDGES, _PICTURE_EDGES = (1, 31), (1, 16)

_LEAST_WEIGHT = 0.02


@dataclass(frozen=True)
class PredictorFeatures:
    """Outputs of the predictors, ``[N, T]`` each.

    Attributes:
        decoder: The recognition decoder's logits.
        picture: The small network's log-odds.
        classes: See :class:`~anytag.inference.evidence.ClassifierFeatures`; so are ``exclusion`` and ``sure``.
        unfamiliar: ``[N]``, probability that the picture differs from captioned ones.
    """

    decoder: NDArray[np.float16]
    picture: _Floats
    classes: _Floats
    exclusion: _Floats
    sure: _Floats
    unfamiliar: _Floats


@dataclass(frozen=True)
class TrainingCounts:
    """Training data of the predictors for each tag, ``[T]`` each.

    Attributes:
        decoder: The recognition decoder's training pictures that show it.
        picture: The small network's training pictures that show it.
        classes: Number of classes that are the tag or imply it.
        prevalence: Share of captioned pictures that show it, in (0, 1).
        labeled: Whether it is the class of pictures.
    """

    decoder: NDArray[np.int64]
    picture: NDArray[np.int64]
    classes: NDArray[np.int64]
    prevalence: _Floats
    labeled: NDArray[np.bool_]

    @property
    def groups(self) -> NDArray[np.int64]:
        """Group numbers: tags of a group have similar amounts of training data."""
        by_decoder, by_picture = np.digitize(self.decoder, _DECODER_EDGES), np.digitize(self.picture, _PICTURE_EDGES)
        return (by_decoder * 3 + by_picture) * 2 + (self.classes > 0)


@dataclass(frozen=True)
class _Formula:
    """How to combine the predictors of some tags.

    Attributes:
        shares: Weights of ``picture`` and ``classes`` relative to the decoder's; ``None``: they are independent.
    """

    name: str
    shares: tuple[float, float] | None
    sure: bool


def fit_weights(
    features: PredictorFeatures,
    targets: PartialLabels,
    rates: NDArray[np.float64],
    counts: TrainingCounts,
    config: WeightsConfig,
    seed: int = 0,
    report: Report = print,
) -> tuple[_Floats, _Floats]:
    """Fit weights ``[T, 10]`` in the order of :data:`~anytag.inference.evidence.PREDICTORS`, and biases ``[T]``.

    Args:
        features: For pictures that neither the decoder nor the network was trained on.
        targets: Partial labels of these pictures.
        rates: ``[T]``, probability that one caption names a tag that is there.
    """
    described = targets.captions > 0
    logits = features.decoder[described if described.any() else slice(None)].astype(np.float64)
    shifts = shifts_by_prevalence(logits, counts.prevalence.astype(np.float64)).astype(np.float32)
    trusted = counts.decoder >= _DECODER_EDGES[-1]
    shares = config.known_picture, config.known_classes
    formulas = (
        (_Formula("seldom named", None, True), ~trusted),
        (_Formula("often named", shares, False), trusted & (counts.classes < config.general)),
        (_Formula("general", shares, True), trusted & (counts.classes >= config.general)),
    )
    weights = np.zeros((len(shifts), len(PREDICTORS)), np.float32)
    biases = np.zeros(len(shifts), np.float32)
    for formula, chosen in formulas:
        if chosen.any():
            pairs = _sample_pairs(features, shifts, targets, counts, chosen, config.easy_share, seed)
            design = _design(features, shifts, counts, formula, *pairs[:2])
            fitted, loss = _fit(design, pairs, targets, rates, counts, config)
            tags = np.flatnonzero(chosen)
            weights[tags], biases[tags] = _unpack(fitted[tags], shifts[tags], counts.prevalence[tags], formula)
            report(f"weights: {len(tags):,} tags {formula.name}, {len(pairs[0]):,} pairs, loss {loss:.3f}")
    weights[counts.picture == 0] *= np.array([not name.endswith("picture") for name in PREDICTORS])
    return weights, biases


#: Rows, columns and importance of pairs of picture and tag.
_Pairs = tuple[NDArray[np.int64], NDArray[np.int64], _Floats]


def _sample_pairs(
    features: PredictorFeatures,
    shifts: _Floats,
    targets: PartialLabels,
    counts: TrainingCounts,
    chosen: NDArray[np.bool_],
    easy_share: float,
    seed: int,
) -> _Pairs:
    likely = features.decoder - shifts > _LIKELY["decoder"]
    likely |= (features.picture > _LIKELY["picture"]) & (counts.picture > 0)
    likely |= features.classes > _LIKELY["classes"]
    sampled = np.random.default_rng(seed).random(targets.values.shape, np.float32) < easy_share
    importance = np.where(likely | (targets.values == TRUE), 1, sampled / np.float32(easy_share)).astype(np.float32)
    importance[:, ~chosen] = 0
    importance[targets.values == UNKNOWN] = 0
    rows, columns = np.nonzero(importance)
    return rows, columns, importance[rows, columns]


def _design(
    features: PredictorFeatures,
    shifts: _Floats,
    counts: TrainingCounts,
    formula: _Formula,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> _Floats:
    """Return the design matrix ``[pairs, columns]``."""
    decoder = features.decoder[rows, columns] - shifts[columns]
    picture = features.picture[rows, columns] * (counts.picture[columns] > 0)
    classes, exclusion = features.classes[rows, columns], features.exclusion[rows, columns]
    sure, unfamiliar = features.sure[rows, columns] * formula.sure, features.unfamiliar[rows]
    odds = np.log(counts.prevalence / (1 - counts.prevalence))
    unfamiliar_parts = [unfamiliar, unfamiliar * picture, unfamiliar * classes]
    joint = decoder
    if formula.shares is not None:
        joint = decoder + sum(share * one for share, one in zip(formula.shares, (picture, classes), strict=True))
        picture = classes = np.zeros_like(sure)
    parts = [joint, picture, classes, exclusion, sure, sure * decoder, sure * picture, *unfamiliar_parts]
    return np.stack([*parts, odds[columns], np.ones_like(sure)], axis=1).astype(np.float32) * _UNITS


def _fit(
    design: _Floats,
    pairs: _Pairs,
    targets: PartialLabels,
    rates: NDArray[np.float64],
    counts: TrainingCounts,
    config: WeightsConfig,
) -> tuple[_Floats, float]:
    """Return weights of every tag, ``[T, columns]``, and the loss per picture."""
    rows, columns, importance = pairs
    groups, group = np.unique(counts.groups, return_inverse=True)
    inputs, factors = torch.from_numpy(design), torch.from_numpy(importance)
    is_true = torch.from_numpy(targets.values[rows, columns] == TRUE)
    omitted = _omitted(targets, rows, rates, columns)
    tag, group_of = torch.from_numpy(columns), torch.from_numpy(group[columns])
    common = torch.tensor(_FIRST) / torch.from_numpy(_UNITS)
    by_group, by_tag = torch.zeros(len(groups), len(_COLUMNS)), torch.zeros(len(rates), len(_OWN))
    own_inputs = inputs[:, list(_OWN)].contiguous()
    strengths = torch.tensor([config.tag_strength] * (len(_OWN) - 1) + [config.bias_strength])
    pictures = len(targets.captions)

    def loss() -> Tensor:
        odds = (inputs * (common + by_group)[group_of]).sum(1) + (own_inputs * by_tag[tag]).sum(1)
        total = (factors * description_loss(odds, is_true, omitted)).sum()
        total = total + config.group_strength / 2 * (by_group**2).sum() + (by_tag**2 * strengths).sum() / 2
        return (total + 0.01 * (common**2).sum()) / pictures

    minimize(loss, [common, by_group, by_tag], config.steps, history_size=8)
    with torch.no_grad():
        weights = (common + by_group)[torch.from_numpy(group)]
        weights[:, list(_OWN)] += by_tag
        return (weights.numpy() * _UNITS).astype(np.float32), float(loss())


def _omitted(
    targets: PartialLabels, rows: NDArray[np.int64], rates: NDArray[np.float64], columns: NDArray[np.int64]
) -> Tensor:
    return log_omission(torch.from_numpy(targets.captions[rows]), torch.from_numpy(rates.astype(np.float32)[columns]))


def _unpack(fitted: _Floats, shifts: _Floats, prevalence: _Floats, formula: _Formula) -> tuple[_Floats, _Floats]:
    """Convert weights of the columns to weights and biases of the predictors, for logits that are not shifted."""
    weights = fitted[:, : len(PREDICTORS)].copy()
    weights[:, 0] = np.maximum(weights[:, 0], _LEAST_WEIGHT)
    if formula.shares is not None:
        weights[:, 1:3] = weights[:, :1] * np.array(formula.shares, np.float32)
        weights[:, 6] = 0
    if not formula.sure:
        weights[:, 4:7] = 0
    odds = np.log(prevalence / (1 - prevalence))
    biases = fitted[:, _PLACE["constant"]] + fitted[:, _PLACE["prevalence"]] * odds - weights[:, 0] * shifts
    weights[:, 4] -= weights[:, 5] * shifts
    return weights, biases.astype(np.float32)


def fit_alone(
    classes: _Floats, targets: PartialLabels, rates: NDArray[np.float64], columns: NDArray[np.int64]
) -> tuple[float, float]:
    """Fit slope and intercept of the log-odds by ``classes`` alone, the same for all tags.

    Args:
        classes: ``[N, T]``, from :class:`PredictorFeatures`.
        rates: ``[T]``, probability that one caption names a tag that is there.
        columns: Tags that are classes.
    """
    values = targets.values[:, columns]
    rows, places = np.nonzero(values != UNKNOWN)
    inputs = torch.from_numpy(classes[:, columns][rows, places])
    is_true = torch.from_numpy(values[rows, places] == TRUE)
    omitted = _omitted(targets, rows, rates, columns[places])
    line = torch.tensor([1.3, 1.4])
    minimize(lambda: description_loss(line[0] * inputs + line[1], is_true, omitted).mean(), [line], steps=30)
    slope, intercept = line.detach().tolist()
    return float(slope), float(intercept)
