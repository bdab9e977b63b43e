"""``benchmarks/scale_plan.py``: its arithmetic by hand, and that the page holds what it prints."""

from __future__ import annotations

import subprocess
import sys

import pytest
import scale_plan
from _scale_config import Assumptions, Gpu, Measured, Recipe, assumptions, read_measured
from conftest import ROOT

OPERATIONS = {"image": 10.0, "tags": 5.0, "teacher": 2.0, "parameters_tagging": 3e6, "parameters_captioning": 1e6}
RECIPE = Recipe("by hand", "small", 1, {"image": 1, "tags": 2}, {"image": 1, "teacher": 1}, ("tagging",))


def test_learned_parts_count_thrice_and_frozen_ones_once():
    assert scale_plan.multiply_adds(OPERATIONS, RECIPE) == {"image": 40, "tags": 30, "teacher": 2}
    assert scale_plan.parameters(OPERATIONS, RECIPE) == 3e6


def test_hours_by_hand():
    # 3.6 million pictures of 50 * 10^9 multiply-adds are 3.6 * 10^17 operations; at half of 200 * 10^12, 3,600 seconds.
    assert scale_plan.gpu_hours(3.6e6, 50, Gpu("any", 200, 1.0), 0.5) == pytest.approx(1)
    assert scale_plan.core_hours(3.6e6, 2.0) == pytest.approx(2)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (scale_plan.size(39.2e12), "39.2 TB"),
        (scale_plan.size(549e9), "549 GB"),
        (scale_plan.size(999.9e9), "1 TB"),
        (scale_plan.money(0.4), "< $1"),
        (scale_plan.money(1847), "$1,800"),
        (scale_plan.number_of(1e9), "1,000 M"),
    ],
)
def test_numbers_for_people(shown, expected):
    assert shown == expected


def test_dearer_steps_cost_more():
    measured = Measured({"parse": 0.1}, None, {})
    (row,) = scale_plan.engine_rows([36e6], Assumptions(core_price=2.0), measured)
    assert row == ["parse", "0.1 ms", "1", "$2"]


def test_assumptions_can_be_changed():
    found = assumptions(["utilization=0.5", "beams=1"], ["B200:2250:4.5"])
    assert (found.utilization, found.beams) == (0.5, 1)
    assert found.gpus == (Gpu("B200", 2250, 4.5),)
    assert found.picture_bytes == Assumptions().picture_bytes


@pytest.mark.parametrize(
    ("changes", "gpus", "message"),
    [
        (["speed=2"], [], "no such assumption; there are picture_bytes"),
        (["beams=many"], [], "beams is a number, such as 3"),
        ([], ["A100"], "expected NAME:TFLOPS:PRICE"),
    ],
)
def test_unknown_assumptions(changes, gpus, message):
    with pytest.raises(SystemExit, match=message):
        assumptions(changes, gpus)


def test_the_page_holds_what_is_measured():
    measured = read_measured(ROOT / "benchmarks" / "results")
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert scale_plan.report(Assumptions(), measured) in page, "run benchmarks/scale_plan.py --write docs/scale.md"


def test_a_page_without_marks_stays_as_it_is(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("No marks.\n")
    command = [sys.executable, str(ROOT / "benchmarks" / "scale_plan.py"), "--write", str(page)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 1
    assert "lacks the marks" in finished.stderr
    assert page.read_text() == "No marks.\n"
