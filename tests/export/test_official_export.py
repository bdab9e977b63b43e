"""Official models in ONNX Runtime give what the reference gives."""

from __future__ import annotations

import numpy as np
import pytest
from oracle_sets import convert_oracle, each_oracle_set

import anytag
from anytag.backends.onnx import OnnxBackend
from anytag.backends.torch import TorchBackend
from anytag.errors import ModelError, UsageError
from anytag.export.official import export_official
from anytag.model.directory import ModelDirectory


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    made = {}

    def make(oracle_set):
        if oracle_set.name not in made:
            folder = tmp_path_factory.mktemp(oracle_set.name)
            convert_oracle(oracle_set, folder, folder / "torch")
            lines = []
            export_official(folder / "torch", folder / "onnx", report=lines.append)
            made[oracle_set.name] = (folder, lines)
        return made[oracle_set.name]

    return make


def oracle_features(oracle_set, folder):
    """What the image encoder makes of the reference's picture."""
    model = TorchBackend(ModelDirectory(folder / "torch")).model
    return model.encode(oracle_set.io["image"])[0].detach().numpy()


@each_oracle_set()
class TestExported:
    def test_logits_are_the_reference_s(self, oracle_set, exported):
        folder, lines = exported(oracle_set)
        backend = OnnxBackend(ModelDirectory(folder / "onnx"), threads=1)
        features = oracle_features(oracle_set, folder)
        labels = backend.vocabulary_queries()
        logits = backend.recognize(features, labels)
        np.testing.assert_allclose(logits, oracle_set.io["out.logits"].numpy(), atol=1e-4)
        some = labels.take(np.array([5, 0]))
        np.testing.assert_allclose(backend.recognize(features, some), logits[:, [5, 0]], atol=1e-5)
        graphs = {path.stem for path in (folder / "onnx" / "onnx").iterdir()}
        assert {"image_encoder", "recognition_decoder", "attention"} <= graphs
        assert {line.partition(":")[0] for line in lines if "parity" in line} == graphs

    def test_both_backends_have_the_same_attention(self, oracle_set, exported):
        folder, _ = exported(oracle_set)
        features = oracle_features(oracle_set, folder)
        weights = []
        for backend in (
            OnnxBackend(ModelDirectory(folder / "onnx"), threads=1),
            TorchBackend(ModelDirectory(folder / "torch")),
        ):
            weights.append(backend.attention(features, backend.vocabulary_queries()))
        np.testing.assert_allclose(weights[0], weights[1], atol=1e-5)
        np.testing.assert_allclose(weights[0].sum(-1), 1, atol=1e-4)

    def test_both_backends_see_the_same(self, oracle_set, exported):
        folder, _ = exported(oracle_set)
        picture = np.random.default_rng(1).integers(0, 256, (70, 50, 3), np.uint8)
        seen = [anytag.load(folder / name) for name in ("onnx", "torch")]
        a, b = (recognizer.tag(picture, threshold=0) for recognizer in seen)
        scores = {tag.id: tag.score for tag in a.tags}
        for tag in b.tags:
            assert scores[tag.id] == pytest.approx(tag.score, abs=1e-4)
        if oracle_set.kind != "ram_plus":
            first, second = (recognizer.caption(picture, tags=oracle_set.config["tag_list"][:2]) for recognizer in seen)
            assert first.caption == second.caption


@each_oracle_set("ram")
def test_eight_bits_stay_close(oracle_set, exported, tmp_path):
    folder, _ = exported(oracle_set)
    export_official(folder / "torch", tmp_path / "small", weights="int8", report=lambda line: None)
    size = lambda path: (path / "onnx" / "recognition_decoder.onnx").stat().st_size  # noqa: E731
    assert size(tmp_path / "small") < size(folder / "onnx")
    picture = np.random.default_rng(1).integers(0, 256, (70, 50, 3), np.uint8)
    a, b = (anytag.load(path).tag(picture, threshold=0) for path in (folder / "onnx", tmp_path / "small"))
    scores = {tag.id: tag.score for tag in a.tags}
    assert max(abs(scores[tag.id] - tag.score) for tag in b.tags) < 0.1


@each_oracle_set("ram", "ram_plus", "tag2text")
def test_in_eight_bits_a_score_does_not_depend_on_other_labels(oracle_set, exported, tmp_path):
    folder, _ = exported(oracle_set)
    graphs = ("image_encoder", "recognition_decoder")
    export_official(folder / "torch", tmp_path / "small", "int8", lambda line: None, graphs)
    picture = np.random.default_rng(1).integers(0, 256, (70, 50, 3), np.uint8)
    everything = {tag.id: tag.score for tag in anytag.load(tmp_path / "small").tag(picture, threshold=0).tags}
    few = anytag.load(tmp_path / "small", tags=anytag.TagChoice(allow=["5", "0", "3"]))
    seen = few.tag(picture, threshold=0).tags
    assert {tag.id for tag in seen} == {0, 3, 5}
    for tag in seen:
        assert tag.score == pytest.approx(everything[tag.id], abs=1e-6)


@each_oracle_set("ram")
def test_weights_too_large_for_one_file_get_one_of_their_own(oracle_set, exported, tmp_path, monkeypatch):
    folder, _ = exported(oracle_set)
    monkeypatch.setattr("anytag.export.onnx.LARGEST_GRAPH", 100_000)
    picture = np.random.default_rng(1).integers(0, 256, (70, 50, 3), np.uint8)
    wanted = {tag.id: tag.score for tag in anytag.load(folder / "onnx").tag(picture, threshold=0).tags}
    for weights, tolerance in (("float32", 1e-6), ("int8", 0.1)):
        out = tmp_path / weights
        export_official(folder / "torch", out, weights, lambda line: None, ("image_encoder", "recognition_decoder"))
        files = sorted(path.name for path in (out / "onnx").iterdir())
        assert files[:2] == ["image_encoder.onnx", "image_encoder.onnx.data"]
        assert set(files) <= {
            f"{stem}.onnx{end}" for stem in ("image_encoder", "recognition_decoder") for end in ("", ".data")
        }
        found = {tag.id: tag.score for tag in anytag.load(out).tag(picture, threshold=0).tags}
        assert found == pytest.approx(wanted, abs=tolerance)
    with (out / "onnx" / "image_encoder.onnx.data").open("ab") as file:
        file.write(b"0")
    with pytest.raises(ModelError, match=r"image_encoder\.onnx\.data: altered or damaged"):
        anytag.load(out).tag(picture)


@each_oracle_set("ram")
def test_the_source_is_not_overwritten(oracle_set, exported):
    folder, _ = exported(oracle_set)
    with pytest.raises(UsageError, match="holds the model to be exported"):
        export_official(folder / "torch", folder / "torch")
