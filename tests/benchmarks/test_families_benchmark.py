"""The pieces of ``benchmarks/families.py`` that would make its figures wrong: the rival, the turns, the ceilings."""

from __future__ import annotations

import _reference
import numpy as np
import pytest
import torch
from _families import in_turns
from _roofline import multiply_adds, roofline, time_by_kind
from oracle_sets import asked_decoding, each_oracle_set, written_ids

from anytag.checkpoints.convert import rename_state
from anytag.inference.generation import generate
from anytag.nn.model import RecognitionModel


def model_of(oracle_set):
    settings, config = oracle_set.config, oracle_set.model_config
    model = RecognitionModel(config, settings["num_tags"])
    model.load_state_dict(rename_state(oracle_set.weights, config, settings["num_tags"]), strict=False)
    return model.eval()


class TestTheStandIn:
    """What is compared with must compute what the reference computes, or its speed says nothing."""

    @each_oracle_set()
    @torch.no_grad()  # Not inference mode: the set's weights are kept for other tests, which need gradients.
    def test_it_gives_the_reference_s_logits(self, oracle_set):
        model = model_of(oracle_set)
        features = _reference.encode(model, oracle_set.io["image"])
        wanted = oracle_set.io.get("out.image_proj", oracle_set.io["out.visual_encoder"])
        torch.testing.assert_close(features, wanted, rtol=0, atol=1e-4)
        logits = _reference.recognize(model, features)
        torch.testing.assert_close(logits, oracle_set.io["out.logits"], rtol=0, atol=1e-4)

    @each_oracle_set()
    @torch.no_grad()
    def test_all_of_it_runs_on_the_model_s_device(self, oracle_set):
        """No card is at hand here, but on this device, too, a tensor of the processor is refused."""
        model = model_of(oracle_set).to("meta")
        features = _reference.encode(model, oracle_set.io["image"].to("meta"))
        logits = _reference.recognize(model, features)
        assert logits.device.type == "meta"
        assert logits.shape == oracle_set.io["out.logits"].shape

    @each_oracle_set("tag2text")
    @torch.no_grad()  # Not inference mode: the set's weights are kept for other tests, which need gradients.
    def test_it_writes_the_reference_s_captions(self, oracle_set):
        model = model_of(oracle_set)
        features = _reference.encode(model, oracle_set.io["image"])
        searched = [c for c in oracle_set.expected["captions"].values() if c["generate_kwargs"]["num_beams"] > 1]
        case = searched[0]
        asked, ids = case["generate_kwargs"], torch.tensor(case["tag_encoder_input_ids"])
        made = generate(
            _reference.caption_step(model, ids, features, asked["num_beams"]),
            np.array(case["prompt_ids"]),
            num_pictures=len(features),
            eos_id=asked["eos_token_id"],
            pad_id=asked["pad_token_id"],
            options=asked_decoding(case),
        )
        assert [list(result.tokens) for result in made] == written_ids(case)


def test_variants_take_turns_after_a_run_that_does_not_count():
    calls = []

    def stages(name):
        return {"first_s": lambda _: calls.append(name) or name, "second_s": lambda given: given + "!"}

    turns = in_turns({"a": stages("a"), "b": stages("b")}, runs=2)
    assert calls == ["a", "b"] * 3
    assert turns["a"].result == "a!"
    assert turns["b"].seconds.keys() == {"first_s", "second_s", "seconds"}


def test_a_part_is_held_against_the_best_product_of_its_own_precision():
    peaks = {"torch eager float32": 50.0, "oneDNN float32": 100.0, "oneDNN bfloat16": 400.0, "oneDNN int8": 800.0}
    rows = {name: {"encode_s": 2.0} for name in ("reference", "torch bfloat16", "onnx int8")}
    shown = roofline({"encode_s": 80.0}, peaks, rows)
    assert {name: shown[name]["encode"]["of_attainable"] for name in rows} == pytest.approx(
        {"reference": 0.4, "torch bfloat16": 0.1, "onnx int8": 0.05}
    )
    assert shown["reference"]["encode"]["achieved"] == 40


def test_multiply_adds_are_counted_and_shares_add_up():
    layer, values = torch.nn.Linear(100, 200), torch.randn(50, 100)
    assert multiply_adds(lambda: layer(values)) == pytest.approx(50 * 100 * 200 / 1e9)
    shares = time_by_kind(lambda: torch.nn.functional.gelu(layer(values)))
    assert {"matrix products", "GELU and softmax"} <= shares.keys()
    assert sum(shares.values()) == pytest.approx(1)
