"""Fit the weights of predictors for texts outside the vocabulary, on tags that the decoder was hardly trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytag.backends.base import FloatArray
from anytag.foundations.report import Report
from anytag.inference.evidence import apply_temperature
from anytag.inference.open_evidence import OPEN_PREDICTORS, ClassSimilarity, floored_log
from anytag.inference.recognizer import Recognizer
from anytag.language.tags.knowledge import ImageNetClass, load_knowledge
from anytag.language.tags.wordnet import WordNet
from anytag.model.vocabulary import TagVocabulary
from anytag.training.evidence.likelihood import description_loss, log_omission
from anytag.training.evidence.optimization import minimize, quantize_int8
from anytag.training.evidence.partial_labels import TRUE, UNKNOWN, PartialLabels
from anytag.training.evidence.predictions import Predictions
from anytag.training.recipes.evidence import EvidenceTraining

#: Texts that are embedded, and pictures whose class probabilities are summed, at a time.
_CHUNK = 512

#: L2 regularization.
_STRENGTH = 1e-3


def fit_open(
    config: EvidenceTraining,
    predictions: Predictions,
    targets: PartialLabels,
    taught: NDArray[np.int64],
    rates: NDArray[np.float64],
    unfamiliar: FloatArray,
    recognizer: Recognizer,
    report: Report,
) -> dict[str, NDArray[Any]]:
    """Return the arrays of :meth:`~anytag.inference.open_evidence.OpenEvidence.from_arrays`.

    Tags with few training pictures of the decoder stand in for unknown texts: they are scored as texts, by their names
    alone. Tags that hardly any picture shows are left out, because users search for what may be there.

    Args:
        predictions: Predictions for pictures that the decoder was not trained on.
        targets: Partial labels of these pictures.
        taught: ``[T]``, the decoder's training pictures of each tag.
        rates: ``[T]``, probability that one caption names a tag that is there.
        unfamiliar: ``[N]``, probability that a picture differs from captioned ones.

    Returns:
        Empty if the model embeds no texts, its classes have no names, or too few tags are left.
    """
    settings = config.open
    tags = np.flatnonzero((taught < settings.taught) & ((targets.values == TRUE).sum(0) >= settings.positives))
    classes = load_knowledge().imagenet
    if predictions.classes.shape[1] != len(classes) or len(tags) < 2 or not _embeds_texts(recognizer):
        return {}
    packed, scale = quantize_int8(_class_embeddings(classes, settings.wordnet, recognizer))
    class_similarity = ClassSimilarity(packed * scale[:, None], settings.sharpness)
    similarity = class_similarity(_embeddings([recognizer.vocabulary[int(tag)].name for tag in tags], recognizer))
    class_scores = np.concatenate(
        [
            floored_log(apply_temperature(np.exp(part), config.temperature) @ similarity, settings.floor)
            for part in np.array_split(predictions.classes, len(predictions.classes) // _CHUNK + 1)
        ]
    )
    assert predictions.decoder is not None
    chosen = targets.values[:, tags]
    sampled = np.random.default_rng(config.seed).random(chosen.shape, np.float32) < settings.easy_share
    rows, columns = np.nonzero((chosen != UNKNOWN) & ((chosen == TRUE) | sampled))
    is_true = chosen[rows, columns] == TRUE
    decoder, scores = predictions.decoder[:, tags][rows, columns].astype(np.float32), class_scores[rows, columns]
    unlike = unfamiliar[rows]
    design = np.stack([decoder, scores, unlike, unlike * decoder, unlike * scores, np.ones_like(unlike)], axis=1)
    omitted = log_omission(
        torch.from_numpy(targets.captions[rows]), torch.from_numpy(rates[tags][columns].astype(np.float32))
    )
    importance = torch.from_numpy(np.where(is_true, 1, 1 / settings.easy_share).astype(np.float32))
    weights, loss = _fit(
        torch.from_numpy(design.astype(np.float32)), torch.from_numpy(is_true), omitted, importance, len(chosen)
    )
    shown = ", ".join(f"{name} {weight:.2f}" for name, weight in zip((*OPEN_PREDICTORS, "bias"), weights, strict=True))
    report(f"texts outside the vocabulary, by {len(tags):,} tags: {shown}; loss {loss:.3f}")
    fitted = {"open_weights": weights[:-1], "open_bias": weights[-1:]}
    return {**fitted, "class_names": packed, "class_names_scale": scale}


def decoder_alone(recognizer: Recognizer) -> dict[str, NDArray[Any]]:
    """Return arrays that keep the previous scores of texts, for when nothing can be fitted."""
    if (evidence := recognizer.scorer.tag_evidence) is not None:
        weights, bias = evidence.open.weights, evidence.open.bias
    else:
        before = recognizer.directory.config
        weights = np.zeros(len(OPEN_PREDICTORS), np.float32)
        weights[0], bias = before.score_slope, -before.open_shift * before.score_slope
    return {"open_weights": weights, "open_bias": np.array([bias], np.float32)}


def _embeds_texts(recognizer: Recognizer) -> bool:
    if recognizer.directory.config.labels.kind != "text":
        return False
    return recognizer.questions.texts.categories(["thing"]).embeddings is not None


def _class_embeddings(classes: Sequence[ImageNetClass], wordnet: str | None, recognizer: Recognizer) -> FloatArray:
    """Embed the names of classes and their meanings, ``[C, E]``."""
    meanings = _implied(classes, recognizer.vocabulary) if wordnet is None else _definitions(classes, wordnet)
    return _embeddings([one.name for one in classes], recognizer) + _embeddings(meanings, recognizer)


def _implied(classes: Sequence[ImageNetClass], vocabulary: TagVocabulary) -> list[str]:
    """Join the names of classes and of the tags that they imply: "schooner, boat"."""
    implied: dict[int, list[str]] = {}
    for tag in vocabulary:
        for number in tag.classes:
            others = vocabulary.with_implied([tag.id]) - {tag.id}
            implied.setdefault(number, [vocabulary[other].name for other in sorted(others)])
    return [", ".join([one.name, *implied.get(number, [])]) for number, one in enumerate(classes)]


def _definitions(classes: Sequence[ImageNetClass], folder: str) -> list[str]:
    """Return WordNet's definitions of classes, without its examples."""
    wordnet = WordNet(folder)
    return [wordnet.synset(int(one.wnid[1:]), "noun").gloss.partition(";")[0] for one in classes]


def _embeddings(texts: Sequence[str], recognizer: Recognizer) -> FloatArray:
    """Embed texts as unit vectors ``[T, E]``."""
    parts = []
    for start in range(0, len(texts), _CHUNK):
        embeddings = recognizer.questions.texts.categories(texts[start : start + _CHUNK]).embeddings
        assert embeddings is not None
        parts.append(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))
    return np.concatenate(parts)


def _fit(
    design: Tensor, is_true: Tensor, omitted: Tensor, importance: Tensor, pictures: int
) -> tuple[NDArray[np.float32], float]:
    """Fit weights of the columns, the last of which is constant; return them and the loss per picture."""
    units = design.std(0).clamp(min=1e-3)
    units[-1] = 1
    scaled, weights = design / units, torch.zeros(design.shape[1])

    def loss() -> Tensor:
        error = (importance * description_loss(scaled @ weights, is_true, omitted)).sum() / pictures
        total: Tensor = error + _STRENGTH * weights[:-1].square().sum()
        return total

    minimize(loss, [weights], steps=100)
    return (weights.detach() / units).numpy(), float(loss().detach())
