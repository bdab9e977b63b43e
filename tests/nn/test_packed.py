"""Packed layers compute what plain ones do, and parts that share weights go on sharing them."""

from __future__ import annotations

import pytest
import torch
from fixtures_official import SIDE, small_model

from anytag.nn.packed import PackedLinear, can_pack, pack_linears
from anytag.nn.swin import WindowAttention
from anytag.nn.transformer import FeedForward

CPU = torch.device("cpu")
#: Half precision is not packed on every processor.
DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if can_pack(CPU, dtype)]

pytestmark = pytest.mark.skipif(not DTYPES, reason="this PyTorch was built without oneDNN")


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_one_layer(gelu, bias):
    torch.manual_seed(0)
    plain, values = torch.nn.Linear(7, 5, bias=bias), torch.randn(2, 3, 7)
    wanted = torch.nn.functional.gelu(plain(values)) if gelu else plain(values)
    packed = PackedLinear(plain, torch.float32, gelu)
    for _ in range(2):  # The second call finds the weights laid out.
        torch.testing.assert_close(packed(values), wanted, atol=1e-6, rtol=1e-5)
    if torch.bfloat16 in DTYPES:
        half = PackedLinear(plain, torch.bfloat16, gelu)(values.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), wanted, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("family", ["tag2text", "ram", "ram_plus"])
@torch.inference_mode()
def test_whole_models(family):
    model, packed = small_model(family), small_model(family)
    pack_linears(packed, torch.float32)
    assert not [m for m in packed.modules() if isinstance(m, torch.nn.Linear) and m.out_features > 1]
    pixels = torch.randn(2, 3, SIDE, SIDE)
    features = model.encode(pixels)[0]
    torch.testing.assert_close(packed.encode(pixels)[0], features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed.recognize(features), model.recognize(features), atol=1e-4, rtol=1e-4)
    if model.config.captioner is not None:
        tags = torch.tensor([[5, 6, 7, 0], [8, 0, 0, 0]])
        wanted, got = model.fuse(tags, features)[0], packed.fuse(tags, features)[0]
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
        for upper, lower in zip(packed.interaction_encoder.layers, packed.recognition_decoder.layers, strict=False):
            assert upper.feed_forward is lower.feed_forward
            assert upper.cross_attention is lower.cross_attention


def test_only_used_layers_are_reordered():
    model = small_model("ram")
    pack_linears(model, torch.float32)
    with torch.inference_mode():
        model.encode(torch.randn(1, 3, SIDE, SIDE))
    layers = {name: m for name, m in model.named_modules() if isinstance(m, PackedLinear)}
    used = {name for name, layer in layers.items() if layer._weight is not None}
    assert used == {name for name in layers if name.startswith("image_")}


def test_other_devices_and_processors_without_the_kernels(monkeypatch):
    assert not can_pack(torch.device("cuda"), torch.float32)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert can_pack(CPU, torch.float32)
    assert not can_pack(CPU, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_windows_keep_their_bias(dtype, monkeypatch):
    made, bias = [], WindowAttention.bias
    monkeypatch.setattr(WindowAttention, "bias", lambda part, *given: made.append(part) or bias(part, *given))
    model, plain = small_model("ram"), small_model("ram")
    pack_linears(model, dtype)
    model.to(dtype)
    blocks = sum(len(layer.blocks) for layer in model.image_encoder.layers)
    for seed in range(2):
        pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).to(dtype)
        seen = model.encode(pixels)[0]
        assert len(made) == blocks
        with monkeypatch.context() as patch:
            patch.setattr(WindowAttention, "bias", bias)
            wanted = plain.encode(pixels.float())[0]
        tolerance = 1e-4 if dtype is torch.float32 else 0.1
        torch.testing.assert_close(seen.float(), wanted, atol=tolerance, rtol=tolerance)


def test_normalization_and_residual_stay():
    torch.manual_seed(1)
    part = FeedForward(4, 8).eval()
    holder = torch.nn.ModuleList([part])
    pack_linears(holder, torch.float32)
    values = torch.randn(1, 2, 4)
    with torch.inference_mode():
        kept = values.clone()
        torch.testing.assert_close(holder[0](values), part(kept), atol=1e-5, rtol=1e-5)
        assert torch.equal(values, kept)
