"""The alignment encoder against `transformers`' BLIP, and what it shares with the text decoder."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import require_module
from torch import nn
from toy_alignment import ENC, TEXTS, close, parts

from anytag.nn.alignment import TEMPERATURE_RANGE, AlignmentEncoder
from anytag.nn.captioner import TextDecoder
from anytag.nn.transformer import TextEmbedding


def shares(whole):
    """Whether everything but self-attention is one and the same."""
    decoder, encoder = whole["decoder"], whole["encoder"]
    layers = list(zip(decoder.layers, encoder.layers, strict=True))
    return (
        encoder.embedding is decoder.embedding
        and all(ours.cross_attention is theirs.cross_attention for theirs, ours in layers)
        and all(ours.feed_forward is theirs.feed_forward for theirs, ours in layers)
        and not any(ours.self_attention is theirs.self_attention for theirs, ours in layers)
    )


class TestEncoder:
    @torch.no_grad()
    def test_embeddings_are_unit_vectors_of_whole_picture_and_first_token(self):
        encoder, features = parts()["encoder"], torch.randn(3, 5, 8)
        pictures, texts = encoder.embed_pictures(features), encoder.embed_texts(TEXTS)
        assert pictures.shape == texts.shape == (3, 4)
        close(pictures.norm(dim=1), torch.ones(3))
        close(texts.norm(dim=1), torch.ones(3))
        changed = features.clone()
        changed[:, 1:] += 1
        close(encoder.embed_pictures(changed), pictures)

    @torch.no_grad()
    def test_padding_does_not_matter(self):
        encoder, features = parts()["encoder"], torch.randn(1, 5, 8)
        close(encoder.embed_texts(TEXTS[2:, :3]), encoder.embed_texts(TEXTS[2:]))
        close(encoder.match(TEXTS[2:, :3], features), encoder.match(TEXTS[2:], features))

    @torch.no_grad()
    def test_matching_starts_with_its_own_token_and_sees_the_whole_picture(self):
        encoder, features = parts()["encoder"], torch.randn(3, 5, 8)
        scores = encoder.match(TEXTS, features)
        assert scores.shape == (3, 2)
        other = TEXTS.clone()
        other[:, 0] = 11  # [ENC] takes the first place, whatever stands there
        close(encoder.match(other, features), scores)
        features[:, 3] += 1
        assert (encoder.match(TEXTS, features) - scores).abs().min() > 1e-4
        assert TEXTS[0, 0] == 2

    @torch.no_grad()
    @pytest.mark.parametrize("temperature", [-1.0, 0.0005, 0.3, 0.9])
    def test_the_temperature_is_brought_back_into_its_range(self, temperature):
        encoder = parts()["encoder"]
        encoder.temperature.fill_(temperature)
        expected = min(max(temperature, TEMPERATURE_RANGE[0]), TEMPERATURE_RANGE[1])
        assert encoder.clamp_temperature().item() == pytest.approx(expected)
        assert encoder.temperature.item() == pytest.approx(expected)

    def test_published_defaults(self):
        encoder = AlignmentEncoder(parts()["decoder"], 8)
        assert encoder.temperature.item() == pytest.approx(0.07)
        assert encoder.picture_projection.out_features == encoder.text_projection.out_features == 256


class TestSharing:
    def test_everything_but_self_attention_is_the_decoder_s(self):
        assert shares(parts())
        assert parts()["encoder"].memory_projection is None

    def test_pictures_of_another_width_are_brought_to_the_decoder_s(self):
        whole = parts(feature_width=6)
        assert shares(whole)
        assert whole["encoder"].match(TEXTS, torch.randn(3, 5, 6)).shape == (3, 2)

    def test_building_an_encoder_leaves_the_decoder_as_it_was(self):
        decoder = parts()["decoder"]
        before = copy.deepcopy(decoder.state_dict())
        AlignmentEncoder(decoder, 8)
        for name, tensor in decoder.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_it_holds_in_a_copy(self):
        assert shares(copy.deepcopy(parts()))

    def test_it_holds_after_a_training_step(self):
        whole = parts().train()
        optimizer = torch.optim.AdamW(whole.parameters(), lr=0.01)
        before = copy.deepcopy(whole.state_dict())
        whole["encoder"].match(TEXTS, torch.randn(3, 5, 8)).square().sum().backward()
        optimizer.step()
        assert shares(whole)
        for name in ("layers.0.cross_attention.key.weight", "layers.1.feed_forward.inner.weight"):
            ours, theirs = (whole.get_parameter(f"{part}.{name}") for part in ("encoder", "decoder"))
            assert torch.equal(ours, theirs)
            assert not torch.equal(ours, before[f"decoder.{name}"])

    @pytest.mark.parametrize("format", ["torch", "safetensors"])
    def test_it_holds_through_saving_and_loading(self, format, tmp_path):
        from safetensors.torch import load_file

        from anytag.nn.weights import write_weights

        whole, other = parts(), parts(seed=1)
        file = tmp_path / "weights"
        if format == "torch":
            torch.save(whole.state_dict(), file)
            state = torch.load(file, weights_only=True)
        else:
            write_weights(whole.state_dict(), file)
            state = load_file(file)
        other.load_state_dict(state)
        assert shares(other)
        features = torch.randn(3, 5, 8)
        close(other["encoder"].match(TEXTS, features), whole["encoder"].match(TEXTS, features), atol=0)
        with torch.no_grad():
            other["decoder"].layers[0].cross_attention.key.weight.zero_()
        assert not other["encoder"].layers[0].cross_attention.key.weight.any()


class TestAgainstBlip:
    @pytest.fixture(scope="class")
    @classmethod
    def both(cls):
        """BLIP's retrieval model with random weights, and ours with the same."""
        require_module("transformers")
        from transformers import BlipConfig, BlipForImageTextRetrieval

        torch.manual_seed(0)
        text = {
            "vocab_size": 30,
            "hidden_size": 8,
            "encoder_hidden_size": 12,
            "intermediate_size": 12,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 12,
            "projection_dim": 4,
        }
        vision = {
            "hidden_size": 12,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
        }
        config = BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=4)
        theirs = BlipForImageTextRetrieval(config).eval()
        for parameter in theirs.parameters():
            nn.init.normal_(parameter, std=0.3)
        decoder = TextDecoder(TextEmbedding(30, 8, 12), 8, layers=2, heads=2, inner=12, memory_width=12)
        ours = AlignmentEncoder(decoder, 12, embedding=4, match_id=ENC).eval()
        ours.load_state_dict(renamed(theirs.state_dict()), strict=False)
        return theirs, ours

    @torch.no_grad()
    def test_contrast(self, both):
        theirs, ours = both
        pixels = torch.randn(3, 3, 32, 32)
        expected = theirs(TEXTS, pixels, use_itm_head=False, attention_mask=(TEXTS != 0).long())
        pictures, texts = ours.embed_pictures(expected.last_hidden_state), ours.embed_texts(TEXTS)
        close(pictures @ texts.T, expected.itm_score, atol=1e-5)

    @torch.no_grad()
    def test_matching(self, both):
        theirs, ours = both
        pixels, texts = torch.randn(3, 3, 32, 32), TEXTS.clone()
        texts[:, 0] = ENC  # the library leaves this to its caller
        expected = theirs(texts, pixels, use_itm_head=True, attention_mask=(TEXTS != 0).long())
        assert expected.itm_score.std() > 0.01
        close(ours.match(TEXTS, expected.last_hidden_state), expected.itm_score, atol=1e-5)


def renamed(state):
    """A state dict of BLIP's under this project's names; every parameter of its text side finds a place."""
    layer_parts = {
        "attention.self.": "self_attention.",
        "attention.output.dense.": "self_attention.output.",
        "attention.output.LayerNorm.": "self_attention.norm.",
        "crossattention.self.": "cross_attention.",
        "crossattention.output.dense.": "cross_attention.output.",
        "crossattention.output.LayerNorm.": "cross_attention.norm.",
        "intermediate.dense.": "feed_forward.inner.",
        "output.dense.": "feed_forward.output.",
        "output.LayerNorm.": "feed_forward.norm.",
    }
    others = {
        "text_encoder.embeddings.word_embeddings.": "embedding.words.",
        "text_encoder.embeddings.position_embeddings.": "embedding.positions.",
        "text_encoder.embeddings.LayerNorm.": "embedding.norm.",
        "vision_proj.": "picture_projection.",
        "text_proj.": "text_projection.",
        "itm_head.": "match_score.",
    }
    found = {}
    for name, tensor in state.items():
        if name.startswith("text_encoder.encoder.layer."):
            number, inner = name.removeprefix("text_encoder.encoder.layer.").split(".", 1)
            start = next(part for part in layer_parts if inner.startswith(part))
            found[f"layers.{number}.{layer_parts[start]}{inner.removeprefix(start)}"] = tensor
        elif start := next((part for part in others if name.startswith(part)), ""):
            found[others[start] + name.removeprefix(start)] = tensor
        else:
            assert name.startswith("vision_model.") or name.endswith("position_ids"), name
    return found
