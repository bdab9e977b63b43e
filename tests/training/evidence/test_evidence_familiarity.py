"""A linear probe detects pictures that differ from captioned ones."""

from __future__ import annotations

import numpy as np
from conftest import require_module

require_module("torch", "train")

from anytag.foundations.log_odds import sigmoid  # noqa: E402
from anytag.training.evidence.familiarity import fit_unfamiliarity  # noqa: E402


def test_two_kinds_of_pictures_are_separated_whatever_their_numbers():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1100, 5)).astype(np.float32) * np.float32([1, 10, 0.1, 1, 1]) + np.float32(
        [0, 5, 0, 0, 0]
    )
    described = np.arange(1100) < 1000
    inputs[~described, 1] += 60
    weight, bias = fit_unfamiliarity(inputs, described)
    unlike = sigmoid(inputs @ weight + bias)
    assert (unlike[described] < 0.5).mean() > 0.99
    assert (unlike[~described] > 0.5).mean() > 0.99


def test_indistinguishable_pictures_are_equally_likely():
    inputs = np.tile(np.arange(4, dtype=np.float32)[:, None], (30, 2))
    weight, bias = fit_unfamiliarity(inputs, np.arange(120) < 40)
    assert abs(sigmoid(inputs @ weight + bias) - 0.5).max() < 0.15
