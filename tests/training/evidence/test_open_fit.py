"""Weights of texts outside the vocabulary, fitted on pictures whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import require_module

require_module("torch", "train")

import anytag  # noqa: E402
from anytag.backends.base import ArrayQueries  # noqa: E402
from anytag.inference.open_evidence import OPEN_PREDICTORS, OpenEvidence  # noqa: E402
from anytag.language.tags.knowledge import ImageNetClass, Knowledge  # noqa: E402
from anytag.model.config import EvidenceConfig  # noqa: E402
from anytag.training.evidence.open_fit import decoder_alone, fit_open  # noqa: E402
from anytag.training.evidence.partial_labels import PartialLabels  # noqa: E402
from anytag.training.evidence.predictions import Predictions  # noqa: E402
from anytag.training.recipes.evidence import EvidenceTraining, OpenConfig, PictureGroup  # noqa: E402

COUNT = 300


def embedded(names):
    """Every name in a direction of its own."""
    rows = [np.random.default_rng(sum(map(ord, name))).normal(size=12) for name in names]
    rows = np.array(rows, np.float32) / np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)
    return ArrayQueries({"queries": rows}, rows)


@pytest.fixture
def recognizer(exported, monkeypatch):
    """A model whose first classes go by the names of its tags."""
    found = anytag.load(exported.folder, threads=1)
    monkeypatch.setattr(found.questions.texts, "categories", embedded)
    names = [tag.name for tag in found.vocabulary]
    names += [f"thing {number}" for number in range(found.directory.config.image_encoder.classes - len(names))]
    known = Knowledge(
        tuple(ImageNetClass(f"n{number:08d}", name, "") for number, name in enumerate(names)), {}, {}, frozenset(), ()
    )
    monkeypatch.setattr("anytag.training.evidence.open_fit.load_knowledge", lambda: known)
    return found


def material(recognizer, decoder_weight):
    """Pictures of one class each; a tag is there where its class is, and where the decoder says so."""
    rng = np.random.default_rng(0)
    classes, tags = recognizer.directory.config.image_encoder.classes, len(recognizer.vocabulary)
    shown = rng.integers(tags, size=COUNT)
    probabilities = np.full((COUNT, classes), 0.02 / classes, np.float32)
    probabilities[np.arange(COUNT), shown] += 0.98
    decoder = rng.normal(size=(COUNT, tags)).astype(np.float16)
    odds = decoder_weight * decoder.astype(np.float64) - 3
    odds[np.arange(COUNT), shown] += 6
    values = (odds + rng.logistic(size=odds.shape) > 0).astype(np.int8)
    means = np.zeros((COUNT, 4), np.float32)
    predictions = Predictions([], means, np.log(probabilities), decoder)
    return predictions, PartialLabels(values, np.zeros(COUNT, np.int64))


def fit(recognizer, decoder_weight=1.0, **changes):
    predictions, targets = material(recognizer, decoder_weight)
    open_config = OpenConfig(easy_share=1.0, **changes)
    config = EvidenceTraining(groups=(PictureGroup(source="x.tar"),), open=open_config)
    tags, lines = len(recognizer.vocabulary), []
    taught, rates, unfamiliar = np.zeros(tags, np.int64), np.full(tags, 0.5), np.zeros(COUNT, np.float32)
    return fit_open(config, predictions, targets, taught, rates, unfamiliar, recognizer, lines.append), lines


def test_weights_follow_the_reliability_of_classes_and_decoder(recognizer):
    strong, lines = fit(recognizer, 2.0)
    weak, _ = fit(recognizer, 0.0)
    place = {name: number for number, name in enumerate(OPEN_PREDICTORS)}
    assert strong["open_weights"][place["decoder"]] == pytest.approx(2, abs=0.6)
    assert weak["open_weights"][place["decoder"]] == pytest.approx(0, abs=0.2)
    assert weak["open_weights"][place["classes"]] > 0.3
    assert strong["open_weights"][place["unfamiliar"] :].tolist() == [0, 0, 0], "no picture is unfamiliar"
    assert lines[0].startswith("texts outside the vocabulary, by")
    evidence = OpenEvidence.from_arrays(strong, EvidenceConfig())
    like = evidence.similarity(embedded([tag.name for tag in recognizer.vocabulary][:3]).embeddings)
    assert like.shape == (recognizer.directory.config.image_encoder.classes, 3)
    assert (like.argmax(0) == np.arange(3)).all(), "a text is most like the class of its own name"


def test_well_trained_tags_and_tags_without_pictures_are_not_used(recognizer):
    predictions, targets = material(recognizer, 1.0)
    config = EvidenceTraining(groups=(PictureGroup(source="x.tar"),))
    tags = len(recognizer.vocabulary)
    for taught, values in (
        (np.full(tags, 8), targets.values),
        (np.zeros(tags, np.int64), np.zeros_like(targets.values)),
    ):
        known = PartialLabels(values, targets.captions)
        made = fit_open(
            config, predictions, known, taught, np.full(tags, 0.5), np.zeros(COUNT, np.float32), recognizer, print
        )
        assert made == {}


def test_without_a_fit_scores_do_not_change(recognizer):
    config = recognizer.directory.config
    alone = decoder_alone(recognizer)
    assert alone["open_weights"].tolist() == pytest.approx([config.score_slope, 0, 0, 0, 0])
    assert alone["open_bias"].tolist() == pytest.approx([-config.open_shift * config.score_slope])


def test_definitions_come_from_wordnet(recognizer, tmp_path):
    with pytest.raises(anytag.AnytagError, match="no WordNet database there"):
        fit(recognizer, wordnet=str(tmp_path))
