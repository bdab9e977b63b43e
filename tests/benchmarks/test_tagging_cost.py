"""``benchmarks/tagging_cost.py``: what is counted, at sizes that take a second."""

from __future__ import annotations

import pytest
from conftest import require_module

require_module("transformers")
tagging_cost = pytest.importorskip("tagging_cost")


def test_every_arm_is_measured_and_sums_up():
    found = tagging_cost.measure(tiny=True, rounds=2)
    times = found["milliseconds"]
    assert times.keys() == {"image encoder", "tagging head", "detector", "tagging in all"}
    assert times["tagging in all"] == pytest.approx(times["image encoder"] + times["tagging head"], abs=0.2)


def test_the_head_at_full_size_has_the_weights_of_the_reference():
    from anytag.nn.weights import empty_model

    config, tags = tagging_cost.tagger_config(tiny=False)
    model = empty_model(config, tags)
    assert (config.image_encoder.resolution, tags) == (384, 3429)
    # Parts of the reference: 2,633,472 weights of queries, 2,636,901 of scores, 14,962,176 of the decoder.
    shared = tagging_cost.count(model.label_queries, model.recognition_decoder.score)
    assert shared == 2_633_472 + 2_636_901
    assert tagging_cost.count(model.label_queries, model.recognition_decoder) == shared + 14_962_176
