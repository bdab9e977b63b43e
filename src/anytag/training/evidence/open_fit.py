"""How much predictors count for texts outside the vocabulary, fitted on tags that the decoder was hardly taught."""

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
from anytag.training.evidence.eight_bits import in_eight_bits
from anytag.training.evidence.likelihood import description_loss, silence
from anytag.training.evidence.partial_labels import TRUE, UNKNOWN, PartialLabels
from anytag.training.evidence.predictions import Predictions
from anytag.training.recipes.evidence import EvidenceTraining

#: Texts that are embedded, and pictures whose classes are added up, at a time.
_CHUNK = 512

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
    """The arrays that :meth:`~anytag.inference.open_evidence.OpenEvidence.from_arrays` reads.

    Tags that few captions taught the decoder stand for texts that it was never asked for: they are asked as texts
    here, by their names alone. Tags that hardly any picture shows are left out; people ask for what there may be.

    Args:
        config: The recipe.
        predictions: What was said of pictures that the decoder has not learned from.
        targets: What is known of them.
        taught: ``[T]``, pictures that taught the decoder each tag.
        rates: ``[T]``, how likely one caption is to name each tag that is there.
        unfamiliar: ``[N]``, how unlike captioned pictures they are.
        recognizer: The model.
        report: Receives a line.

    Returns:
        Nothing if the model embeds no texts, its classes have no names, or too few tags are left.
    """
    how = config.open
    tags = np.flatnonzero((taught < how.taught) & ((targets.values == TRUE).sum(0) >= how.positives))
    classes = load_knowledge().imagenet
    if predictions.classes.shape[1] != len(classes) or len(tags) < 2 or not _embeds_texts(recognizer):
        return {}
    packed, scale = in_eight_bits(_class_embeddings(classes, how.wordnet, recognizer))
    class_similarity = ClassSimilarity(packed * scale[:, None], how.sharpness)
    similarity = class_similarity(_embeddings([recognizer.vocabulary[int(tag)].name for tag in tags], recognizer))
    stated = np.concatenate(
        [
            floored_log(apply_temperature(np.exp(part), config.temperature) @ similarity, how.floor)
            for part in np.array_split(predictions.classes, len(predictions.classes) // _CHUNK + 1)
        ]
    )
    assert predictions.decoder is not None
    chosen = targets.values[:, tags]
    drawn = np.random.default_rng(config.seed).random(chosen.shape, np.float32) < how.easy_share
    rows, columns = np.nonzero((chosen != UNKNOWN) & ((chosen == TRUE) | drawn))
    is_true = chosen[rows, columns] == TRUE
    decoder, said = predictions.decoder[:, tags][rows, columns].astype(np.float32), stated[rows, columns]
    strange = unfamiliar[rows]
    design = np.stack([decoder, said, strange, strange * decoder, strange * said, np.ones_like(strange)], axis=1)
    unsaid = silence(
        torch.from_numpy(targets.captions[rows]), torch.from_numpy(rates[tags][columns].astype(np.float32))
    )
    importance = torch.from_numpy(np.where(is_true, 1, 1 / how.easy_share).astype(np.float32))
    weights, loss = _fit(
        torch.from_numpy(design.astype(np.float32)), torch.from_numpy(is_true), unsaid, importance, len(chosen)
    )
    shown = ", ".join(f"{name} {weight:.2f}" for name, weight in zip((*OPEN_PREDICTORS, "bias"), weights, strict=True))
    report(f"texts outside the vocabulary, by {len(tags):,} tags: {shown}; loss {loss:.3f}")
    return {
        "open_weights": weights[:-1],
        "open_bias": weights[-1:],
        "class_names": packed,
        "class_names_scale": scale,
    }


def decoder_alone(recognizer: Recognizer) -> dict[str, NDArray[Any]]:
    """The arrays where nothing can be fitted: texts are scored as they were before."""
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
    """Embeddings ``[C, E]`` of classes: of their names and of what they are."""
    meant = _implied(classes, recognizer.vocabulary) if wordnet is None else _definitions(classes, wordnet)
    return _embeddings([one.name for one in classes], recognizer) + _embeddings(meant, recognizer)


def _implied(classes: Sequence[ImageNetClass], vocabulary: TagVocabulary) -> list[str]:
    """Names of classes with those of the tags that they imply: "schooner, boat"."""
    implied: dict[int, list[str]] = {}
    for tag in vocabulary:
        for number in tag.classes:
            others = vocabulary.with_implied([tag.id]) - {tag.id}
            implied.setdefault(number, [vocabulary[other].name for other in sorted(others)])
    return [", ".join([one.name, *implied.get(number, [])]) for number, one in enumerate(classes)]


def _definitions(classes: Sequence[ImageNetClass], folder: str) -> list[str]:
    """WordNet's definitions of classes, without its examples."""
    wordnet = WordNet(folder)
    return [wordnet.synset(int(one.wnid[1:]), "noun").gloss.partition(";")[0] for one in classes]


def _embeddings(texts: Sequence[str], recognizer: Recognizer) -> FloatArray:
    """Text embeddings ``[T, E]`` of length 1."""
    parts = []
    for start in range(0, len(texts), _CHUNK):
        found = recognizer.questions.texts.categories(texts[start : start + _CHUNK]).embeddings
        assert found is not None
        parts.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    return np.concatenate(parts)


def _fit(
    design: Tensor, is_true: Tensor, unsaid: Tensor, importance: Tensor, pictures: int
) -> tuple[NDArray[np.float32], float]:
    """Weights of the columns, the last of which is constant, and the loss a picture."""
    units = design.std(0).clamp(min=1e-3)
    units[-1] = 1
    scaled, weights = design / units, torch.zeros(design.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        wrong = (importance * description_loss(scaled @ weights, is_true, unsaid)).sum() / pictures
        total: Tensor = wrong + _STRENGTH * weights[:-1].square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return (weights.detach() / units).numpy(), float(loss().detach())
