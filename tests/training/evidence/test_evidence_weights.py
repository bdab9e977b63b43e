"""The likelihood of descriptions, the small network and the weights of predictors, on data whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import require_module

require_module("torch", "train")

import torch  # noqa: E402

from anytag.inference.evidence import PREDICTORS  # noqa: E402
from anytag.training.evidence.likelihood import description_loss, log_omission  # noqa: E402
from anytag.training.evidence.network import fit_network  # noqa: E402
from anytag.training.evidence.partial_labels import UNKNOWN, PartialLabels  # noqa: E402
from anytag.training.evidence.weights import PredictorFeatures, TrainingCounts, fit_alone, fit_weights  # noqa: E402
from anytag.training.recipes.evidence import NetworkConfig, WeightsConfig  # noqa: E402


def quiet(line):
    """Drop a report line."""


def loss(odds, is_true, captions, rate):
    omitted = log_omission(torch.tensor([captions]), torch.tensor([rate]))
    return float(description_loss(torch.tensor([odds]), torch.tensor([is_true]), omitted))


def test_with_a_class_given_it_is_the_logistic_loss():
    assert loss(1.5, True, 0, 0.5) == pytest.approx(math.log(1 + math.exp(-1.5)), abs=1e-5)
    assert loss(1.5, False, 0, 0.5) == pytest.approx(math.log(1 + math.exp(1.5)), abs=1e-5)


def test_a_tag_that_is_not_named_may_be_there():
    true = 1 / (1 + math.exp(-1.5))
    # Two captions, each of which would have named it with probability 0.4.
    assert loss(1.5, False, 2, 0.4) == pytest.approx(-math.log(1 - true + true * 0.6**2), abs=1e-5)


COUNT, TAGS = 400, 3


@pytest.fixture(scope="module")
def pictures():
    """Inputs of which the first says whether the first tag is there, and the second the opposite of the second."""
    inputs = np.random.default_rng(0).normal(size=(COUNT, 4)).astype(np.float32)
    values = np.stack([inputs[:, 0] > 0, inputs[:, 1] < 0, np.full(COUNT, UNKNOWN)], axis=1).astype(np.int8)
    return 3 + 10 * inputs, PartialLabels(values, np.zeros(COUNT, np.int64))


NETWORK = NetworkConfig(hidden=8, epochs=12, batch_size=20, learning_rate=0.02, input_dropout=0, dropout=0)


def test_the_network_learns_what_is_there(pictures):
    inputs, targets = pictures
    lines = []
    fitted = fit_network(inputs, targets, np.full(TAGS, 0.5), NETWORK, 0, lines.append)
    assert ((fitted.predict(inputs)[:, :2] > 0) == (targets.values[:, :2] == 1)).mean() > 0.97
    assert len(lines) == 12
    assert fitted.positives.tolist() == [*(targets.values[:, :2] == 1).sum(0), 0]


def test_the_same_seed_gives_the_same_network(pictures):
    made = [fit_network(*pictures, np.full(TAGS, 0.5), NETWORK, seed, quiet).predict(pictures[0]) for seed in (1, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert not np.allclose(made[0], made[2])


def test_quantized_it_predicts_nearly_the_same_from_raw_inputs(pictures):
    inputs = pictures[0]
    fitted = fit_network(*pictures, np.full(TAGS, 0.5), NETWORK, 0, quiet)
    kept = fitted.arrays()
    assert kept["hidden_weight"].dtype == kept["output_weight"].dtype == np.int8
    hidden = (kept["hidden_weight"] * kept["hidden_scale"][:, None]) @ inputs.T + kept["hidden_bias"][:, None]
    found = (kept["output_weight"] * kept["output_scale"][:, None]) @ np.maximum(hidden, 0)
    assert np.abs(found.T + kept["output_bias"] - fitted.predict(inputs)).max() < 0.25
    assert np.abs(fitted.predict(inputs)).max() > 5


def features(count, seed=0, unfamiliar=0.0):
    rng = np.random.default_rng(seed)
    decoder, picture = (rng.normal(scale=2, size=(count, TAGS)).astype(np.float32) for _ in range(2))
    nothing = np.zeros((count, TAGS), np.float32)
    unlike = (np.random.default_rng(seed + 1).random(count) < unfamiliar).astype(np.float32)
    return PredictorFeatures(decoder.astype(np.float16), picture, nothing - 6.9, nothing, nothing, unlike)


def knowledge(decoder=5, picture=50, classes=0):
    full = np.full(TAGS, 1)
    return TrainingCounts(
        full * decoder, full * picture, full * classes, (full * 0.5).astype(np.float32), np.zeros(TAGS, bool)
    )


def targets_of(odds, seed=1):
    values = np.random.default_rng(seed).random(odds.shape) < 1 / (1 + np.exp(-odds))
    return PartialLabels(values.astype(np.int8), np.zeros(len(odds), np.int64))


#: Everything counts, and hardly anything is drawn to zero.
WEIGHTS = WeightsConfig(easy_share=1.0, group_strength=0.01, tag_strength=0.01, bias_strength=0.01)


def test_true_weights_are_recovered():
    stated = features(6000)
    targets = targets_of(1.2 * stated.decoder.astype(np.float64) + 0.6 * stated.picture - 1)
    weights, biases = fit_weights(stated, targets, np.full(TAGS, 0.5), knowledge(), WEIGHTS, report=quiet)
    assert weights[:, 0] == pytest.approx(np.full(TAGS, 1.2), abs=0.12)
    assert weights[:, 1] == pytest.approx(np.full(TAGS, 0.6), abs=0.08)
    # The classifier always says the same, so its weight and the bias share what is constant.
    assert biases - 6.9 * weights[:, 2] == pytest.approx(np.full(TAGS, -1), abs=0.15)


def test_other_predictors_have_fixed_shares_for_well_trained_tags():
    stated = features(2000)
    targets = targets_of(stated.decoder.astype(np.float64) + 5 * stated.picture)
    weights, _ = fit_weights(stated, targets, np.full(TAGS, 0.5), knowledge(decoder=900), WEIGHTS, report=quiet)
    assert weights[:, 1] == pytest.approx(WEIGHTS.known_picture * weights[:, 0])
    assert weights[:, 2] == pytest.approx(WEIGHTS.known_classes * weights[:, 0])
    assert not weights[:, 4:].any()


def test_unfamiliar_pictures_have_other_weights():
    stated = features(8000, unfamiliar=0.5)
    unlike = stated.unfamiliar[:, None]
    decoder, picture = stated.decoder.astype(np.float64), stated.picture
    targets = targets_of(1.2 * decoder + picture * (0.2 + 0.6 * unlike) - unlike)
    weights, biases = fit_weights(stated, targets, np.full(TAGS, 0.5), knowledge(), WEIGHTS, report=quiet)
    found = {name: weights[:, PREDICTORS.index(name)] for name in PREDICTORS}
    assert found["decoder"] == pytest.approx(np.full(TAGS, 1.2), abs=0.12)
    assert found["unfamiliar_picture"] == pytest.approx(np.full(TAGS, 0.6), abs=0.1)
    # The classifier always says the same, so its weights and others share what is constant.
    odds = decoder * found["decoder"] + biases + unlike * found["unfamiliar"]
    odds += picture * (found["picture"] + unlike * found["unfamiliar_picture"])
    odds -= 6.9 * (found["classes"] + unlike * found["unfamiliar_classes"])
    truth = 1.2 * decoder + picture * (0.2 + 0.6 * unlike) - unlike
    assert np.abs(odds - truth).mean() < 0.15


def test_a_network_without_training_pictures_of_a_tag_has_no_weight():
    stated = features(500)
    targets = targets_of(stated.picture.astype(np.float64))
    weights, _ = fit_weights(stated, targets, np.full(TAGS, 0.5), knowledge(picture=0), WEIGHTS, report=quiet)
    assert not weights[:, [1, 6]].any()
    assert weights[:, 0].all()


def test_unknown_labels_change_nothing():
    stated, other = features(800), features(800, seed=7)
    targets = targets_of(stated.decoder.astype(np.float64))
    half = np.arange(800) < 400
    hidden = PartialLabels(np.where(half[:, None], targets.values, UNKNOWN).astype(np.int8), targets.captions)
    both = zip(vars(stated).values(), vars(other).values(), strict=True)
    mixed = PredictorFeatures(*(np.where(half[:, None] if a.ndim == 2 else half, a, b) for a, b in both))
    # One kind of prevalence shift for both: the decoder's logits of the unknown half are in it, but cancel.
    first, second = (
        fit_weights(one, hidden, np.full(TAGS, 0.5), knowledge(), WEIGHTS, report=quiet) for one in (stated, mixed)
    )
    assert first[0][:, :2] == pytest.approx(second[0][:, :2], abs=0.02)


def test_the_classifier_alone():
    rng = np.random.default_rng(0)
    classes = np.log(rng.random((5000, TAGS)).astype(np.float32) + 1e-3)
    targets = targets_of(1.5 * classes.astype(np.float64) + 0.7)
    factor, bias = fit_alone(classes, targets, np.full(TAGS, 0.5), np.arange(TAGS))
    assert (factor, bias) == pytest.approx((1.5, 0.7), abs=0.12)
