"""Attention on its own, and inside layers with gradients."""

from __future__ import annotations

import pytest
import torch

from anytag.nn.attention import attend
from anytag.nn.swin import SwinTransformer

HOW = ["whole", "causal", "boolean mask", "added mask", "mask that learns"]


def options(how):
    allowed = torch.tensor([[True, True, True, True], [True, True, False, False]])[:, None, None]
    mask = {
        "boolean mask": allowed,
        "added mask": torch.zeros(allowed.shape).masked_fill(~allowed, -1e4),
        "mask that learns": torch.randn(1, 2, 4, 4, requires_grad=True),
    }.get(how)
    return {"mask": mask, "causal": how == "causal"}


@pytest.mark.parametrize("how", HOW)
def test_training_takes_another_way_to_the_same_values_and_gradients(how):
    torch.manual_seed(0)
    tensors, chosen = [torch.randn(2, 2, 4, 3, requires_grad=True) for _ in range(3)], options(how)
    learned = [t for t in (*tensors, chosen["mask"]) if t is not None and t.requires_grad]
    found, gradients = [], []
    for training in (True, False):
        seen = attend(*tensors, **chosen, training=training)
        found.append(seen.detach())
        gradients.append(torch.autograd.grad(seen.square().sum(), learned))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_a_hand_worked_case():
    """Logits 1 / sqrt(2) and 0, values 1 and 0."""
    query, key = torch.tensor([[[1.0, 0]]]), torch.tensor([[[1.0, 0], [0, 0]]])
    value = torch.tensor([[[1.0, 0], [0, 0]]])
    share = 2.718281828 ** (2**-0.5) / (1 + 2.718281828 ** (2**-0.5))
    for training in (True, False):
        torch.testing.assert_close(attend(query, key, value, training=training), torch.tensor([[[share, 0]]]))


def test_dropout_only_in_training():
    torch.manual_seed(0)
    tensors = [torch.randn(1, 1, 50, 4) for _ in range(3)]
    whole = attend(*tensors)
    assert torch.equal(attend(*tensors, dropout=0.5), whole)
    dropped = attend(*tensors, dropout=0.5, training=True)
    assert not torch.allclose(dropped, whole, atol=1e-2)


def test_swin_learns_the_same():
    torch.manual_seed(0)
    encoder = SwinTransformer(32, 8, (2,), (2,), 4, drop_path=0.0)
    pixels, gradients = torch.randn(1, 3, 32, 32), []
    for training in (True, False):
        encoder.train(training).zero_grad()
        encoder(pixels).square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    for trained, judged in zip(*gradients, strict=True):
        torch.testing.assert_close(trained, judged, rtol=1e-3, atol=1e-4)
