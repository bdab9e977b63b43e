"""The official objectives against totals computed by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from fixtures_official import small_model
from pydantic import ValidationError
from torch.nn import functional as F
from toy_objectives import (
    CAPTIONS,
    CLS,
    DEC,
    ENC,
    ID,
    PROMPT,
    SEP,
    TAG_NAMES,
    TOKENIZER,
    aligned,
    losses,
    rows_of,
    small_batch,
    without,
)

from anytag.errors import UsageError
from anytag.nn.losses import asymmetric_loss
from anytag.training.families.batch import Batch, caption_tensors
from anytag.training.families.objectives import RamObjective, RamPlusObjective, Tag2TextObjective
from anytag.training.recipes.config import RamConfig, RamPlusConfig, Tag2TextConfig


class TestWords:
    def test_by_hand(self):
        tensors = caption_tensors(TOKENIZER, ["two dogs", "", "red car"], [["dog"], [], ["red car", "cat"]])
        assert tensors["captions"].tolist() == [
            [*PROMPT, ID["two"], ID["dog"], ID["##s"], SEP],
            [0] * 8,
            [*PROMPT, ID["red"], ID["car"], SEP, 0, 0][:8],
        ]
        assert tensors["texts"].tolist() == [
            [CLS, ID["two"], ID["dog"], ID["##s"], SEP],
            [0] * 5,
            [CLS, ID["red"], ID["car"], SEP, 0],
        ]
        tags = tensors["tag_tokens"]
        assert tags.shape == (3, 40)
        assert tags[0, :3].tolist() == [ENC, ID["dog"], SEP]
        assert tags[1, :3].tolist() == [ENC, SEP, 0]
        assert tags[2, :6].tolist() == [ENC, ID["red"], ID["car"], ID["|"], ID["cat"], SEP]

    def test_released_captions_have_no_prompt(self):
        tensors = caption_tensors(TOKENIZER, ["two dogs"], [[]], official=True)
        assert tensors["captions"].tolist() == [[DEC, ID["two"], ID["dog"], ID["##s"], SEP]]

    def test_long_ones_are_cut_and_end(self):
        tensors = caption_tensors(TOKENIZER, ["dog " * 60], [[]])
        assert tensors["captions"].shape == (1, 40)
        assert tensors["texts"].shape == (1, 30)
        assert tensors["captions"][0, -1] == tensors["texts"][0, -1] == SEP

    def test_lists_must_go_together(self):
        with pytest.raises(UsageError, match="2 captions, but 1 lists of tags"):
            caption_tensors(TOKENIZER, ["dog", "cat"], [["dog"]])


class TestConfigs:
    def test_published_numbers(self):
        assert (Tag2TextConfig().gamma_negative, Tag2TextConfig().gamma_positive, Tag2TextConfig().clip) == (7, 0, 0.05)
        assert RamConfig().label_smoothing == 0.1
        assert RamPlusConfig().alignment_gamma_negative == 4
        assert not Tag2TextConfig().official

    @pytest.mark.parametrize("setting", [{"tagging": -1}, {"clip": 1.0}, {"label_smoothing": 1.0}, {"queue": 3}])
    def test_others_are_refused(self, setting):
        with pytest.raises(ValidationError):
            RamConfig(**setting)


class TestCaptioning:
    def losses(self, config, batch):
        model = small_model("tag2text")
        return Tag2TextObjective(config, TOKENIZER)(model, batch)[1]["captioning"]

    def test_by_definition(self):
        """Every word after the prompt, and the end; smoothed by a tenth; mean over all captions' words."""
        model, batch = small_model("tag2text"), without(small_batch(), "tags")
        ids = batch.captions
        memory, mask = model.fuse(batch.tag_tokens, model.encode(batch.pixels)[0])
        logits = model.text_decoder.logits(model.text_decoder(ids, model.text_decoder.memory(memory), mask))
        scores = logits.log_softmax(-1)
        terms = []
        for row, caption in enumerate(ids.tolist()):
            for place in range(len(PROMPT), len(caption)):
                if caption[place]:
                    before = scores[row, place - 1]
                    terms.append(-(0.9 * before[caption[place]] + 0.1 * before.mean()).item())
        assert len(terms) == 6 + 5 + 4
        total, parts = Tag2TextObjective(Tag2TextConfig(), TOKENIZER)(model, batch)
        assert parts == {"captioning": pytest.approx(sum(terms) / len(terms), rel=1e-5)}
        assert total.item() == pytest.approx(parts["captioning"])

    def test_as_released_the_first_three_pieces_are_not_learned(self):
        config = Tag2TextConfig(official=True, tagging=0)
        words = caption_tensors(TOKENIZER, CAPTIONS, TAG_NAMES, official=True)
        batch = small_batch(**words)
        model = small_model("tag2text")
        model.text_decoder.bias.requires_grad_()
        total, _ = Tag2TextObjective(config, TOKENIZER)(model, batch)
        total.backward()
        learned = {id for caption in words["captions"].tolist() for id in caption[4:] if id}
        # The output's bias rises (a negative gradient) for words that are learned, and falls for all others.
        rising = set((model.text_decoder.bias.grad < 0).nonzero().flatten().tolist())
        assert rising <= learned
        assert {ID["on"], ID["car"], SEP} <= learned
        assert ID["dog"] not in learned

    def test_a_caption_without_the_prompt_is_refused(self):
        words = caption_tensors(TOKENIZER, CAPTIONS, TAG_NAMES, official=True)
        with pytest.raises(UsageError, match="does not start with the prompt"):
            self.losses(Tag2TextConfig(), small_batch(**words))

    def test_pictures_without_caption_do_not_count(self):
        batch = without(small_batch(), "tags")
        gap = batch.captions.clone()
        gap[1] = 0
        expected = self.losses(Tag2TextConfig(), rows_of(batch, [0, 2]))
        assert self.losses(Tag2TextConfig(), replace(batch, captions=gap)) == pytest.approx(expected, rel=1e-6)

    def test_captions_need_their_tags_and_a_captioner(self):
        with pytest.raises(UsageError, match="captions without tag_tokens"):
            self.losses(Tag2TextConfig(), without(small_batch(), "tag_tokens"))
        with pytest.raises(UsageError, match="writes no captions"):
            RamObjective(RamConfig(), TOKENIZER)(small_model("ram_plus"), small_batch())


class TestTagging:
    def loss(self, model, batch):
        return RamPlusObjective(RamPlusConfig(distillation=0, alignment=0))(model, batch)[1]["tagging"]

    def test_some_tags_only(self):
        model, batch = small_model("ram_plus"), small_batch()
        ids = torch.tensor([4, 1])
        logits = model.recognize(model.encode(batch.pixels)[0])[:, ids]
        expected = asymmetric_loss(logits, batch.tags[:, ids]).item()
        assert self.loss(model, replace(batch, tags=batch.tags[:, ids], tag_ids=ids)) == pytest.approx(
            expected, rel=1e-5
        )

    def test_pictures_with_unknown_tags_do_not_count(self):
        model, batch = small_model("ram_plus"), small_batch()
        expected = self.loss(model, rows_of(without(batch, "text_embeddings"), [0, 2]))
        known = torch.tensor([True, False, True])
        assert self.loss(model, replace(batch, tags_known=known)) == pytest.approx(expected, rel=1e-5)

    def test_tags_of_another_number_are_refused(self):
        with pytest.raises(UsageError, match=r"tags have the shape \[3, 5\], the model's scores \[3, 6\]"):
            self.loss(small_model("ram_plus"), small_batch(tags=torch.zeros(3, 5)))


class TestTotals:
    def test_tagging_comes_at_the_magnitude_of_captioning(self):
        model, batch = small_model("tag2text"), small_batch()
        total, parts = Tag2TextObjective(Tag2TextConfig(tagging=0.5), TOKENIZER)(model, batch)
        assert set(parts) == {"captioning", "tagging"}
        # Tagging is rescaled to captioning, whatever its own value, with a weight of a half.
        assert total.item() == pytest.approx(1.5 * parts["captioning"], rel=1e-6)
        assert parts["tagging"] != pytest.approx(parts["captioning"], rel=0.1)

    def test_ram_adds_the_distance_to_clip(self):
        model, batch = small_model("ram"), small_batch()
        total, parts = RamObjective(RamConfig(distillation=3), TOKENIZER)(model, batch)
        distance = (model.encode(batch.pixels)[0][:, 0] - batch.teacher).abs().mean().item()
        assert parts["distillation"] == pytest.approx(distance, rel=1e-6)
        assert total.item() == pytest.approx(2 * parts["captioning"] + 3 * distance, rel=1e-6)

    def test_ram_plus_is_the_plain_sum(self):
        model, batch = small_model("ram_plus"), small_batch()
        total, parts = RamPlusObjective(RamPlusConfig())(model, batch)
        assert set(parts) == {"tagging", "distillation", "alignment"}
        assert total.item() == pytest.approx(sum(parts.values()), rel=1e-6)

    def test_without_captions_tagging_keeps_its_own_magnitude(self):
        model, batch = small_model("ram"), without(small_batch(), "captions")
        total, parts = RamObjective(RamConfig(distillation=0), TOKENIZER)(model, batch)
        assert set(parts) == {"tagging"}
        assert total.item() == pytest.approx(parts["tagging"])

    @pytest.mark.parametrize("family", ["tag2text", "ram", "ram_plus"])
    def test_a_batch_with_nothing_to_learn_costs_nothing(self, family):
        """Such batches occur by chance if some pictures have tags and others captions."""
        objective = {
            "tag2text": Tag2TextObjective(Tag2TextConfig(), TOKENIZER),
            "ram": RamObjective(RamConfig(distillation=0), TOKENIZER),
            "ram_plus": RamPlusObjective(RamPlusConfig(distillation=0)),
        }[family]
        model = small_model(family)
        total, parts = objective(model, Batch(small_batch().pixels))
        total.backward()
        assert (total.item(), parts) == (0, {})
        assert all(p.grad is None or not p.grad.any() for p in model.parameters())

    def test_distillation_needs_a_teacher(self):
        for objective in (RamObjective(RamConfig(), TOKENIZER), RamPlusObjective(RamPlusConfig())):
            family = "ram" if isinstance(objective, RamObjective) else "ram_plus"
            with pytest.raises(UsageError, match="no teacher"):
                objective(small_model(family), without(small_batch(), "teacher"))

    def test_pictures_without_teacher_do_not_count(self):
        model, batch = small_model("ram"), small_batch()
        gap = batch.teacher.clone()
        gap[0] = 0
        parts = RamObjective(RamConfig(), TOKENIZER)(model, replace(batch, teacher=gap))[1]
        distance = (model.encode(batch.pixels)[0][1:, 0] - batch.teacher[1:]).abs().mean().item()
        assert parts["distillation"] == pytest.approx(distance, rel=1e-6)


class TestTextAlignment:
    def test_by_definition(self):
        """Each caption is scored for each picture; own pairs are positives; gamma is 4."""
        model, batch = small_model("ram_plus"), without(small_batch(), "tags", "teacher")
        features, _ = model.encode(batch.pixels)
        expected = 0.0
        for text in range(3):
            query = model.label_queries.projection(batch.text_embeddings[text : text + 1]).relu()
            for picture in range(3):
                p = model.recognition_decoder(features[picture : picture + 1], query).sigmoid().item()
                q = min(1.0, 1 - p + 0.05)
                expected -= math.log(p) if picture == text else (1 - q) ** 4 * math.log(q)
        total, parts = RamPlusObjective(RamPlusConfig(distillation=0))(model, batch)
        assert parts == {"alignment": pytest.approx(expected, rel=1e-5)}
        assert total.item() == pytest.approx(expected, rel=1e-5)

    def test_a_picture_without_text_is_still_wrong_for_the_others_texts(self):
        model, batch = small_model("ram_plus"), without(small_batch(), "tags", "teacher")
        gap = batch.text_embeddings.clone()
        gap[1] = 0
        parts = RamPlusObjective(RamPlusConfig(distillation=0))(model, replace(batch, text_embeddings=gap))[1]
        queries = model.label_queries.project(batch.text_embeddings[[0, 2]])
        logits = model.recognition_decoder(model.encode(batch.pixels)[0], queries)
        right = torch.tensor([[1, 0], [0, 0], [0, 1]])
        assert parts["alignment"] == pytest.approx(asymmetric_loss(logits, right, 4.0).item(), rel=1e-5)


class TestContrastAndMatching:
    def test_all_parts_add_up(self):
        whole = aligned(contrast=0.5).train()
        total, parts = losses(whole, small_batch(), 0)
        assert set(parts) == {"captioning", "tagging", "contrast", "matching"}
        expected = 2 * parts["captioning"] + 0.5 * parts["contrast"] + parts["matching"]
        assert total.item() == pytest.approx(expected, rel=1e-6)

    def test_values_by_definition(self):
        """In the first step the momentum copies equal the originals and soft labels have no weight: plain contrast."""
        whole = aligned(tagging=0, captioning=0).train()
        model, batch, encoder = whole["model"], small_batch(), whole["objective"].encoder
        features, _ = model.encode(batch.pixels)
        logits = encoder.embed_pictures(features) @ encoder.embed_texts(batch.texts).T / 0.07
        own = torch.arange(3)
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        _, parts = losses(whole, batch, 0)
        assert parts["contrast"] == pytest.approx(contrast.item(), rel=1e-5)
        true = encoder.match(batch.texts, features)
        # Negatives are random, but with two rows there is no choice.
        two = rows_of(batch, [0, 1])
        other = aligned(tagging=0, captioning=0).train()
        _, parts = losses(other, two, 0)
        false = encoder.match(batch.texts[[0, 1, 1, 0]], features[[1, 0, 0, 1]])
        labels = torch.tensor([1, 1, 0, 0, 0, 0])
        expected = F.cross_entropy(torch.cat([true[:2], false]), labels).item()
        assert parts["matching"] == pytest.approx(expected, rel=1e-5)

    def test_the_same_seed_draws_the_same(self):
        results = []
        for seed in (1, 1, 2, 3, 4):
            whole = aligned().train()
            results.append(losses(whole, small_batch(), seed)[1]["matching"])
        assert results[0] == results[1]
        assert len(set(results)) > 1

    def test_the_same_picture_twice_is_not_a_negative(self):
        batch = small_batch(picture_numbers=torch.tensor([6, 6, 6]))
        whole = aligned(tagging=0, captioning=0).train()
        _, parts = losses(whole, batch, 0)
        encoder, (features, _) = whole["objective"].encoder, whole["model"].encode(batch.pixels)
        true = F.cross_entropy(encoder.match(batch.texts, features), torch.ones(3, dtype=torch.long))
        assert parts["matching"] == pytest.approx(true.item(), rel=1e-5)

    def test_pictures_without_text_are_left_out(self):
        batch = small_batch()
        gap = batch.texts.clone()
        gap[1] = 0
        results = []
        for given in (replace(batch, texts=gap), rows_of(batch, [0, 2])):
            whole = aligned(tagging=0, captioning=0).train()
            results.append(losses(whole, given, 0)[1])
        assert results[0] == pytest.approx(results[1], rel=1e-5)

    @pytest.mark.parametrize("texts", [None, torch.zeros(3, 5, dtype=torch.long)])
    def test_without_any_text_the_rest_is_learned(self, texts):
        whole = aligned().train()
        _, parts = whole["objective"](whole["model"], small_batch(texts=texts))
        assert set(parts) == {"captioning", "tagging"}

    def test_weights_of_zero_switch_them_off(self):
        whole = aligned(contrast=0, matching=0).train()
        assert set(whole["objective"](whole["model"], small_batch())[1]) == {"captioning", "tagging"}
        assert whole["objective"].contrast.steps.item() == 0
        whole = aligned(contrast=0, tagging=0, captioning=0).train()
        assert set(whole["objective"](whole["model"], small_batch())[1]) == {"matching"}

    def test_encoder_and_contrast_come_together(self):
        objective = aligned()["objective"]
        with pytest.raises(UsageError, match="both or neither"):
            Tag2TextObjective(Tag2TextConfig(), TOKENIZER, objective.encoder)
        with pytest.raises(UsageError, match="both or neither"):
            Tag2TextObjective(Tag2TextConfig(), TOKENIZER, None, objective.contrast)


def train(whole, steps):
    torch.manual_seed(steps.start)
    optimizer = torch.optim.AdamW(whole.parameters(), lr=0.01)
    totals = []
    for step in steps:
        total, _ = losses(whole, small_batch(), step)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    return totals


def test_training_learns_and_keeps_the_decoder_shared(tmp_path):
    whole = aligned().train()
    totals = train(whole, range(30))
    assert sum(totals[-3:]) < 0.7 * sum(totals[:3])
    for kept in (whole, copy.deepcopy(whole)):
        decoder, encoder = kept["model"].text_decoder, kept["objective"].encoder
        assert encoder.embedding is decoder.embedding
        assert encoder.layers[1].cross_attention is decoder.layers[1].cross_attention
        assert encoder.layers[0].feed_forward is decoder.layers[0].feed_forward
    torch.save(whole.state_dict(), tmp_path / "state")
    other = aligned(seed=1)
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    with torch.no_grad():
        first, second = (losses(m.eval(), small_batch(), 0) for m in (whole, other))
    assert first[1] == second[1]


@pytest.mark.parametrize("family", ["ram", "ram_plus"])
def test_frozen_label_embeddings_stay_and_everything_else_learns(family):
    model = small_model(family).train()
    objective = RamObjective(RamConfig(), TOKENIZER) if family == "ram" else RamPlusObjective(RamPlusConfig())
    objective(model, small_batch())[0].backward()
    assert model.label_queries.embeddings.grad is None
    parts = ("image_encoder.norm.weight", "image_projection.weight", "label_queries.projection.weight")
    parts += ("recognition_decoder.score.weight", "recognition_decoder.layers.0.cross_attention.key.weight")
    if family == "ram":
        parts += ("interaction_encoder.layers.2.self_attention.query.weight", "text_decoder.embedding.words.weight")
    for name in parts:
        assert model.get_parameter(name).grad.any(), name
