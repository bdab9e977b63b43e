"""Graphs that compute what the modules compute, or an error; and smaller files that still do, nearly."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from anytag.errors import ModelError, UsageError
from anytag.export.graphs import GraphSpec
from anytag.export.model import export_model
from anytag.export.onnx import (
    ParityError,
    check_parity,
    export_graph,
    fix_activation_scales,
    fold_constants,
    quantize_dynamic,
    store_half,
)
from anytag.export.tied_weights import share_tied_weights

GRAPHS = (
    "image_encoder", "recognition_decoder", "label_encoder", "interaction_encoder", "text_decoder", "attention",
)  # fmt: skip


@pytest.fixture
def copy(exported, tmp_path):
    def make(name):
        return shutil.copy(exported.folder / "onnx" / f"{name}.onnx", tmp_path / f"{name}.onnx")

    return make


def change(path, factor):
    """Multiply one large weight of a graph."""
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    array = onnx.numpy_helper.to_array(weight) * np.float32(factor)
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(model, path)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_computes_what_its_module_does(exported, name):
    assert set(exported.specs) == set(GRAPHS)
    assert check_parity(exported.specs[name], exported.folder / "onnx" / f"{name}.onnx") <= 1e-4


def test_parity_is_checked_on_other_sizes_too(exported):
    for spec in exported.specs.values():
        for inputs in spec.variants():
            assert set(inputs) == set(spec.inputs)
            assert any(inputs[name].shape != spec.inputs[name].shape for name in inputs)


def test_a_graph_that_differs_is_refused(exported, copy):
    path = copy("recognition_decoder")
    change(path, 1.5)
    with pytest.raises(ParityError, match=r"^recognition_decoder\.onnx: differs from the PyTorch module by ") as caught:
        check_parity(exported.specs["recognition_decoder"], path)
    assert caught.value.kind == "parity"
    assert check_parity(exported.specs["recognition_decoder"], path, tolerance=100) > 1e-4


def test_a_graph_that_gives_no_numbers_is_refused(exported, copy):
    path = copy("recognition_decoder")
    change(path, np.nan)
    with pytest.raises(ParityError, match=r"differs from the PyTorch module by nan"):
        check_parity(exported.specs["recognition_decoder"], path)


def test_half_precision_halves_the_file_and_stays_close(exported, copy):
    path = copy("image_encoder")
    before = path.stat().st_size
    store_half(path)
    assert 0.48 * before < path.stat().st_size < 0.56 * before
    assert check_parity(exported.specs["image_encoder"], path, tolerance=1e-2) > 0
    session_inputs = [(value.name, value.type.tensor_type.elem_type) for value in onnx.load(path).graph.input]
    assert session_inputs == [("pixels", onnx.TensorProto.UINT8)]


def test_small_weights_stay_as_they_are(exported, copy):
    path = copy("recognition_decoder")
    store_half(path, smallest=10**9)
    types = {weight.data_type for weight in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in types


def test_eight_bits_make_a_file_a_quarter_and_stay_near(exported, copy):
    path = copy("label_encoder")
    before = path.stat().st_size
    quantize_dynamic(path)
    assert path.stat().st_size < 0.35 * before
    assert check_parity(exported.specs["label_encoder"], path, tolerance=0.3) > 0


def weight_types(path):
    """Element type by name of every weight of more than one dimension."""
    return {w.name: w.data_type for w in onnx.load(path).graph.initializer if len(w.dims) > 1}


def test_folding_changes_no_result_and_keeps_to_standard_operators(exported, copy):
    path = copy("recognition_decoder")
    fold_constants(path)
    assert check_parity(exported.specs["recognition_decoder"], path) <= 1e-6
    assert {node.domain for node in onnx.load(path).graph.node} == {""}


def test_matrix_products_in_eight_bits_but_for_the_score(exported, copy):
    path = eight_bits(copy("recognition_decoder"))
    products = {n.op_type: [] for n in onnx.load(path).graph.node} | {"MatMulInteger": [], "MatMul": []}
    for node in onnx.load(path).graph.node:
        products[node.op_type].append(node.name)
    # Per layer query (the first layer's is an input), key, value, output and two of the feed-forward: 11 in two layers.
    assert len(products["MatMulInteger"]) == 11
    assert not any("score" in name for name in products["MatMulInteger"])
    assert [name for name in products["MatMul"] if "score" in name]
    types = weight_types(path)
    assert list(types.values()).count(onnx.TensorProto.INT8) == 11
    assert check_parity(exported.specs["recognition_decoder"], path, tolerance=0.05) > 1e-6


def eight_bits(path):
    fold_constants(path)
    quantize_dynamic(path, keep=lambda name: "/score/" in name, operators=["MatMul"])
    return path


def logits(path, inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {name: np.asarray(array) for name, array in inputs.items()})[0]


def test_fixed_scales_make_labels_independent(exported, copy):
    spec = exported.specs["recognition_decoder"]
    inputs = {name: tensor.numpy() for name, tensor in spec.inputs.items()}
    alone = {name: array if name == "features" else array[3:4] for name, array in inputs.items()}
    path = eight_bits(copy("recognition_decoder"))
    assert np.abs(logits(path, inputs)[:, 3:4] - logits(path, alone)).max() > 1e-7, "nothing to be mended here"
    fix_activation_scales(path, [inputs])
    np.testing.assert_array_equal(logits(path, inputs)[:, 3:4], logits(path, alone))
    assert "DynamicQuantizeLinear" not in {node.op_type for node in onnx.load(path).graph.node}
    assert check_parity(spec, path, tolerance=0.05) > 1e-7


def test_scales_cover_the_measured_range_and_a_margin(exported, copy):
    spec = exported.specs["recognition_decoder"]
    inputs = {name: tensor.numpy() for name, tensor in spec.inputs.items()}
    path = eight_bits(copy("recognition_decoder"))
    other = inputs | {"features": 2 * inputs["features"]}
    fix_activation_scales(path, [inputs, other], margin=1.25)
    model = onnx.load(path)
    weights = {weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer}
    [node] = {
        n.input[1]: n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "features"
    }.values()
    scale, zero = (weights[name] for name in node.input[1:])
    low, high = other["features"].min(), other["features"].max()
    assert scale == pytest.approx(1.25 * (high - low) / 255, rel=1e-5)
    assert zero == pytest.approx(-low / (high - low) * 255, abs=0.51)


def test_attention_weights_are_shares(exported):
    spec = exported.specs["attention"]
    weights = spec.module(**spec.inputs)
    assert weights.shape == (2, 7, 5)
    assert weights.min() > 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 7))


def test_a_model_without_captioner_has_three_graphs(exported):
    from fixtures_torch import TINY

    from anytag.export.graphs import graph_specs
    from anytag.nn.model import RecognitionModel

    plain = RecognitionModel(TINY.model_copy(update={"captioner": None})).eval()
    assert [spec.name for spec in graph_specs(plain, None)] == ["image_encoder", "recognition_decoder"]


class TestExportModel:
    """What is refused before anything is computed; the rest is in the full circle of tests/training."""

    def test_a_folder_that_is_no_training_run(self, tmp_path):
        with pytest.raises(ModelError) as caught:
            export_model(tmp_path, tmp_path / "out")
        assert str(caught.value) == f"{tmp_path}: no model.safetensors; give the model folder of a training run"

    @pytest.mark.parametrize("out", ["run/model", "run", "run/model/../model"])
    def test_the_source_is_never_replaced(self, tmp_path, out):
        source = tmp_path / "run" / "model"
        source.mkdir(parents=True)
        (source / "model.safetensors").write_bytes(b"weeks of work")
        with pytest.raises(UsageError, match=r"holds the model to be exported; give another folder with --out$"):
            export_model(source, tmp_path / out)
        assert (source / "model.safetensors").read_bytes() == b"weeks of work"

    def test_a_folder_of_something_else_is_never_replaced(self, tmp_path):
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "letter.txt").write_text("mine")
        for out in (tmp_path / "home", tmp_path / "home" / "letter.txt"):
            with pytest.raises(UsageError, match=r"exists and is not an exported model, so it is not replaced"):
                export_model(tmp_path / "run", out)
        assert (tmp_path / "home" / "letter.txt").read_text() == "mine"


@torch.inference_mode()
def test_class_probabilities_sum_to_one(exported):
    _, classes = exported.specs["image_encoder"].module(exported.specs["image_encoder"].inputs["pixels"])
    torch.testing.assert_close(classes.sum(1), torch.ones(2))


class _Padded(torch.nn.Module):
    """A convolution over a map that is padded on two sides, by so much."""

    def __init__(self, value=0.0, read_again=False):
        super().__init__()
        self.convolution = torch.nn.Conv2d(2, 3, 3, stride=2, padding=(1, 0))
        self.value, self.read_again = value, read_again

    def forward(self, maps):
        padded = torch.nn.functional.pad(maps, (0, 1, 2, 3), value=self.value)
        seen = self.convolution(padded)
        return seen + padded.mean() if self.read_again else seen


@pytest.mark.parametrize(
    ("module", "folded"), [(_Padded(), True), (_Padded(value=1.0), False), (_Padded(read_again=True), False)]
)
def test_padding_becomes_the_convolution_s_own_where_it_is_of_zeros_and_read_once(module, folded, tmp_path):
    maps = torch.randn(2, 2, 8, 9, generator=torch.Generator().manual_seed(0))
    spec = GraphSpec("padded", module, {"maps": maps}, ("seen",), {"maps": {0: "batch"}}, lambda: [{"maps": maps[:1]}])
    export_graph(spec, tmp_path / "padded.onnx")
    assert check_parity(spec, tmp_path / "padded.onnx") < 1e-6
    graph = onnx.load(tmp_path / "padded.onnx").graph
    operators = [node.op_type for node in graph.node]
    [convolution] = [node for node in graph.node if node.op_type == "Conv"]
    [pads] = [list(entry.ints) for entry in convolution.attribute if entry.name == "pads"]
    assert ("Pad" in operators) is not folded
    # Top, left, bottom, right: the convolution's own (1, 0, 1, 0), and what was padded.
    assert pads == ([3, 0, 4, 1] if folded else [1, 0, 1, 0])
    used = {name for node in graph.node for name in node.input}
    assert all(weight.name in used for weight in graph.initializer)


def test_the_image_encoder_s_maps_are_not_copied_to_be_padded(exported):
    graph = onnx.load(exported.folder / "onnx" / "image_encoder.onnx").graph
    assert "Pad" not in {node.op_type for node in graph.node}


class TiedWords(torch.nn.Module):
    """Words in, scores of words out, by the same table."""

    def __init__(self, words=512, width=64):
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(words, width)
        self.inner = torch.nn.Linear(width, width)

    def forward(self, ids):
        return (self.words(ids) + self.inner(self.words(ids))) @ self.words.weight.T


class TestTiedWeights:
    @pytest.fixture
    def graph(self, tmp_path):
        ids = torch.tensor([[3, 5, 511], [0, 7, 8]])
        spec = GraphSpec("tied", TiedWords(), {"ids": ids}, ("scores",), {"ids": {0: "batch", 1: "length"}})
        export_graph(spec, tmp_path / "tied.onnx")
        fold_constants(tmp_path / "tied.onnx")
        return spec, tmp_path / "tied.onnx"

    def test_words_are_stored_once(self, graph):
        spec, path = graph
        whole = path.stat().st_size
        quantize_dynamic(path, operators=["MatMul", "Gemm"])
        beside, error = path.stat().st_size, check_parity(spec, path, tolerance=1.0)
        assert share_tied_weights(path) == 1
        # A table of 512 x 64 in 8 bits, and 512 scales.
        assert path.stat().st_size < beside - 3.5 * 512 * 64
        assert path.stat().st_size < 0.45 * whole
        shared = check_parity(spec, path, tolerance=1.0)
        assert shared < max(3 * error, 0.02)

    def test_other_tables_stay(self, graph):
        _, path = graph
        quantize_dynamic(path, operators=["MatMul", "Gemm"])
        model = onnx.load(path)
        table = next(w for w in model.graph.initializer if list(w.dims) == [512, 64])
        values = onnx.numpy_helper.to_array(table) * np.float32(1.2)
        table.CopyFrom(onnx.numpy_helper.from_array(values, table.name))
        onnx.save(model, path)
        before = path.read_bytes()
        assert share_tied_weights(path) == 0
        assert path.read_bytes() == before

    def test_the_quantizer_s_advice_is_silenced(self, graph, capfd, caplog):
        quantize_dynamic(graph[1], operators=["MatMul", "Gemm"])
        assert capfd.readouterr() == ("", "")
        assert not caplog.records
