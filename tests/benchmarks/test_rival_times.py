"""``benchmarks/rival_times.py``: every row runs, at sizes that take a second, and full sizes are the published ones."""

from __future__ import annotations

import pytest
import torch
from conftest import require_module

require_module("transformers")
rival_times = pytest.importorskip("rival_times")


def test_every_row_is_measured():
    found = rival_times.measure(tiny=True, rounds=1)
    assert found["rows"].keys() == rival_times.ROWS.keys()
    for row in found["rows"].values():
        assert row["hours"] == pytest.approx(row["seconds"] * 57_224 / 3600, abs=0.06)


def test_matching_counts_every_category(monkeypatch):
    monkeypatch.setattr(
        rival_times, "ROWS", {name: rival_times.ROWS[name] for name in rival_times.ROWS if "IT" in name}
    )
    clock = iter(range(100))
    monkeypatch.setattr(rival_times.time, "process_time", lambda: next(clock))
    rows = rival_times.measure(tiny=True, rounds=1)["rows"]
    # A call takes a second by this clock: one for the picture, and one for each 8 of 214 categories.
    assert [row["seconds"] for row in rows.values()] == [1, 214 / 8 + 1]


def test_blip_has_its_published_size():
    with torch.device("meta"):
        model = rival_times.blip("BlipForConditionalGeneration", tiny=False)
    # The hub says 247 million of Salesforce/blip-image-captioning-base, whose file has the word embeddings twice.
    words = model.text_decoder.get_input_embeddings().weight.numel()
    assert sum(p.numel() for p in model.parameters()) + words == pytest.approx(247e6, rel=0.005)
