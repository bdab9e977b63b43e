"""ML-Decoder on TResNet: the published layout's every name, the arithmetic written a second time, bad files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures_rivals import ML_DECODER_CLASSES, SmallMlDecoder, pictures, save_ml_decoder
from torch.nn import functional as F

from anytag.errors import ModelError
from anytag.evaluation.baselines.ml_decoder import MlDecoderBaseline
from anytag.evaluation.baselines.ml_decoder_head import MlDecoder
from anytag.evaluation.baselines.tresnet import TResNet, TResNetConfig


def test_names_equal_those_of_the_official_code():
    names = set(SmallMlDecoder().state_dict())
    assert {
        "body.conv1.0.weight", "body.conv1.1.running_var", "body.layer1.0.se.fc1.bias",
        "body.layer2.0.conv1.0.0.weight", "body.layer2.0.conv1.0.1.weight", "body.layer2.0.downsample.1.0.weight",
        "body.layer2.1.conv1.0.weight", "body.layer3.0.conv2.0.0.weight", "body.layer3.0.conv3.1.bias",
        "body.layer3.1.conv2.0.weight", "body.layer4.0.downsample.1.1.running_mean",
        "head.decoder.layers.0.multihead_attn.in_proj_weight", "head.decoder.layers.0.norm3.bias",
        "head.decoder.embed_standart.weight", "head.decoder.query_embed.weight", "head.decoder.duplicate_pooling",
        "head.decoder.duplicate_pooling_bias",
    } <= names  # fmt: skip
    assert not [name for name in names if "num_batches" in name or "kernel" in name or "layer4.0.se" in name]
    assert "body.layer1.0.downsample.0.0.weight" in SmallMlDecoder(bottlenecks=True).state_dict()


def test_full_size_has_the_published_shapes():
    with torch.device("meta"):
        model = TResNet(TResNetConfig())
        head = MlDecoder(9_605, model.features, groups=200)
    assert model.features == 2_048
    assert head.decoder.duplicate_pooling.shape == (200, 768, 49)
    assert sum(len(stage) for stage in list(model.body.values())[1:]) == 21
    # TResNet-M has 29.4 million weights without a classifier (Ridnik et al., 2021, table 1).
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(29.4e6, rel=0.005)


def by_the_book(model, pixels):
    """The head a second time, query by query, class by class."""
    state = model.head.decoder
    tokens = F.relu(state.embed_standart(TResNet.forward(model, pixels).flatten(2).transpose(1, 2)))
    layer = state.layers[0]
    logits = torch.empty(len(pixels), 5)
    for group, query in enumerate(state.query_embed.weight):
        x = layer.norm1(2 * query).expand(len(pixels), 1, -1)
        x = layer.norm2(x + layer.multihead_attn(x, tokens, tokens)[0])
        x = layer.norm3(x + layer.linear2(F.relu(layer.linear1(x))))[:, 0]
        for place in range(3):
            if 3 * group + place < 5:
                logits[:, 3 * group + place] = x @ state.duplicate_pooling[group, :, place]
    return (logits + state.duplicate_pooling_bias).sigmoid()


@pytest.mark.parametrize("bottlenecks", [False, True])
def test_scores_of_a_published_checkpoint(tmp_path, bottlenecks):
    model = save_ml_decoder(tmp_path, bottlenecks)
    baseline = MlDecoderBaseline(tmp_path / "tiny.pth", side=64)
    assert baseline.set_categories(["cat", "stoplight", "quark"], {"stoplight": ("traffic light",)}) == ["quark"]
    shown = pictures()
    found = np.stack(list(baseline.scores(shown)))
    # The official code squashes, divides by 255, and that is all.
    pixels = torch.stack([torch.from_numpy(np.array(p.resize((64, 64), 3))).permute(2, 0, 1) / 255 for p in shown])
    expected = by_the_book(model, pixels).detach().numpy()
    np.testing.assert_allclose(found[:, :2], expected[:, [1, 2]], atol=1e-6)
    assert np.isnan(found[:, 2]).all()
    assert np.ptp(found[:, 0]) > 3e-5


def test_the_first_convolution_gets_blocks_in_the_official_order():
    # Channel 3 * (4 * row + column) + color of a block is that pixel's color.
    model = TResNet(TResNetConfig((0, 0, 0, 0), 48))
    model.body["conv1"] = torch.nn.Identity()
    for number in range(1, 5):
        model.body[f"layer{number}"] = torch.nn.Identity()
    pixels = torch.arange(3 * 8 * 8, dtype=torch.float32).reshape(1, 3, 8, 8)
    seen = model(pixels)
    assert seen.shape == (1, 48, 2, 2)
    assert seen[0, 3 * (4 * 1 + 2) + 1, 1, 0] == pixels[0, 1, 4 + 1, 2]


class TestBadFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(ModelError, match=r"none\.pth: no such file$"):
            MlDecoderBaseline(tmp_path / "none.pth")

    def test_truncated(self, tmp_path):
        save_ml_decoder(tmp_path)
        path = tmp_path / "tiny.pth"
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(ModelError, match=r"tiny\.pth: truncated or altered"):
            MlDecoderBaseline(path)

    def test_another_model(self, tmp_path):
        torch.save({"model": {"fc.weight": torch.zeros(3)}}, tmp_path / "other.pth")
        with pytest.raises(ModelError, match=r"other\.pth: lacks .*; this is not an ML-Decoder on TResNet$"):
            MlDecoderBaseline(tmp_path / "other.pth")

    def test_a_weight_is_missing(self, tmp_path):
        model = save_ml_decoder(tmp_path)
        state = model.state_dict()
        del state["body.layer2.1.conv2.1.bias"]
        torch.save({"model": state}, tmp_path / "tiny.pth")
        with pytest.raises(ModelError, match=r"tiny\.pth: lacks body\.layer2\.1\.conv2\.1\.bias \(1 weight\)$"):
            MlDecoderBaseline(tmp_path / "tiny.pth", ML_DECODER_CLASSES)

    def test_no_names(self, tmp_path):
        model = save_ml_decoder(tmp_path)
        torch.save({"state_dict": model.state_dict()}, tmp_path / "tiny.pth")
        with pytest.raises(ModelError, match=r"names of 0 classes for 5 outputs; give them as classes=$"):
            MlDecoderBaseline(tmp_path / "tiny.pth")

    def test_values_that_are_not_finite(self, tmp_path):
        model = save_ml_decoder(tmp_path)
        state = model.state_dict()
        state["body.conv1.1.bias"][0] = float("nan")
        torch.save({"model": state}, tmp_path / "tiny.pth")
        with pytest.raises(ModelError, match=r"the weight body\.conv1\.1\.bias contains values that are not finite"):
            MlDecoderBaseline(tmp_path / "tiny.pth", ML_DECODER_CLASSES)

    def test_none_of_the_categories(self, tmp_path):
        save_ml_decoder(tmp_path)
        with pytest.raises(ModelError, match=r"^ML-Decoder: none of the categories \(quark\) is among its 5 classes$"):
            MlDecoderBaseline(tmp_path / "tiny.pth").set_categories(["quark"], {})
