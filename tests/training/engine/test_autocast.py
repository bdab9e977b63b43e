"""Where bfloat16 is used, and that a recipe may choose it."""

import pytest
import torch

from anytag.training.engine.autocast import autocast, half_pays


@pytest.fixture
def tiles(monkeypatch):
    """Sets whether the CPU has tiles."""

    def have(there):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": there})

    return have


def product(precision="auto"):
    """Data type of a product."""
    with autocast("cpu", precision):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize(("there", "kind"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_processor_multiplies_in_halves_if_it_has_tiles(tiles, there, kind):
    tiles(there)
    assert half_pays("cpu") is there
    assert product() == kind


@pytest.mark.parametrize("there", [True, False])
def test_a_recipe_may_insist(tiles, there):
    tiles(there)
    assert product("bfloat16") == torch.bfloat16
    assert product("float32") == torch.float32


def test_a_pytorch_that_does_not_tell_gets_single_precision(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not half_pays("cpu")


@pytest.mark.parametrize("there", [True, False])
def test_a_graphics_processor_is_asked_without_emulation(monkeypatch, there):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation) or there
    )
    assert half_pays(torch.device("cuda", 1)) is there
    assert asked == [False]


def test_other_devices_multiply_in_single_precision():
    assert not half_pays("mps")
