"""``benchmarks/accelerator.py``, whose row nobody here can measure: that it runs, and what it writes."""

from __future__ import annotations

import json

import accelerator
import numpy as np
import pytest
import torch
from _families import make_directory


def test_the_command_runs_and_its_last_lines_are_rows_of_the_table(tmp_path, monkeypatch, capsys):
    out = tmp_path / "accelerator.json"
    names = [
        "--work",
        str(tmp_path),
        "--device",
        "cpu",
        "--tiny",
        "--batch",
        "1",
        "3",
        "--runs",
        "1",
        "--out",
        str(out),
    ]
    monkeypatch.setattr("sys.argv", ["accelerator.py", *names])
    accelerator.main()
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["machine"]["tiny"] is True
    for family in accelerator.NAMES:
        for batch in ("1", "3"):
            rows = record[family][batch]
            assert list(rows) == ["reference", "float32", "bfloat16"]
            assert rows["reference"]["largest_logit_difference"] == 0
            assert rows["float32"]["largest_logit_difference"] < 1e-3
            assert 0 < rows["bfloat16"]["largest_logit_difference"] < 1
            assert all(row["ms_per_picture"] > 0 for row in rows.values())
    last = capsys.readouterr().out.strip().splitlines()[-6:]
    assert [line.split(" | ")[0] for line in last] == ["| RAM"] * 2 + ["| RAM++"] * 2 + ["| Tag2Text"] * 2
    assert {line.count("|") for line in last} == {9}


def test_what_does_not_fit_is_left_out():
    def full(pixels):
        raise torch.OutOfMemoryError("CUDA out of memory")

    runs = {"reference": full, "float32": lambda pixels: np.ones((2, 3)), "bfloat16": lambda pixels: np.ones((2, 3))}
    rows = accelerator.measure(runs, np.zeros((2, 4, 4, 3), np.uint8), torch.device("cpu"), runs=1)
    assert rows["reference"] is None
    assert rows["bfloat16"]["faster"] is None
    line = accelerator.markdown("NVIDIA X", {"ram": {"64": rows}})
    assert line.startswith("| RAM | NVIDIA X | 64 | does not fit | ")
    assert line.endswith(" |  |  |")


def test_a_card_that_is_not_there(tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    monkeypatch.setattr("sys.argv", ["accelerator.py", "--work", str(tmp_path), "--tiny"])
    with pytest.raises(SystemExit, match=r"^device 'cuda' is not available to PyTorch here"):
        accelerator.main()
    assert not list(tmp_path.iterdir())


def test_one_tiny_model_is_not_taken_for_a_full_one(tmp_path):
    """``--tiny`` and full sizes may be given the same folder."""
    tiny = make_directory("ram", tmp_path / "ram", tiny=True)
    assert tiny.config.image_encoder.swin.width == 32
    assert not (tmp_path / "ram").exists()
