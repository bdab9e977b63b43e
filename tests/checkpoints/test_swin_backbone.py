"""Public Swin files, in both layouts, and those that are not as they should be; position tables of other windows."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from conftest import require, require_module
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_sets import OracleSet, each_oracle_set
from safetensors.torch import load_file, save_file

from anytag.checkpoints.swin import load_swin_backbone, resize_position_table, swin_key
from anytag.errors import ModelError
from anytag.nn.swin import SwinTransformer

torch.set_num_threads(1)

SIZES = {"resolution": 32, "width": 8, "depths": (2, 1), "heads": (1, 2), "window": 4}


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    encoder = SwinTransformer(**{**SIZES, **changes})
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_()
    return encoder.eval()


def official_name(name):
    """From the names of this project to Microsoft's, spelled out once more."""
    if name.endswith("position_table"):
        return name.replace("attention.position_table", "attn.relative_position_bias_table")
    pairs = (
        ("embedding_norm", "patch_embed.norm"),
        ("embedding", "patch_embed.proj"),
        ("attention_norm", "norm1"),
        ("feed_forward_norm", "norm2"),
        ("attention.query_key_value", "attn.qkv"),
        ("attention.output", "attn.proj"),
        ("feed_forward.inner", "mlp.fc1"),
        ("feed_forward.output", "mlp.fc2"),
        ("merging", "downsample"),
    )
    for ours, theirs in pairs:
        if re.search(rf"(^|\.){re.escape(ours)}\.", name):
            return name.replace(ours, theirs)
    return name


def official_state(encoder):
    """As Microsoft's files hold it, with what this project leaves out."""
    state = {official_name(name): tensor.clone() for name, tensor in encoder.state_dict().items()}
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.long)
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    return {**state, "head.weight": torch.zeros(5, 16), "head.bias": torch.zeros(5)}


def write(folder, state, **others):
    path = folder / "swin.pth"
    torch.save({"model": state, **others}, path)
    return path


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


class TestKeys:
    @pytest.mark.parametrize(
        ("official", "ours"),
        [
            ("patch_embed.proj.weight", "embedding.weight"),
            ("layers.2.blocks.17.attn.qkv.bias", "layers.2.blocks.17.attention.query_key_value.bias"),
            ("layers.0.blocks.1.attn.relative_position_bias_table", "layers.0.blocks.1.attention.position_table"),
            ("layers.1.downsample.reduction.weight", "layers.1.merging.reduction.weight"),
            ("norm.bias", "norm.bias"),
            ("swin.embeddings.patch_embeddings.projection.bias", "embedding.bias"),
            ("embeddings.norm.weight", "embedding_norm.weight"),
            ("swin.encoder.layers.3.blocks.0.layernorm_after.bias", "layers.3.blocks.0.feed_forward_norm.bias"),
            ("encoder.layers.3.blocks.0.output.dense.weight", "layers.3.blocks.0.feed_forward.output.weight"),
            (
                "swin.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table",
                "layers.0.blocks.0.attention.position_table",
            ),
            ("swin.layernorm.weight", "norm.weight"),
            ("layers.0.blocks.1.attn_mask", None),
            ("swin.encoder.layers.0.blocks.0.attention.self.relative_position_index", None),
            ("head.weight", None),
            ("classifier.bias", None),
            ("swin.embeddings.mask_token", None),
        ],
    )
    def test_both_layouts(self, official, ours):
        assert swin_key(official) == ours

    @pytest.mark.parametrize(
        "name",
        [
            "absolute_pos_embed",
            "norm",
            "norm.gamma",
            "layers.0.norm.weight",
            "blocks.0.norm1.weight",
            "layers.0.blocks.0.attn.logit_scale",
            "layers.0.blocks.0.attention.self.query.weight",
            "visual_encoder.norm.weight",
            "encoder.norm.weight",
            "ahead.weight",
            "",
        ],
    )
    def test_other_names(self, name):
        with pytest.raises(ModelError, match=f"^{re.escape(name)}: no Swin Transformer has a parameter of that name$"):
            swin_key(name)

    @each_oracle_set()
    def test_every_name_of_the_reference(self, oracle_set: OracleSet):
        sizes = oracle_set.config["swin"]
        encoder = SwinTransformer(
            sizes["image_res"], sizes["embed_dim"], sizes["depths"], sizes["num_heads"], sizes["window_size"]
        )
        shapes = oracle_set.config["state"]["keys"]
        names = [name.removeprefix("visual_encoder.") for name in shapes if name.startswith("visual_encoder.")]
        found = {swin_key(name): shapes[f"visual_encoder.{name}"] for name in names}
        del found[None]
        assert found == {name: list(parameter.shape) for name, parameter in encoder.named_parameters()}


class TestMicrosoft:
    def test_what_is_read_is_what_was_written(self, tmp_path):
        encoder = tiny(1)
        load_swin_backbone(write(tmp_path, official_state(tiny()), max_accuracy=86.3, epoch=29), encoder)
        assert same_weights(encoder, tiny())

    def test_a_bare_state_dict_in_half_precision(self, tmp_path):
        encoder, path = tiny(1), tmp_path / "swin.pth"
        torch.save({name: tensor.half() for name, tensor in official_state(tiny()).items()}, path)
        load_swin_backbone(path, encoder)
        assert encoder.norm.weight.dtype == torch.float32
        assert same_weights(encoder, tiny().half().float())

    @each_oracle_set()
    def test_the_reference_at_another_resolution(self, oracle_set: OracleSet, tmp_path):
        sizes, weights = oracle_set.config["swin"], oracle_set.weights_of("visual_encoder")
        window = sizes["window_size"] + 1
        side = 4 * 2 ** (len(sizes["depths"]) - 1) * window
        encoder = SwinTransformer(side, sizes["embed_dim"], sizes["depths"], sizes["num_heads"], window).eval()
        path = write(tmp_path, weights)
        if any(len(tensor) < 25 for name, tensor in weights.items() if name.endswith("relative_position_bias_table")):
            with pytest.raises(ModelError, match="too small to be resized"):
                load_swin_backbone(path, encoder)
            return
        load_swin_backbone(path, encoder)
        state = encoder.state_dict()
        for name, tensor in weights.items():
            if name.endswith("relative_position_bias_table"):
                tensor = resize_position_table(tensor, window)
            torch.testing.assert_close(state[swin_key(name)], tensor, rtol=0, atol=0)
        with torch.no_grad():
            assert encoder(torch.zeros(1, 3, side, side)).isfinite().all()

    def test_what_the_reference_loads(self, oracle, tmp_path):
        record = json.loads(require(oracle / "vectors" / "checkpoint_load.json", "its loading test").read_text())
        tensors = load_file(oracle / "vectors" / "checkpoint_load.safetensors")
        tables = {name.partition("visual_encoder.")[2]: t for name, t in tensors.items() if name.startswith("src.")}
        numbers = [re.findall(r"\d+", name) for name in tables]
        depths = [sum(int(layer) == stage for layer, _ in numbers) for stage in range(1 + int(numbers[-1][0]))]
        heads = [tables[f"layers.{n}.blocks.0.attn.relative_position_bias_table"].shape[1] for n in range(len(depths))]
        window = record["window_dst"]
        sizes = {"resolution": 2 ** (len(depths) + 1) * window, "width": 8 * heads[0], "depths": depths}
        encoder = tiny(**sizes, heads=heads, window=window)
        state = {**official_state(tiny(**sizes, heads=heads, window=window)), **tables}
        load_swin_backbone(write(tmp_path, state), encoder)
        for name in tables:
            expected = tensors[f"dst.visual_encoder.{name}"]
            torch.testing.assert_close(encoder.get_parameter(swin_key(name)).data, expected, rtol=0, atol=1e-4)


class TestTransformersLayout:
    @pytest.fixture
    def saved(self, tmp_path):
        """The classifier of that library, saved by it."""
        require_module("transformers")
        from transformers import SwinConfig, SwinForImageClassification

        torch.manual_seed(2)
        config = SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=(2, 1), num_heads=(1, 2), window_size=4, num_labels=5
        )
        model = SwinForImageClassification(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
        model.save_pretrained(tmp_path)
        return tmp_path, model

    def check(self, path, model):
        encoder, pixels = tiny(), torch.randn(2, 3, 32, 32)
        load_swin_backbone(path, encoder)
        with torch.no_grad():
            expected = model.swin(pixels).last_hidden_state
            torch.testing.assert_close(encoder(pixels), expected, rtol=0, atol=1e-4)

    def test_directory_and_file(self, saved):
        folder, model = saved
        self.check(folder, model)
        self.check(folder / "model.safetensors", model)

    def test_older_directories(self, saved):
        folder, model = saved
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        self.check(folder, model)

    def test_a_missing_value_projection_is_named(self, saved):
        folder, _ = saved
        state = load_file(folder / "model.safetensors")
        del state["swin.encoder.layers.0.blocks.1.attention.self.value.bias"]
        save_file(state, folder / "model.safetensors")
        with pytest.raises(
            ModelError, match=re.escape("lacks swin.encoder.layers.0.blocks.1.attention.self.value.bias")
        ):
            load_swin_backbone(folder, tiny())

    def test_directories_without_weights(self, saved):
        folder, _ = saved
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        with pytest.raises(ModelError, match=r"holds no model\.safetensors or pytorch_model\.bin"):
            load_swin_backbone(folder, tiny())

    def test_truncated_files(self, saved):
        path = saved[0] / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ModelError, match=re.escape(f"{path}: truncated, altered or missing")):
            load_swin_backbone(path, tiny())


class TestBadFiles:
    """The message names the parameter, and the encoder does not change."""

    def refused(self, path, message, **sizes):
        encoder = tiny(4, **sizes)
        with pytest.raises(ModelError, match=f"^{re.escape(f'{path}: {message}')}"):
            load_swin_backbone(path, encoder)
        assert same_weights(encoder, tiny(4, **sizes))

    def test_missing(self, tmp_path):
        state = official_state(tiny())
        del state["layers.1.blocks.0.norm2.bias"]
        message = "the weights lack layers.1.blocks.0.feed_forward_norm.bias (by the names used here)"
        self.refused(write(tmp_path, state), message)

    def test_unexpected(self, tmp_path):
        state = {**official_state(tiny()), "absolute_pos_embed": torch.zeros(1, 64, 8)}
        self.refused(write(tmp_path, state), "absolute_pos_embed: no Swin Transformer has a parameter of that name")

    def test_deeper(self, tmp_path):
        path = write(tmp_path, official_state(tiny(depths=(2, 2))))
        self.refused(path, "layers.1.blocks.1.norm1.weight: an encoder of these sizes has no such parameter")

    def test_shallower(self, tmp_path):
        path = write(tmp_path, official_state(tiny(depths=(1, 1))))
        self.refused(path, "the weights lack layers.0.blocks.1.attention.output.bias and 12 more")

    def test_wider(self, tmp_path):
        path = write(tmp_path, official_state(tiny(width=16)))
        message = "patch_embed.proj.weight: has the shape (16, 3, 4, 4), but (8, 3, 4, 4) is expected"
        # The first of many that do not fit, in the file's order.
        self.refused(path, message)

    def test_other_heads(self, tmp_path):
        path = write(tmp_path, official_state(tiny(heads=(2, 2))))
        name = "layers.0.blocks.0.attn.relative_position_bias_table"
        self.refused(path, f"{name}: has the shape (49, 2), but (49, 1) is expected")

    def test_other_heads_and_another_window(self, tmp_path):
        path = write(tmp_path, official_state(tiny(heads=(2, 2), window=3, resolution=24)))
        name = "layers.0.blocks.0.attn.relative_position_bias_table"
        # The shape is that in the file, not that of a resized table.
        self.refused(path, f"{name}: has the shape (25, 2), but (49, 1) is expected")

    def test_twice(self, tmp_path):
        state = {**official_state(tiny()), "layernorm.bias": torch.zeros(16)}
        self.refused(write(tmp_path, state), "layernorm.bias: the weights have norm.bias under two names")

    def test_tables_that_cannot_be_resized(self, tmp_path):
        path = write(tmp_path, official_state(tiny(window=2)))
        self.refused(path, "position tables of windows of 2 are too small to be resized; at least 3 is needed")

    def test_no_file(self, tmp_path):
        self.refused(tmp_path / "swin.pth", "no such file")

    def test_code_is_not_run(self, tmp_path):
        path = write(tmp_path, official_state(tiny()), config=Bomb())
        self.refused(path, "refused")
        assert not Bomb.exploded


class Bomb:
    exploded = False

    def __reduce__(self):
        return _explode, ()


def _explode():
    Bomb.exploded = True


class TestPositionTables:
    def test_as_the_reference_resizes_them(self, oracle):
        cases = json.loads(require(oracle / "vectors" / "rel_pos_interp.json", "resized tables").read_text())
        tensors = load_file(oracle / "vectors" / "rel_pos_interp.safetensors")
        assert cases
        for case in cases:
            resized = resize_position_table(tensors[f"src.{case['index']}"], case["window_dst"])
            torch.testing.assert_close(resized, tensors[f"dst.{case['index']}"], rtol=0, atol=1e-4)

    def test_the_same_window_is_left_alone(self):
        table = torch.randn(49, 2)
        assert resize_position_table(table, 4) is table

    def test_a_spline_through_a_cubic_is_that_cubic(self):
        # The ratio q for 1 + q + ... + q^5 = 11 is the only real root above 1.
        roots = np.roots([1, 1, 1, 1, 1, -10])
        q = next(root.real for root in roots if abs(root.imag) < 1e-9 and root.real > 1)
        known = np.cumsum(q ** np.arange(6))
        known = np.concatenate([-known[::-1], [0], known])

        def cubic(rows, columns):
            rows, columns = rows[:, None] / 10, columns[None] / 10
            return rows**3 - 2 * rows * columns**2 + columns**3 - rows + 0.5

        resized = resize_position_table(torch.from_numpy(cubic(known, known).reshape(-1, 1)), 12)
        wanted = np.arange(-11.0, 12.0)
        np.testing.assert_allclose(resized.numpy().reshape(23, 23), cubic(wanted, wanted), rtol=0, atol=1e-4)

    @given(st.integers(3, 8), st.integers(1, 8), st.integers(0, 99))
    @settings(max_examples=40, deadline=None)
    def test_symmetries(self, source, window, seed):
        table = torch.randn((2 * source - 1) ** 2, 2, generator=torch.Generator().manual_seed(seed))
        resized = resize_position_table(table, window)
        assert (resized.shape, resized.dtype) == (((2 * window - 1) ** 2, 2), table.dtype)

        def turned(rows):
            side = round(len(rows) ** 0.5)
            return rows.reshape(side, side, 2).transpose(0, 1).reshape(-1, 2)

        def close(got, expected):
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)

        close(resize_position_table(turned(table), window), turned(resized))
        close(resize_position_table(table.flip(0), window), resized.flip(0))
        close(resize_position_table(2 * table + 1, window), 2 * resized + 1)
        # The token itself keeps its bias.
        close(resized[len(resized) // 2], table[len(table) // 2])

    @pytest.mark.parametrize("rows", [48, 50, 64])
    def test_tables_that_are_not_square(self, rows):
        with pytest.raises(ModelError, match=f"^a position table of {rows} rows is not one of square windows$"):
            resize_position_table(torch.zeros(rows, 2), 4)
