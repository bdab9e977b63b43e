"""How much each predictor counts for each tag: a logistic regression whose weights lean on those of tags alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytag.evaluation.calibration import shifts_by_prevalence
from anytag.foundations.report import Report
from anytag.inference.evidence import PREDICTORS
from anytag.training.evidence.likelihood import description_loss, silence
from anytag.training.evidence.partial_labels import TRUE, UNKNOWN, PartialLabels
from anytag.training.recipes.evidence import WeightsConfig

_Floats = NDArray[np.float32]

#: The predictors, then how often the tag is true at all, then a constant.
_COLUMNS = (*PREDICTORS, "prevalence", "constant")

#: Of about how much a predictor says: weights are fitted in these units, so that all are drawn to zero alike.
_UNITS = np.array([0.2, 0.2, 0.2, 0.5, 1, 0.2, 0.2, 1, 0.2, 0.2, 0.2, 1], np.float32)

#: Weights that all tags begin with.
_FIRST = (0.4, 0.4, 0.1, 0.2, 0, 0, 0, 0, 0, 0, 0.2, -1.0)

_PLACE = {name: place for place, name in enumerate(_COLUMNS)}

#: Columns in which a tag has weights of its own.
_OWN = tuple(_PLACE[name] for name in ("decoder", "picture", "classes", "unfamiliar", "unfamiliar_picture", "constant"))

#: Beyond these, a predictor believes in a tag enough for the pair of picture and tag to count by itself.
_BELIEVED = {"decoder": -2.0, "picture": -3.2, "classes": -3.5}

#: Edges of how many pictures taught the decoder or the network a tag, by which tags are alike.
_DECODER_EDGES, _PICTURE_EDGES = (1, 31), (1, 16)

_LEAST_WEIGHT = 0.02


@dataclass(frozen=True)
class Statements:
    """What the predictors say of some pictures, ``[N, T]`` each if nothing else is said.

    Attributes:
        decoder: The recognition decoder's logits.
        picture: Log-odds of the small network.
        classes: Of the classifier; see :class:`~anytag.inference.evidence.ClassifierFeatures`.
        exclusion: Likewise.
        sure: Likewise.
        unfamiliar: ``[N]`` in [0, 1], how unlike captioned pictures they are.
    """

    decoder: NDArray[np.float16]
    picture: _Floats
    classes: _Floats
    exclusion: _Floats
    sure: _Floats
    unfamiliar: _Floats


@dataclass(frozen=True)
class TagKnowledge:
    """How much taught which predictor of each tag, ``[T]`` each.

    Attributes:
        decoder: Pictures that taught the recognition decoder.
        picture: Pictures that taught the small network.
        classes: How many classes are the tag or imply it.
        prevalence: Share of pictures with captions that it is true of, in (0, 1).
        labeled: Whether pictures have it as their class.
    """

    decoder: NDArray[np.int64]
    picture: NDArray[np.int64]
    classes: NDArray[np.int64]
    prevalence: _Floats
    labeled: NDArray[np.bool_]

    @property
    def groups(self) -> NDArray[np.int64]:
        """Numbers that are equal for tags of which as much is known."""
        by_decoder, by_picture = np.digitize(self.decoder, _DECODER_EDGES), np.digitize(self.picture, _PICTURE_EDGES)
        return (by_decoder * 3 + by_picture) * 2 + (self.classes > 0)


@dataclass(frozen=True)
class _Way:
    """How the predictors of some tags are added up.

    Attributes:
        name: What such tags are called.
        shares: Of ``picture`` and ``classes`` in the decoder's weight; ``None``: each has a weight of its own.
        sure: Whether it counts that the classifier is sure of something else.
    """

    name: str
    shares: tuple[float, float] | None
    sure: bool


def fit_weights(
    said: Statements,
    targets: PartialLabels,
    rates: NDArray[np.float64],
    known: TagKnowledge,
    config: WeightsConfig,
    seed: int = 0,
    report: Report = print,
) -> tuple[_Floats, _Floats]:
    """Weights ``[T, 10]`` in the order of :data:`~anytag.inference.evidence.PREDICTORS`, and biases ``[T]``.

    Args:
        said: Of pictures that neither the decoder nor the network has learned from.
        targets: What is known of them.
        rates: ``[T]``, how likely one caption is to name each tag that is there.
        known: How much is known of each tag.
        config: How.
        seed: Of the pairs that are drawn.
        report: Receives a line for each kind of tag.
    """
    described = targets.captions > 0
    logits = said.decoder[described if described.any() else slice(None)].astype(np.float64)
    shifts = shifts_by_prevalence(logits, known.prevalence.astype(np.float64)).astype(np.float32)
    trusted = known.decoder >= _DECODER_EDGES[-1]
    shares = config.known_picture, config.known_classes
    ways = (
        (_Way("seldom named", None, True), ~trusted),
        (_Way("often named", shares, False), trusted & (known.classes < config.general)),
        (_Way("general", shares, True), trusted & (known.classes >= config.general)),
    )
    weights = np.zeros((len(shifts), len(PREDICTORS)), np.float32)
    biases = np.zeros(len(shifts), np.float32)
    for way, chosen in ways:
        if chosen.any():
            pairs = _pairs(said, shifts, targets, known, chosen, config.easy_share, seed)
            fitted, loss = _fit(_design(said, shifts, known, way, *pairs[:2]), pairs, targets, rates, known, config)
            tags = np.flatnonzero(chosen)
            weights[tags], biases[tags] = _unpacked(fitted[tags], shifts[tags], known.prevalence[tags], way)
            report(f"weights: {len(tags):,} tags {way.name}, {len(pairs[0]):,} pairs, loss {loss:.3f}")
    weights[known.picture == 0] *= np.array([not name.endswith("picture") for name in PREDICTORS])
    return weights, biases


_Pairs = tuple[NDArray[np.int64], NDArray[np.int64], _Floats]


def _pairs(
    said: Statements,
    shifts: _Floats,
    targets: PartialLabels,
    known: TagKnowledge,
    chosen: NDArray[np.bool_],
    easy_share: float,
    seed: int,
) -> _Pairs:
    """Rows, columns and importance of the pairs of picture and tag that are fitted on."""
    believed = (said.decoder - shifts > _BELIEVED["decoder"]) | (
        (said.picture > _BELIEVED["picture"]) & (known.picture > 0)
    )
    believed |= said.classes > _BELIEVED["classes"]
    drawn = np.random.default_rng(seed).random(targets.values.shape, np.float32) < easy_share
    importance = np.where(believed | (targets.values == TRUE), 1, drawn / np.float32(easy_share)).astype(np.float32)
    importance[:, ~chosen] = 0
    importance[targets.values == UNKNOWN] = 0
    rows, columns = np.nonzero(importance)
    return rows, columns, importance[rows, columns]


def _design(
    said: Statements,
    shifts: _Floats,
    known: TagKnowledge,
    way: _Way,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> _Floats:
    """What is weighed, ``[pairs, columns]``."""
    decoder = said.decoder[rows, columns] - shifts[columns]
    picture = said.picture[rows, columns] * (known.picture[columns] > 0)
    classes, exclusion = said.classes[rows, columns], said.exclusion[rows, columns]
    sure, unfamiliar = said.sure[rows, columns] * way.sure, said.unfamiliar[rows]
    nothing, odds = np.zeros_like(sure), np.log(known.prevalence / (1 - known.prevalence))
    joint, looked, stated = decoder, picture, classes
    if way.shares is not None:
        joint = decoder + sum(share * one for share, one in zip(way.shares, (picture, classes), strict=True))
        picture = classes = nothing
    parts = [joint, picture, classes, exclusion, sure, sure * decoder, sure * picture]
    parts += [unfamiliar, unfamiliar * looked, unfamiliar * stated]
    return np.stack([*parts, odds[columns], np.ones_like(sure)], axis=1).astype(np.float32) * _UNITS


def _fit(
    design: _Floats,
    pairs: _Pairs,
    targets: PartialLabels,
    rates: NDArray[np.float64],
    known: TagKnowledge,
    config: WeightsConfig,
) -> tuple[_Floats, float]:
    """Weights of every tag, ``[T, columns]``, and the loss a picture."""
    rows, columns, importance = pairs
    groups, group = np.unique(known.groups, return_inverse=True)
    inputs, factors = torch.from_numpy(design), torch.from_numpy(importance)
    is_true = torch.from_numpy(targets.values[rows, columns] == TRUE)
    unsaid = silence(torch.from_numpy(targets.captions[rows]), torch.from_numpy(rates.astype(np.float32)[columns]))
    tag, group_of = torch.from_numpy(columns), torch.from_numpy(group[columns])
    common = torch.tensor(_FIRST) / torch.from_numpy(_UNITS)
    by_group, by_tag = torch.zeros(len(groups), len(_COLUMNS)), torch.zeros(len(rates), len(_OWN))
    parameters = [common, by_group, by_tag]
    for parameter in parameters:
        parameter.requires_grad_()
    own_inputs = inputs[:, list(_OWN)].contiguous()
    strengths = torch.tensor([config.tag_strength] * (len(_OWN) - 1) + [config.bias_strength])
    optimizer = torch.optim.LBFGS(parameters, max_iter=config.steps, history_size=8, line_search_fn="strong_wolfe")
    pictures = len(targets.captions)

    def loss() -> Tensor:
        odds = (inputs * (common + by_group)[group_of]).sum(1) + (own_inputs * by_tag[tag]).sum(1)
        total = (factors * description_loss(odds, is_true, unsaid)).sum()
        total = total + config.group_strength / 2 * (by_group**2).sum() + (by_tag**2 * strengths).sum() / 2
        return (total + 0.01 * (common**2).sum()) / pictures

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = loss()
        found.backward()
        return found

    optimizer.step(closure)
    with torch.no_grad():
        weights = (common + by_group)[torch.from_numpy(group)]
        weights[:, list(_OWN)] += by_tag
        return (weights.numpy() * _UNITS).astype(np.float32), float(loss())


def _unpacked(fitted: _Floats, shifts: _Floats, prevalence: _Floats, way: _Way) -> tuple[_Floats, _Floats]:
    """From weights of the columns of some tags to those of the predictors, for logits that are not shifted."""
    weights = fitted[:, : len(PREDICTORS)].copy()
    weights[:, 0] = np.maximum(weights[:, 0], _LEAST_WEIGHT)
    if way.shares is not None:
        weights[:, 1:3] = weights[:, :1] * np.array(way.shares, np.float32)
        weights[:, 6] = 0
    if not way.sure:
        weights[:, 4:7] = 0
    odds = np.log(prevalence / (1 - prevalence))
    biases = fitted[:, _PLACE["constant"]] + fitted[:, _PLACE["prevalence"]] * odds - weights[:, 0] * shifts
    weights[:, 4] -= weights[:, 5] * shifts
    return weights, biases.astype(np.float32)


def fit_alone(
    classes: Sequence[_Floats], targets: Sequence[PartialLabels], rates: NDArray[np.float64], columns: NDArray[np.int64]
) -> tuple[float, float]:
    """How likely a tag is by what its classes say alone: factor and bias of ``classes``, the same for all tags.

    Args:
        classes: ``[N, T]`` of sets of pictures.
        targets: What is known of each set.
        rates: ``[T]``, how likely one caption is to name each tag that is there.
        columns: Tags that are a class themselves.
    """
    values = np.concatenate([one.values[:, columns] for one in targets])
    captions = np.concatenate([one.captions for one in targets])
    said = np.concatenate([one[:, columns] for one in classes])
    rows, places = np.nonzero(values != UNKNOWN)
    inputs = torch.from_numpy(said[rows, places])
    is_true = torch.from_numpy(values[rows, places] == TRUE)
    unsaid = silence(torch.from_numpy(captions[rows]), torch.from_numpy(rates.astype(np.float32)[columns[places]]))
    line = torch.tensor([1.3, 1.4], requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = description_loss(line[0] * inputs + line[1], is_true, unsaid).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    factor, bias = line.detach().tolist()
    return float(factor), float(bias)
