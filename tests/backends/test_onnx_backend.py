"""The ONNX backend over a tiny model of random weights, beside the PyTorch modules that it was made of."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from fixtures_toy import edit_config

from anytag.backends.onnx import EXACT_PRODUCTS, OnnxBackend
from anytag.errors import ModelError
from anytag.foundations.cpu_count import available_processors
from anytag.inference.recognizer import Recognizer
from anytag.model.directory import ModelDirectory


@pytest.fixture(scope="module")
def backend(exported):
    return OnnxBackend(ModelDirectory(exported.folder), threads=1)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)


def test_encode_is_the_network_s(exported, backend, pixels):
    encoded = backend.encode(pixels[:2])
    with torch.inference_mode():
        normalized = (torch.from_numpy(pixels[:2]).permute(0, 3, 1, 2).float() - 127) / 128
        features, classes = exported.model.encode(normalized)
    np.testing.assert_allclose(encoded.features, features.numpy(), atol=1e-4)
    np.testing.assert_allclose(encoded.classes, classes.softmax(1).numpy(), atol=1e-4)


def test_batches_equal_single_pictures(backend, pixels):
    # Six pictures: more than go through the encoder at a time.
    labels = backend.vocabulary_queries()
    together = backend.encode(pixels)
    scores = backend.recognize(together.features, labels)
    assert (together.features.shape, together.classes.shape, scores.shape) == ((6, 5, 16), (6, 6), (6, 5))
    for row in range(6):
        alone = backend.encode(pixels[row : row + 1])
        np.testing.assert_allclose(alone.features[0], together.features[row], atol=1e-4)
        np.testing.assert_allclose(alone.classes[0], together.classes[row], atol=1e-4)
        np.testing.assert_allclose(backend.recognize(alone.features, labels)[0], scores[row], atol=1e-4)


def test_an_empty_batch(backend):
    encoded = backend.encode(np.empty((0, 64, 64, 3), np.uint8))
    assert (encoded.features.shape, encoded.classes.shape) == ((0, 5, 16), (0, 6))
    assert backend.recognize(encoded.features, backend.vocabulary_queries()).shape == (0, 5)


def test_no_labels(backend, pixels):
    encoded = backend.encode(pixels[:2])
    none = backend.vocabulary_queries().take(np.array([], np.int64))
    assert backend.recognize(encoded.features, none).shape == (2, 0)


def test_a_label_does_not_depend_on_the_others(backend, pixels):
    features, labels = backend.encode(pixels[:1]).features, backend.vocabulary_queries()
    scores = backend.recognize(features, labels)
    chosen = np.array([3, 1])
    np.testing.assert_allclose(backend.recognize(features, labels.take(chosen)), scores[:, chosen], atol=1e-5)
    joined = labels.take(np.array([0])).join(labels.take(np.array([4])))
    np.testing.assert_allclose(backend.recognize(features, joined), scores[:, [0, 4]], atol=1e-5)


def test_label_texts_are_embedded_as_the_network_does(exported, backend):
    ids = np.array([[3, 4, 5], [7, 0, 0]])
    labels = backend.text_queries(ids)
    with torch.inference_mode():
        queries = exported.model.label_queries(exported.encoder(torch.from_numpy(ids)))
    np.testing.assert_allclose(labels.arrays["queries"], queries.numpy(), atol=1e-4)
    np.testing.assert_allclose(
        backend.text_queries(ids[1:, :1]).arrays["projected"], labels.arrays["projected"][1:], atol=1e-4
    )


def test_decoding_steps_are_the_network_s(exported, backend, pixels):
    features = backend.encode(pixels[:1]).features
    tags, words = np.array([[4, 9, 6]]), np.array([[2, 11, 12, 13]] * 2)
    step = backend.fuse(tags, features, rows=2)
    logits, cache = step(words[:, :1], {})
    for place in (1, 2, 3):
        logits, cache = step(words[:, place : place + 1], cache)
    model = exported.model
    with torch.inference_mode():
        fused, mask = model.fuse(torch.from_numpy(tags), torch.from_numpy(features))
        decoder = model.text_decoder
        hidden = decoder(torch.from_numpy(words[:1]), decoder.memory(fused), mask)
        expected = decoder.logits(hidden[:, -1]).numpy()
    np.testing.assert_allclose(logits, np.repeat(expected, 2, 0), atol=1e-4)
    assert cache["keys"].shape == (2, 2, 2, 4, 8)


def test_a_recognizer_over_it_streams_tags_and_captions(exported, pixels):
    directory = ModelDirectory(exported.folder)
    recognizer = Recognizer(directory, OnnxBackend(directory, threads=1), batch_size=4, workers=1)
    results = recognizer.caption([*pixels, b""], threshold=0, num_beams=2)
    assert [len(result.tags) for result in results[:6]] == [5] * 6
    assert results[6].kind == "empty"
    again = recognizer.caption(pixels[2], threshold=0, num_beams=2)
    assert again.caption == results[2].caption
    assert [tag.name for tag in again.tags] == [tag.name for tag in results[2].tags]
    assert recognizer.tag(pixels[0], categories=["go kart", "kart"], threshold=0).tags[0].id is None


class TestErrors:
    @pytest.fixture
    def folder(self, exported, tmp_path):
        return shutil.copytree(exported.folder, tmp_path / "model")

    @pytest.mark.parametrize("device", ["cuda", "tpu"])
    def test_a_device_that_is_not_there(self, exported, device):
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this machine has it")
        with pytest.raises(ModelError) as caught:
            OnnxBackend(ModelDirectory(exported.folder), device=device)
        assert str(caught.value).startswith(f"device {device!r} is not available to ONNX Runtime here; it offers ")

    def test_a_graph_is_loaded_when_it_is_needed(self, folder, pixels):
        (folder / "onnx" / "text_decoder.onnx").unlink()
        backend = OnnxBackend(ModelDirectory(folder), threads=1)
        step = backend.fuse(np.array([[4]]), backend.encode(pixels[:1]).features, 1)
        with pytest.raises(ModelError, match=r"text_decoder\.onnx: missing; the model is incomplete"):
            step(np.array([[2]]), {})

    def test_an_altered_graph_is_not_run(self, folder, pixels):
        with (folder / "onnx" / "image_encoder.onnx").open("ab") as file:
            file.write(b"\0")
        with pytest.raises(ModelError, match=r"image_encoder\.onnx: altered or damaged"):
            OnnxBackend(ModelDirectory(folder)).encode(pixels[:1])

    def test_a_graph_that_is_none(self, folder, pixels):
        (folder / "onnx" / "image_encoder.onnx").write_bytes(b"no graph")
        edit_config(folder, files={})
        with pytest.raises(ModelError, match=r"image_encoder\.onnx: ONNX Runtime cannot load it"):
            OnnxBackend(ModelDirectory(folder)).encode(pixels[:1])


def test_processors():
    assert available_processors() >= 1


def test_every_graph_is_run_with_exact_products(exported, pixels, monkeypatch):
    opened, session = [], onnxruntime.InferenceSession

    def record(path, options, **others):
        opened.append(options.get_session_config_entry(EXACT_PRODUCTS[0]))
        return session(path, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    backend = OnnxBackend(ModelDirectory(exported.folder), threads=1)
    backend.recognize(backend.encode(pixels).features, backend.vocabulary_queries())
    assert opened == [EXACT_PRODUCTS[1]] * 2


def test_products_in_eight_bits_are_exact_on_every_processor():
    # 255 · 127 twice is 64,770: more than the 16 bits that some processors add a pair up in.
    weights = np.full((64, 4), 127, np.int8)
    made = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMulInteger", ["a", "weights", "a_zero", "zero"], ["y"])],
        "product",
        [onnx.helper.make_tensor_value_info("a", onnx.TensorProto.UINT8, [3, 64])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [3, 4])],
        [
            onnx.numpy_helper.from_array(weights, "weights"),
            onnx.numpy_helper.from_array(np.uint8(0), "a_zero"),
            onnx.numpy_helper.from_array(np.int8(0), "zero"),
        ],
    )
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*EXACT_PRODUCTS)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    [got] = session.run(["y"], {"a": np.full((3, 64), 255, np.uint8)})
    assert (got == 255 * 127 * 64).all()
