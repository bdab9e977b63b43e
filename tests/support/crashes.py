"""Work that ends at a given renaming of a file, and the toy model's calibration as an example of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fixtures_toy import TAGS

from anytag.datasets.samples import Sample
from anytag.evaluation.calibration import calibrate
from anytag.evaluation.labeled_scores import LabeledScores
from anytag.model.directory import ModelDirectory


def calibrate_toy(folder):
    """Fit the toy's thresholds on eight made-up pictures."""
    from fixtures_toy import ToyBackend

    from anytag.inference.recognizer import Recognizer

    directory = ModelDirectory(folder)
    logits = np.random.default_rng(0).normal(size=(8, len(TAGS))).astype(np.float32)
    data = LabeledScores(logits, logits > 0, [Sample(str(n), b"") for n in range(8)], np.zeros_like(logits))
    calibrate(Recognizer(directory, ToyBackend(directory, None)), data, "made up", report=lambda line: None)


def crash_before(monkeypatch, place):
    """Let the place-th renaming, counted from 0, raise :class:`Crash` instead."""
    rename, left = Path.replace, place

    def replace(path, target):
        nonlocal left
        if left == 0:
            raise Crash
        left -= 1
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replace)


def crashes(monkeypatch, place, work):
    """Whether some work ended there; if not, it did not get that far."""
    with monkeypatch.context() as patch:
        crash_before(patch, place)
        try:
            work()
        except Crash:
            return True
    return False


class Crash(Exception):
    """Stands for a kill: nothing catches it."""
