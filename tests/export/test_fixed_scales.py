"""Official models in 8 bits whose activations have scales that were measured on photographs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from conftest import require_module
from oracle_sets import convert_oracle, each_oracle_set
from picture_files import noise
from typer.testing import CliRunner

import anytag
from anytag.backends.onnx import OnnxBackend
from anytag.backends.torch import TorchBackend
from anytag.cli import build_app
from anytag.errors import UsageError
from anytag.export.official import export_official
from anytag.export.sample_pictures import SAMPLE, normalized, sample_pictures
from anytag.export.smoothing import smooth_activations
from anytag.model.directory import ModelDirectory
from anytag.nn.model import RecognitionModel
from anytag.nn.weights import WEIGHTS_FILE, read_model

GRAPHS = ("image_encoder", "recognition_decoder")
PHOTOGRAPHS = [noise(70, 50, seed=seed) for seed in range(6)]


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """From an oracle's model: its folder with PyTorch weights, its 8-bit export, and the lines of the report."""
    made = {}

    def make(oracle_set):
        if oracle_set.name not in made:
            folder, lines = tmp_path_factory.mktemp(oracle_set.name), []
            convert_oracle(oracle_set, folder, folder / "torch")
            export_official(folder / "torch", folder / "fixed", "int8", lines.append, GRAPHS, PHOTOGRAPHS)
            made[oracle_set.name] = (folder, lines)
        return made[oracle_set.name]

    return make


def scores(recognizer, picture):
    return {tag.id: tag.score for tag in recognizer.tag(picture, threshold=0).tags}


@each_oracle_set("ram", "ram_plus", "tag2text")
class TestFixedScales:
    @pytest.mark.parametrize("backend", ["onnx", "openvino"])
    def test_scores_stay_close(self, oracle_set, fixed, backend):
        if backend == "openvino":
            require_module("openvino")
        folder, _ = fixed(oracle_set)
        picture = noise(70, 50, seed=20)
        wanted = scores(anytag.load(folder / "torch"), picture)
        found = scores(anytag.load(folder / "fixed", backend=backend), picture)
        assert found.keys() == wanted.keys()
        assert 0 < max(abs(found[id] - wanted[id]) for id in wanted) < 0.1

    def test_fixed_scales_do_not_depend_on_the_batch(self, oracle_set, fixed):
        folder, lines = fixed(oracle_set)
        for name in GRAPHS:
            kinds = {node.op_type for node in onnx.load(folder / "fixed" / "onnx" / f"{name}.onnx").graph.node}
            assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
            assert not kinds & {"DynamicQuantizeLinear", "MatMulInteger"}
        assert [line.partition(":")[0] for line in lines if "as int8, fixed scales" in line] == list(GRAPHS)
        picture = noise(70, 50, seed=21)
        everything = scores(anytag.load(folder / "fixed"), picture)
        few = scores(anytag.load(folder / "fixed", tags=anytag.TagChoice(allow=["5", "0", "3"])), picture)
        assert few == pytest.approx({id: everything[id] for id in (0, 3, 5)}, abs=1e-6)

    def test_openvino_runs_a_batch_as_its_pictures(self, oracle_set, fixed):
        require_module("openvino")
        folder, _ = fixed(oracle_set)
        recognizer = anytag.load(folder / "fixed", backend="openvino")
        pictures = [noise(70, 50, seed=22), noise(70, 50, seed=23) // 8]
        alone = [scores(recognizer, picture) for picture in pictures]
        together = [{tag.id: tag.score for tag in found.tags} for found in recognizer.tag(pictures, threshold=0)]
        for one, other in zip(together, alone, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


@each_oracle_set("ram")
def test_what_comes_out_of_a_product_is_not_rounded(oracle_set, fixed):
    """Only what enters is: the other half of the error, and of the rounding's time, would be for nothing."""
    folder, _ = fixed(oracle_set)
    graph = onnx.load(folder / "fixed" / "onnx" / "image_encoder.onnx").graph
    products = {output for node in graph.node if node.op_type in ("MatMul", "Gemm") for output in node.output}
    assert not [node.name for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in products]
    weights = [
        tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2
    ]
    scales = {tensor.name: tensor.dims for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in {weight.name for weight in weights}:
            [count] = scales[node.input[1]]
            assert count == scales[node.input[0]][1]  # A scale a channel.
    assert weights


@each_oracle_set("ram")
class TestSmoothing:
    def model(self, oracle_set, fixed):
        folder, _ = fixed(oracle_set)
        directory = ModelDirectory(folder / "torch")
        size = len(directory.vocabulary)
        model = RecognitionModel(directory.config, size)
        # A copy, because the array is mapped from the file.
        read = read_model(directory.config, size, directory.file(WEIGHTS_FILE))
        model.load_state_dict({name: tensor.clone() for name, tensor in read.state_dict().items()}, strict=False)
        return model.eval()

    @torch.no_grad()
    def test_the_network_computes_the_same(self, oracle_set, fixed):
        model = self.model(oracle_set, fixed)
        config = model.config.image_encoder
        pixels = sample_pictures(config, PHOTOGRAPHS)
        [shown] = normalized(config, pixels[:1])
        before = model.image_encoder(shown)
        weight = next(iter(model.image_encoder.layers)).blocks[0].attention.query_key_value.weight.clone()
        smooth_activations(model.image_encoder, normalized(config, pixels))
        after = next(iter(model.image_encoder.layers)).blocks[0].attention.query_key_value.weight
        assert (weight - after).abs().max() > 0
        torch.testing.assert_close(model.image_encoder(shown), before, atol=1e-4, rtol=1e-4)

    @torch.no_grad()
    def test_channels_are_divided_by_what_the_paper_says(self, oracle_set, fixed):
        model = self.model(oracle_set, fixed)
        config, encoder = model.config.image_encoder, model.image_encoder
        block = next(iter(encoder.layers)).blocks[0]
        seen = []
        block.feed_forward_norm.register_forward_hook(lambda module, given, output: seen.append(output))
        pictures = list(normalized(config, sample_pictures(config, PHOTOGRAPHS[:2])))
        for picture in pictures:
            encoder(picture)
        largest = torch.cat(seen, 1).abs().amax((0, 1))
        weights = block.feed_forward.inner.weight.abs().amax(0)
        wanted = block.feed_forward_norm.weight / (largest / weights).sqrt()
        smooth_activations(encoder, pictures, strength=0.5)
        torch.testing.assert_close(block.feed_forward_norm.weight.detach(), wanted)
        # Activations and weights of a channel are now alike.
        torch.testing.assert_close(block.feed_forward.inner.weight.abs().amax(0), (largest * weights).sqrt())

    @torch.no_grad()
    def test_large_channels_cost_no_accuracy(self, oracle_set, fixed, tmp_path, monkeypatch):
        """As in trained transformers: a few channels of a normalization a hundred times as large as the others."""
        folder, _ = fixed(oracle_set)
        model = self.model(oracle_set, fixed)
        for stage in model.image_encoder.layers:
            for block in stage.blocks:
                for norm, linear in (
                    (block.attention_norm, block.attention.query_key_value),
                    (block.feed_forward_norm, block.feed_forward.inner),
                ):
                    norm.weight[:3] *= 100
                    norm.bias[:3] *= 100
                    linear.weight[:, :3] /= 100
        monkeypatch.setattr("anytag.export.official.read_model", lambda *given: model)
        apart = {}
        truth = TorchBackend(ModelDirectory(folder / "torch")).encode(
            sample_pictures(model.config.image_encoder, PHOTOGRAPHS)
        )
        for name in ("plain", "smooth"):
            if name == "plain":
                state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
                monkeypatch.setattr("anytag.export.official.smooth_activations", lambda *given: None)
            else:
                model.load_state_dict(state, strict=False)
                monkeypatch.setattr("anytag.export.official.smooth_activations", smooth_activations)
            export_official(
                folder / "torch", tmp_path / name, "int8", lambda line: None, ("image_encoder",), PHOTOGRAPHS
            )
            pixels = sample_pictures(model.config.image_encoder, PHOTOGRAPHS)
            found = OnnxBackend(ModelDirectory(tmp_path / name), threads=1).encode(pixels).features
            apart[name] = np.abs(found - truth.features).mean()
        assert apart["smooth"] < apart["plain"] / 3


class TestSamplePictures:
    @each_oracle_set("ram")
    def test_a_few_evenly_spread_and_bad_ones_left_out(self, oracle_set, tmp_path):
        config, lines = oracle_set.model_config.image_encoder, []
        many = [np.full((20, 20, 3), number, np.uint8) for number in range(100)]
        pixels = sample_pictures(config, many, lines.append)
        assert len(pixels) == SAMPLE
        assert [int(picture[0, 0, 0]) for picture in pixels[[0, 1, -1]]] == [0, 3, 99]
        (tmp_path / "bad.jpg").write_bytes(b"no picture")
        assert len(sample_pictures(config, [tmp_path / "bad.jpg", many[3]], lines.append)) == 1
        assert len(lines) == 1
        assert lines[0].startswith(f"left out: {tmp_path / 'bad.jpg'}")

    @each_oracle_set("ram")
    def test_none_can_be_read(self, oracle_set, tmp_path):
        (tmp_path / "bad.jpg").write_bytes(b"no picture")
        with pytest.raises(UsageError, match=r"^no picture could be read \(1 tried\), so ranges of activations"):
            sample_pictures(oracle_set.model_config.image_encoder, [tmp_path / "bad.jpg"], lambda line: None)


@each_oracle_set("ram")
class TestCommand:
    def test_photographs_in_a_folder(self, oracle_set, fixed, tmp_path):
        from PIL import Image

        folder, _ = fixed(oracle_set)
        for number, photograph in enumerate(PHOTOGRAPHS):
            Image.fromarray(photograph).save(tmp_path / f"{number}.png")
        (tmp_path / "broken.png").write_bytes(b"\x89PNG")
        names = [str(folder / "torch"), "--out", str(tmp_path / "out"), "--int8", "--calibration", str(tmp_path)]
        done = CliRunner().invoke(build_app(), ["export", *names])
        assert done.exit_code == 0, done.output
        assert "left out: " in done.output
        assert "broken.png" in done.output
        assert "image_encoder: parity" in done.output
        assert "as int8, fixed scales" in done.output
        picture = noise(70, 50, seed=20)
        wanted = scores(anytag.load(folder / "torch"), picture)
        assert scores(anytag.load(tmp_path / "out"), picture) == pytest.approx(wanted, abs=0.1)

    @pytest.mark.parametrize("options", [[], ["--full"], ["--full", "--int8"]])
    def test_without_8_bits(self, oracle_set, fixed, tmp_path, options):
        folder, _ = fixed(oracle_set)
        names = [str(folder / "torch"), "--out", str(tmp_path / "out"), *options, "--calibration", str(tmp_path)]
        done = CliRunner().invoke(build_app(), ["export", *names])
        assert done.exit_code == 2
        assert "--calibration goes with --int8" in done.output
        assert not (tmp_path / "out").exists()

    def test_a_folder_without_pictures(self, oracle_set, fixed, tmp_path):
        folder, _ = fixed(oracle_set)
        empty = tmp_path / "empty"
        empty.mkdir()
        names = [str(folder / "torch"), "--out", str(tmp_path / "out"), "--int8", "--calibration", str(empty)]
        done = CliRunner().invoke(build_app(), ["export", *names])
        assert done.exit_code == 2
        assert not (tmp_path / "out").exists()


@each_oracle_set("ram")
def test_photographs_are_for_8_bits(oracle_set, fixed, tmp_path):
    folder, _ = fixed(oracle_set)
    with pytest.raises(UsageError, match="photographs for calibration are for int8, not for float16"):
        export_official(folder / "torch", tmp_path / "out", "float16", calibration=PHOTOGRAPHS)
