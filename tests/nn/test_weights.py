"""Networks without memory, to be filled from files."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from fixtures_official import TAGS, small_config, small_model
from fixtures_torch import TINY, tiny_model

from anytag.nn.weights import empty_model, read_model, write_weights


@pytest.mark.parametrize("family", ["tag2text", "ram", "ram_plus", "lite"])
def test_names_and_shapes_are_those_of_a_network_with_memory(family):
    empty = empty_model(TINY, 5) if family == "lite" else empty_model(small_config(family), TAGS)
    full = tiny_model() if family == "lite" else small_model(family)
    shapes = {name: parameter.shape for name, parameter in full.named_parameters()}
    assert {name: parameter.shape for name, parameter in empty.named_parameters()} == shapes
    assert all(parameter.is_meta for parameter in empty.parameters())


def test_it_is_filled_from_a_file(tmp_path):
    model = small_model("tag2text")
    write_weights(dict(model.named_parameters()), tmp_path / "model.safetensors")
    read = read_model(model.config, TAGS, tmp_path / "model.safetensors")
    own = dict(model.named_parameters())
    assert all(torch.equal(parameter, own[name]) for name, parameter in read.named_parameters())
    pixels = torch.randn(1, 3, model.config.image_encoder.resolution, model.config.image_encoder.resolution)
    with torch.inference_mode():
        found, expected = (one.recognize(one.encode(pixels)[0]) for one in (read, model))
    # Weights from a file have another alignment in memory, and some processors then sum in another order.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_nothing_is_drawn_so_the_compiler_is_not_imported():
    """Drawing without memory imported PyTorch's compiler, which took longer than reading the file."""
    code = (
        "import sys; from fixtures_official import TAGS, small_config; from anytag.nn.weights import empty_model\n"
        "for family in ('tag2text', 'ram', 'ram_plus'): empty_model(small_config(family), TAGS)\n"
        "print(*[name for name in ('torch._dynamo', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "tests" / "support", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
