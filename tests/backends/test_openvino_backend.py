"""OpenVINO runs the graphs that ONNX Runtime runs, with the same results."""

from __future__ import annotations

import builtins
import shutil

import numpy as np
import pytest
from conftest import require_module
from fixtures_toy import edit_config

import anytag
from anytag.backends.onnx import OnnxBackend
from anytag.backends.openvino import OpenVinoBackend
from anytag.errors import MissingExtraError, ModelError
from anytag.export.onnx import fold_constants, quantize_dynamic
from anytag.model.directory import ModelDirectory


@pytest.fixture(scope="module")
def both(exported):
    require_module("openvino")
    directory = ModelDirectory(exported.folder)
    return OnnxBackend(directory, threads=1), OpenVinoBackend(directory, threads=1)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)


def test_tags(both, pixels):
    encoded = [backend.encode(pixels) for backend in both]
    np.testing.assert_allclose(encoded[1].features, encoded[0].features, atol=1e-4)
    np.testing.assert_allclose(encoded[1].classes, encoded[0].classes, atol=1e-4)
    features, labels = encoded[0].features, both[0].vocabulary_queries()
    for some in (labels, labels.take(np.array([3, 1]))):
        logits = [backend.recognize(features, some) for backend in both]
        np.testing.assert_allclose(logits[1], logits[0], atol=1e-4)
    looked = [backend.attention(features, labels) for backend in both]
    np.testing.assert_allclose(looked[1], looked[0], atol=1e-4)
    texts = [backend.text_queries(np.array([[3, 4, 5]])).arrays["queries"] for backend in both]
    np.testing.assert_allclose(texts[1], texts[0], atol=1e-4)


def test_captions(both, pixels):
    features, tags = both[0].encode(pixels[:1]).features, np.array([[4, 9, 6]])
    steps, caches = [backend.fuse(tags, features, rows=2) for backend in both], [{}, {}]
    for place in range(3):
        made = [step(np.full((2, 1), 11 + place), cache) for step, cache in zip(steps, caches, strict=True)]
        caches = [cache for _, cache in made]
        np.testing.assert_allclose(made[1][0], made[0][0], atol=1e-4)


def test_results_outlive_the_next_run(both, pixels):
    first = both[1].encode(pixels[:1]).features
    kept = first.copy()
    both[1].encode(pixels[1:])
    assert np.array_equal(first, kept)


def test_a_batch_gives_what_its_pictures_give(both, pixels):
    batch = both[1].encode(pixels)
    each = [both[1].encode(pixels[row : row + 1]) for row in range(len(pixels))]
    np.testing.assert_allclose(batch.features, np.concatenate([one.features for one in each]), atol=1e-5)
    np.testing.assert_allclose(batch.classes, np.concatenate([one.classes for one in each]), atol=1e-5)
    assert both[1].encode(pixels[:0]).features.shape == (0, *batch.features.shape[1:])


def test_in_8_bits_a_picture_does_not_depend_on_its_neighbors(exported, tmp_path, pixels):
    """Its activations take their scale as they come, and a brighter neighbor's would be another."""
    require_module("openvino")
    folder = shutil.copytree(exported.folder, tmp_path / "model")
    fold_constants(folder / "onnx" / "image_encoder.onnx")
    quantize_dynamic(folder / "onnx" / "image_encoder.onnx")
    edit_config(folder, files={})
    backend = OpenVinoBackend(ModelDirectory(folder), threads=1)
    dark = pixels // 8
    beside = backend.encode(np.concatenate([dark[:1], pixels[:1]]))
    np.testing.assert_array_equal(beside.features[:1], backend.encode(dark[:1]).features)


def test_it_is_loaded_by_name(exported, pixels):
    require_module("openvino")
    seen = [anytag.load(exported.folder, backend=name).tag(pixels[0], threshold=0) for name in ("openvino", "onnx")]
    scores = [{tag.name: tag.score for tag in result.tags} for result in seen]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    half = anytag.load(exported.folder, backend="openvino", precision="bfloat16").tag(pixels[0], threshold=0)
    assert {tag.name: tag.score for tag in half.tags} == pytest.approx(scores[1], abs=0.1)


class TestErrors:
    def test_it_is_not_installed(self, exported, monkeypatch):
        genuine = builtins.__import__

        def absent(name, *more):
            if name == "openvino":
                raise ImportError(name)
            return genuine(name, *more)

        monkeypatch.setattr(builtins, "__import__", absent)
        with pytest.raises(MissingExtraError, match=r"pip install 'anytag\[openvino\]'"):
            OpenVinoBackend(ModelDirectory(exported.folder))

    def test_a_device_that_is_not_there(self, exported):
        require_module("openvino")
        with pytest.raises(ModelError, match="device 'tpu' is not available to OpenVINO here; it offers cpu"):
            OpenVinoBackend(ModelDirectory(exported.folder), device="tpu")

    def test_a_graph_that_is_none(self, exported, tmp_path, pixels):
        require_module("openvino")
        folder = shutil.copytree(exported.folder, tmp_path / "model")
        (folder / "onnx" / "image_encoder.onnx").write_bytes(b"no graph")
        edit_config(folder, files={})
        with pytest.raises(ModelError, match=r"image_encoder\.onnx: OpenVINO cannot load it"):
            OpenVinoBackend(ModelDirectory(folder)).encode(pixels)
