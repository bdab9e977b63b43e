"""The trials of what users run into: how they are read and shown, and that one runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import user_trials
from conftest import ROOT, require

from anytag.model.directory import SHIPPED_MODEL

TRIALS = list(user_trials.read_trials(ROOT / "benchmarks" / "user_trials.txt"))


def test_each_subject_is_tried_with_three_relatives_at_least():
    counts = Counter(trial.subject for trial in TRIALS)
    assert len(counts) == 15
    assert min(counts.values()) >= 4
    assert max(Counter((trial.subject, trial.what) for trial in TRIALS).values()) == 1


def test_the_page_shows_every_trial():
    page = (ROOT / "docs" / "trials" / "command-line.md").read_text(encoding="utf-8")
    for trial in TRIALS:
        what = trial.what.replace("|", "\\|").replace("<", "&lt;")
        assert f"| {trial.subject} | {what} |" in page


@pytest.mark.parametrize(
    ("out", "error", "status", "shown"),
    [
        ("a\n\n  b  c\nd\ne\n", "", 0, "a / b c / d"),
        ("", "one\ntwo\n", 2, "two; status 2"),
        ("", "", 0, ""),
        ("x", "Traceback (most recent call last):\n  f()\nKeyError: 'a'\n", 1, "traceback: KeyError: 'a'"),
        (
            "",
            "Traceback (most recent call last):\nanytag.errors.UsageError: top must be\n",
            1,
            "UsageError: top must be",
        ),
    ],
)
def test_how_an_outcome_is_shown(out, error, status, shown):
    assert user_trials._outcome(out, error, status) == shown


def test_what_was_changed_is_shown_unless_the_script_names_it():
    before, after = {"c.jpg": 1, "kept": 2}, {"c.jpg": 9, "kept": 2, "new.png": 3, "o/deep": 4, "t.txt": 5}
    assert user_trials._changes(before, after, "> t.txt") == "**destroys c.jpg**; new here: new.png"


def test_one_of_them(tmp_path: Path):
    require(SHIPPED_MODEL / "config.json", "the shipped model")
    [trial] = [trial for trial in TRIALS if trial.what == "| head -1"]
    assert user_trials.run(trial, ROOT / "src") == "nothing, status 0"
