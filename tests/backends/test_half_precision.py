"""Half precision where it saves time, and not where it changes what is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import require_module
from safetensors.torch import save_file, save_model

from anytag.backends.openvino import OpenVinoBackend
from anytag.backends.torch import TorchBackend
from anytag.model.directory import ModelDirectory, write_config


@pytest.fixture(scope="module")
def trained(exported, tmp_path_factory):
    """The exported model with its PyTorch weights."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "vocabulary.json").write_bytes((exported.folder / "vocabulary.json").read_bytes())
    save_model(exported.model, str(folder / "model.safetensors"))
    texts = torch.nn.functional.normalize(torch.randn(5, 24, generator=torch.Generator().manual_seed(0)), dim=-1)
    save_file({"text_embeddings": texts}, folder / "label_queries.safetensors")
    write_config(folder, exported.model.config, [path.name for path in folder.iterdir()])
    return ModelDirectory(folder)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)


def test_convolutions_stay_in_float32_in_pytorch(trained, pixels):
    whole, half = TorchBackend(trained), TorchBackend(trained, precision="bfloat16")
    assert {p.dtype for p in half.model.image_encoder.parameters()} == {torch.float32}
    tokens = [
        backend.model.image_encoder(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255.0) for backend in (whole, half)
    ]
    assert torch.equal(*tokens)
    features = [backend.encode(pixels).features for backend in (whole, half)]
    # What is left is one rounding of the tokens and one matrix product.
    np.testing.assert_allclose(features[1], features[0], atol=0.05)
    assert half.recognize(features[1], half.vocabulary_queries()).shape == (2, 5)


def test_half_precision_where_the_processor_has_no_products_of_its_own_for_it(trained, pixels, monkeypatch):
    whole = TorchBackend(trained)
    monkeypatch.setattr("anytag.backends.torch.can_pack", lambda device, dtype: dtype == torch.float32)
    half = TorchBackend(trained, precision="bfloat16")
    logits = [
        backend.recognize(whole.encode(pixels).features, backend.vocabulary_queries()) for backend in (whole, half)
    ]
    np.testing.assert_allclose(logits[1], logits[0], atol=0.1)


def test_convolutions_stay_in_float32_in_openvino(exported, pixels):
    require_module("openvino")
    directory = ModelDirectory(exported.folder)
    whole, half = (OpenVinoBackend(directory, threads=1, precision=name) for name in ("float32", "bfloat16"))
    assert np.array_equal(whole.encode(pixels).features, half.encode(pixels).features)
    asked = half.vocabulary_queries()
    logits = [backend.recognize(whole.encode(pixels).features, asked) for backend in (whole, half)]
    np.testing.assert_allclose(logits[1], logits[0], atol=0.1)
