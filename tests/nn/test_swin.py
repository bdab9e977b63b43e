"""The Swin Transformer against the reference's vectors, against `transformers`, and by hand."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
import torch
from conftest import require_module
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_sets import OracleSet, each_oracle_set

from anytag.checkpoints.swin import load_swin_backbone, swin_key
from anytag.nn.swin import SwinTransformer, window_order

torch.set_num_threads(1)

#: Grids of 16, 8 and 4 tokens: windows move in the first two stages. Odd and even numbers of blocks.
SIZES = {"resolution": 64, "width": 8, "depths": (3, 2, 1), "heads": (1, 2, 2), "window": 4}


def close(got, expected, atol=1e-4):
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    encoder = SwinTransformer(**{**SIZES, **changes})
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.3)
    return encoder.eval()


def pictures(count=2, side=64, seed=1):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def encoder_of(oracle_set: OracleSet) -> SwinTransformer:
    sizes = oracle_set.config["swin"]
    with torch.device("meta"):
        encoder = SwinTransformer(
            sizes["image_res"], sizes["embed_dim"], sizes["depths"], sizes["num_heads"], sizes["window_size"]
        )
    state = {swin_key(name): tensor for name, tensor in oracle_set.weights_of("visual_encoder").items()}
    encoder.load_state_dict(state, assign=True)
    return encoder.eval()


@each_oracle_set()
class TestReference:
    @torch.no_grad()
    def test_tokens(self, oracle_set):
        encoder, expected = encoder_of(oracle_set), oracle_set.io["out.visual_encoder"]
        tokens = encoder(oracle_set.io["image"])
        # The reference puts the mean token first, which is not this module's task.
        close(tokens, expected[:, 1:])
        close(tokens.mean(1), expected[:, 0])
        assert (encoder.tokens, encoder.out_width) == tuple(tokens.shape[1:])

    @torch.no_grad()
    def test_every_stage(self, oracle_set):
        stored = {name: tensor for name, tensor in oracle_set.io.items() if name.startswith("swin.stage")}
        encoder = encoder_of(oracle_set)
        outputs = {f"swin.stage{n}": out for n, out in enumerate(encoder.stages(oracle_set.io["image"]))}
        assert stored.keys() <= outputs.keys()
        for name, expected in stored.items():
            close(outputs[name], expected)
        close(encoder.norm(outputs[f"swin.stage{len(outputs) - 1}"]), oracle_set.io["out.visual_encoder"][:, 1:])

    def test_index_tables_and_masks(self, oracle_set):
        # The official state dict holds them; here they follow from the sizes. Their hashes are in every set.
        encoder = encoder_of(oracle_set)
        masked = set()
        for name, official in oracle_set.config["state"]["buffers"].items():
            match = re.fullmatch(r"visual_encoder\.layers\.(\d+)\.blocks\.\d+\.(?:attn\.)?(\w+)", name)
            if match is None:
                continue  # those of the text parts
            stage = encoder.layers[int(match[1])]
            if match[2] == "attn_mask":
                masked.add(int(match[1]))
                ours = stage.mask[:, 0]
            else:
                ours = stage.positions.reshape(official["shape"])
            assert list(ours.shape) == official["shape"], name
            assert hashlib.sha256(ours.numpy().tobytes()).hexdigest() == official["sha256"], name
        assert masked == {number for number, stage in enumerate(encoder.layers) if stage.mask is not None}


class TestTransformers:
    """The same network of another library, in sizes that the vectors do not have."""

    @pytest.fixture(scope="class", params=[(3, 2, 1), (1, 4, 2)], ids=str)
    @classmethod
    def pair(cls, request, tmp_path_factory):
        require_module("transformers")
        from transformers import SwinConfig, SwinModel

        torch.manual_seed(3)
        config = SwinConfig(
            image_size=64, patch_size=4, embed_dim=8, depths=request.param, num_heads=(1, 2, 2), window_size=4
        )
        other = SwinModel(config, add_pooling_layer=False).eval()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.normal_(std=0.3)
        folder = tmp_path_factory.mktemp("swin")
        other.save_pretrained(folder / "weights")
        encoder = tiny(depths=request.param)
        load_swin_backbone(folder / "weights", encoder)
        return encoder, other, folder

    def test_tokens_and_stages(self, pair):
        encoder, other, _ = pair
        with torch.no_grad():
            expected = other(pictures(), output_hidden_states=True)
            close(encoder(pictures()), expected.last_hidden_state)
            # Their first hidden state is the embedded patches; their last one is that of our last stage.
            for ours, theirs in zip(encoder.stages(pictures()), expected.hidden_states[1:], strict=True):
                close(ours, theirs)

    def test_gradients_of_every_parameter(self, pair):
        encoder, other, folder = pair
        direction = torch.randn(2, encoder.tokens, encoder.out_width, generator=torch.Generator().manual_seed(5))
        encoder(pictures()).mul(direction).sum().backward()
        other(pictures()).last_hidden_state.mul(direction).sum().backward()
        # Their gradients, written and read as if they were weights, are under our names.
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.copy_(parameter.grad)
        other.save_pretrained(folder / "gradients")
        holder = tiny(depths=[len(layer.blocks) for layer in encoder.layers])
        load_swin_backbone(folder / "gradients", holder)
        for (name, ours), theirs in zip(encoder.named_parameters(), holder.parameters(), strict=True):
            assert theirs.abs().max() > 0, name
            torch.testing.assert_close(ours.grad, theirs, rtol=1e-3, atol=1e-3, msg=name)


class TestWindows:
    def test_order_by_hand(self):
        assert window_order(4, 2).tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]

    def test_moved_windows_go_on_at_the_opposite_edge(self):
        expected = [[5, 6, 9, 10], [7, 4, 11, 8], [13, 14, 1, 2], [15, 12, 3, 0]]
        assert window_order(4, 2, 1).reshape(4, 4).tolist() == expected

    def test_without_moving_a_window_sees_nothing_of_the_others(self):
        encoder = tiny(resolution=32, depths=(1,), heads=(1,))
        changed = pictures(1, 32)
        changed[..., :16, :16] += 1
        with torch.no_grad():
            difference = (encoder(changed) - encoder(pictures(1, 32))).abs().amax(-1).reshape(8, 8) > 0
        assert difference[:4, :4].all()
        assert difference.sum() == 16

    def test_moved_windows_look_across_borders_but_not_across_the_edge(self):
        encoder = tiny(resolution=32, depths=(2,), heads=(1,))
        changed = pictures(1, 32)
        changed[..., :16, :16] += 1
        with torch.no_grad():
            difference = (encoder(changed) - encoder(pictures(1, 32))).abs().amax(-1).reshape(8, 8)
        # The top left window's tokens meet the neighbors up to two tokens away, and not the far sides.
        assert (difference[:6, :6] > 1e-5).all()
        assert difference[6:].max() < 1e-6
        assert difference[:, 6:].max() < 1e-6

    def test_a_window_shrinks_to_a_small_grid_and_stays(self):
        encoder = tiny(resolution=32, depths=(2, 2), heads=(1, 1), window=12)
        assert [layer.mask for layer in encoder.layers] == [None, None]
        shapes = [layer.blocks[1].attention.position_table.shape[0] for layer in encoder.layers]
        assert shapes == [15**2, 7**2]
        with torch.no_grad():
            assert encoder(pictures(1, 32)).shape == (1, 16, 16)


class TestModule:
    @torch.no_grad()
    def test_samples_of_a_batch_do_not_meet(self):
        encoder = tiny()
        together = encoder(pictures(3))
        for number in range(3):
            close(together[number], encoder(pictures(3)[number : number + 1])[0], 1e-5)
        assert encoder(pictures(3)[:0]).shape == (0, 16, 32)

    def test_the_state_dict_holds_parameters_alone(self):
        encoder = tiny()
        assert encoder.state_dict().keys() == dict(encoder.named_parameters()).keys()

    @torch.no_grad()
    def test_built_without_memory_and_filled(self):
        with torch.device("meta"):
            empty = SwinTransformer(**SIZES).eval()
        assert all(parameter.is_meta for parameter in empty.parameters())
        empty.load_state_dict(tiny().state_dict(), assign=True)
        assert torch.equal(empty(pictures()), tiny()(pictures()))

    def test_initial_weights(self):
        torch.manual_seed(0)
        encoder = SwinTransformer(**{**SIZES, "width": 32})
        linear = encoder.layers[1].blocks[0].feed_forward.inner
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not linear.bias.any()
        assert encoder.layers[0].blocks[0].attention.position_table.std().item() == pytest.approx(0.02, rel=0.2)

    @torch.no_grad()
    def test_half_precision(self):
        encoder = SwinTransformer(**SIZES).eval()
        expected = encoder(pictures())
        with torch.autocast("cpu", torch.bfloat16):
            close(encoder(pictures()).float(), expected, 0.1)
        half = encoder.bfloat16()(pictures().bfloat16())
        assert half.dtype == torch.bfloat16
        close(half.float(), expected, 0.1)

    def test_training_in_half_precision(self):
        encoder = tiny().train()
        with torch.autocast("cpu", torch.bfloat16):
            encoder(pictures()).float().square().mean().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad.isfinite().all(), name

    @torch.no_grad()
    def test_weights_changed_between_two_calls_count(self):
        encoder, other = tiny(), tiny(seed=9)
        before = encoder(pictures())
        encoder.load_state_dict(other.state_dict())
        assert torch.equal(encoder(pictures()), other(pictures()))
        encoder.load_state_dict(tiny().state_dict())
        assert torch.equal(encoder(pictures()), before)


class TestDropPath:
    def test_rates_rise_linearly(self):
        encoder = SwinTransformer(**SIZES, drop_path=0.5)
        rates = [block.drop_path for layer in encoder.layers for block in layer.blocks]
        assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])

    @torch.no_grad()
    def test_branches_are_left_out_or_scaled_up(self):
        # Two blocks, the second with a rate of 0.25: each of its two branches is there or not, for a whole sample.
        sizes = {"resolution": 8, "depths": (2,), "heads": (1,), "window": 2}
        encoder = tiny(**sizes, drop_path=0.25).train()
        same = pictures(1, 8).expand(4000, -1, -1, -1)
        (outputs,) = encoder.stages(same)
        outcomes, counts = torch.unique(outputs.flatten(1).mul(1e3).round(), dim=0, return_counts=True)
        assert len(outcomes) == 4
        shares = sorted((counts / 4000).tolist())
        assert shares == pytest.approx([0.0625, 0.1875, 0.1875, 0.5625], abs=0.04)
        # With neither branch, the first block alone remains.
        first = tiny(**{**sizes, "depths": (1,)})
        first.load_state_dict(encoder.state_dict(), strict=False)
        alone = first.stages(pictures(1, 8))[0].flatten(1)
        nearest = (outcomes / 1e3 - alone).abs().amax(1)
        assert nearest.min() < 2e-3
        assert counts[nearest.argmin()] == counts.min()
        # What is kept is scaled up by 4/3: the block's attention, halved in its projection, is that of rate 0.5.
        second = encoder.layers[0].blocks[1]
        torch.nn.init.zeros_(second.feed_forward.output.weight)
        torch.nn.init.zeros_(second.feed_forward.output.bias)
        change = encoder.stages(same)[0].flatten(1) - alone
        kept = change[change.abs().amax(1) > 1e-3][0]
        close(kept, encoder.eval().stages(pictures(1, 8))[0].flatten() * 4 / 3 - alone[0] * 4 / 3, 1e-4)

    @torch.no_grad()
    def test_none_in_training_without_a_rate(self):
        encoder = tiny(drop_path=0)
        close(encoder.train()(pictures()), encoder.eval()(pictures()), 1e-5)


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_export_with_any_number_of_pictures(tmp_path, dynamo):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require_module(package)
    import onnxruntime

    encoder, path = tiny(resolution=32, depths=(2, 1), heads=(1, 2)), tmp_path / "swin.onnx"
    axes = (
        {"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC},)} if dynamo else {"dynamic_axes": {"pixels": {0: "batch"}}}
    )
    torch.onnx.export(
        encoder, (pictures(2, 32),), path, input_names=["pixels"], output_names=["tokens"], dynamo=dynamo, **axes
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 3):
        (got,) = session.run(None, {"pixels": pictures(count, 32).numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(got, encoder(pictures(count, 32)).numpy(), rtol=0, atol=1e-4)


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"resolution": 62},
                "resolution 62 does not fit: patches of 4 pixels do not divide it; the nearest that fits is 64",
            ),
            (
                {"resolution": 384, "window": 7},
                "resolution 384 does not fit: windows of 7 tokens do not divide the 96 x 96 tokens of stage 1; "
                "the nearest that fits is 336",
            ),
            (
                {"resolution": 60, "window": 15},
                "resolution 60 does not fit: the 15 x 15 tokens of stage 1 cannot be merged two by two; "
                "the nearest that fits is 48",
            ),
            ({"heads": (1, 3, 2)}, "stage 2 has a width of 16, which 3 heads do not divide"),
            ({"heads": (1, 2)}, "depths and heads need a number a stage each, got [3, 2, 1] and [1, 2]"),
            ({"depths": (), "heads": ()}, "depths and heads need a number a stage each, got [] and []"),
            ({"depths": (2, 0, 2)}, "depth must be at least 1, got 0"),
            ({"window": 0}, "window must be at least 1, got 0"),
            ({"drop_path": 1.0}, "drop_path is a share from 0 to below 1, got 1.0"),
        ],
    )
    def test_sizes_that_do_not_fit(self, changes, message):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            SwinTransformer(**{**SIZES, **changes})

    @given(st.integers(1, 120), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
    @settings(max_examples=60, deadline=None)
    def test_the_nearest_resolution_that_fits(self, resolution, window, patch, stages):
        def fits(side):
            try:
                SwinTransformer(side, 1, (1,) * stages, (1,) * stages, window, patch)
            except ValueError as error:
                return int(str(error).rpartition(" ")[2])
            return None

        if (nearest := fits(resolution)) is not None:
            assert fits(nearest) is None
            gap = abs(nearest - resolution)
            assert all(fits(side) is not None for side in range(max(1, resolution - gap + 1), resolution + gap))

    @pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 1, 64, 64), (3, 64, 64), (1, 3, 64, 32)])
    def test_pictures_of_another_size(self, shape):
        with pytest.raises(ValueError, match=re.escape(f"expected pixels of shape [B, 3, 64, 64], got {list(shape)}")):
            tiny()(torch.zeros(shape))
