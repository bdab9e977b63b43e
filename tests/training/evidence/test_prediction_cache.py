"""What was asked of a model before is read again only of the same model."""

from __future__ import annotations

from conftest import require_module
from fixtures_toy import edit_config, toy_recognizer

require_module("torch", "train")

from anytag.model.directory import ModelDirectory  # noqa: E402
from anytag.training.evidence.predictions import PredictionCache  # noqa: E402


def test_other_preprocessing_has_its_own_cache(tmp_path):
    recognizer = toy_recognizer(tmp_path / "toy")
    before = PredictionCache(recognizer, tmp_path, print).folder
    assert before == PredictionCache(recognizer, tmp_path, print).folder
    sizes = recognizer.directory.config.image_encoder.model_dump(mode="json")
    edit_config(tmp_path / "toy", image_encoder=sizes | {"mean": [0, 0, 0]})
    recognizer.directory = ModelDirectory(tmp_path / "toy")
    assert before != PredictionCache(recognizer, tmp_path, print).folder


def test_other_thresholds_share_the_cache(tmp_path):
    recognizer = toy_recognizer(tmp_path / "toy")
    before = PredictionCache(recognizer, tmp_path, print).folder
    edit_config(tmp_path / "toy", default_threshold=0.9)
    recognizer.directory = ModelDirectory(tmp_path / "toy")
    assert before == PredictionCache(recognizer, tmp_path, print).folder
