"""Self-critical training: rewards by hand, valid samples, and a loss with the right gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fixtures_torch import TINY, tiny_model, tiny_tokenizer

from anytag.evaluation.captioning import CiderD, cider_d
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.training.families.tag_transfer import BoundLabelQueries
from anytag.training.lite.batches import CaptionRecord, LiteBatch, PictureRecord, TagPrompts, pad
from anytag.training.lite.consensus import ConsensusReward, consensus_loss, draw_captions
from anytag.training.lite.objective import LiteObjective
from anytag.training.recipes.config import LiteConfig

START, END = 2, 3


def picture(*captions):
    return PictureRecord(np.array([0]), [CaptionRecord([START, *ids, END], ()) for ids in captions], range(0))


class TestReward:
    def test_only_pictures_with_several_captions_are_scored(self):
        reward = ConsensusReward([picture([7]), picture([7, 8], [7, 9])])
        assert [reward.scorable(index) for index in (0, 1, 2)] == [False, True, False]

    def test_the_advantage_is_over_the_mean_of_the_others(self):
        pictures = [picture([7, 8, 9], [7, 8, 10]), picture([20, 21], [22, 23]), picture([30, 31], [32])]
        reward = ConsensusReward(pictures)
        drawn = pad([[START, 7, 8, 9, END], [START, 20, 21, END], [START, 40, END]])
        got = reward.advantages([0], drawn, samples=3)
        references = [[c.ids[1:] for c in p.captions] for p in pictures]
        a, b, c = CiderD(references).score(0, [[7, 8, 9, END], [20, 21, END], [40, END]])
        assert a > b
        np.testing.assert_allclose(got.numpy(), [a - (b + c) / 2, b - (a + c) / 2, c - (a + b) / 2], rtol=1e-5)
        assert float(got.sum()) == pytest.approx(0, abs=1e-5)

    def test_a_caption_that_breaks_off_gains_less(self):
        pictures = [picture([7, 8, 9], [7, 8, 9]), picture([20, 21], [22]), picture([24], [25])]
        reward = ConsensusReward(pictures)
        whole, broken = reward.advantages([0], pad([[START, 7, 8, 9, END], [START, 7, 8, 9]]), samples=2)
        assert whole > broken


def test_the_scorer_with_fixed_references_is_the_metric():
    references = [[["a", "dog"], ["the", "dog", "runs"]], [["a", "cat"]], [["two", "cats", "sit"]]]
    candidates = [["a", "dog"], ["a", "dog"], ["two", "cats"]]
    scorer = CiderD(references)
    one_by_one = [scorer.score(place, [candidate])[0] for place, candidate in enumerate(candidates)]
    np.testing.assert_allclose(one_by_one, cider_d(candidates, references))


class TestDraws:
    @pytest.fixture
    def drawn(self):
        model, tokenizer = tiny_model(), tiny_tokenizer()
        torch.manual_seed(5)
        memory, mask = model.fuse(torch.tensor([[4, 9, 6]] * 40), torch.randn(40, 5, 16))
        return tokenizer, draw_captions(
            model,
            memory.detach(),
            mask,
            start_id=tokenizer.start_id,
            end_id=tokenizer.end_id,
            banned=tokenizer.special_ids,
            limit=9,
        )

    def test_captions_start_end_and_are_padded(self, drawn):
        tokenizer, ids = drawn
        assert ids.shape[0] == 40
        assert ids.shape[1] <= 9
        ended = 0
        for row in ids.tolist():
            assert row[0] == tokenizer.start_id
            length = row.index(tokenizer.end_id) + 1 if tokenizer.end_id in row else len(row)
            ended += tokenizer.end_id in row
            assert set(row[length:]) <= {tokenizer.pad_id}
            assert not set(row[1:length]) & set(tokenizer.special_ids)
        assert ended

    def test_draws_differ(self, drawn):
        assert len({tuple(row) for row in drawn[1].tolist()}) > 20


def test_the_loss_is_minus_advantage_times_log_probability():
    model = tiny_model()
    features = torch.randn(1, 5, 16)
    memory, mask = model.fuse(torch.tensor([[4, 9, 6]]), features)
    captions = torch.tensor([[START, 20, END]])
    loss = consensus_loss(model, memory, mask, captions, torch.tensor([2.0]))
    keys = model.text_decoder.memory(memory)
    logits = model.text_decoder.logits(model.text_decoder(captions[:, :-1], keys, mask)).log_softmax(-1)[0]
    assert loss.item() == pytest.approx(-2.0 * (logits[0, 20] + logits[1, END]).item() / 2, rel=1e-5)


def test_training_makes_rewarded_captions_likelier():
    tokenizer = tiny_tokenizer()
    vocabulary = TagVocabulary(
        VocabularyTag(i, n, "object") for i, n in enumerate(("dog", "cat", "grass", "run", "red"))
    )
    dog = tokenizer.encode_caption("a dog on the grass", 12)
    pictures = [
        PictureRecord(np.array([0]), [CaptionRecord(dog, (0,))] * 2, range(0)),
        PictureRecord(np.array([1]), [CaptionRecord(tokenizer.encode_caption("the cat run", 12), (1,))] * 2, range(0)),
        PictureRecord(np.array([4]), [CaptionRecord(tokenizer.encode_caption("big red", 12), (4,))], range(0)),
    ]
    config = LiteConfig(tagging=0, alignment=0, texts=0, captioning=0.0001, consensus=1, samples=8)
    objective = LiteObjective(
        config,
        TagPrompts(vocabulary, tokenizer, 12),
        ConsensusReward(pictures),
    )
    model = tiny_model().train()
    model.label_queries = BoundLabelQueries(model.label_queries, torch.randn(5, 24))
    tokens = torch.randn(3, 4, 1280, generator=torch.Generator().manual_seed(1))
    captions = [p.captions[0].ids for p in pictures]
    batch = LiteBatch(
        indices=np.arange(3), views=np.zeros(3, int),
        tag_ids=torch.arange(5), tags=torch.zeros(3, 5),
        text_embeddings=torch.randn(3, 24), rows=torch.arange(3), captions=pad(captions),
        caption_tags=[(0,), (1,), (4,)], guidance=["given"] * 3, found_counts=[3] * 3, found_shifts=[0.0] * 3,
        lone_captions=torch.zeros(0, 0), lone_tags=[],
    )  # fmt: skip

    def likelihood():
        model.eval()
        with torch.no_grad():
            loss = objective._caption_loss(
                model, pad([dog]), [objective.prompts.join((0,), given=True)], model.features(tokens[:1])
            )
        model.train()
        return -loss.item()

    torch.manual_seed(0)
    before = likelihood()
    trained = [p for n, p in model.named_parameters() if n.startswith(("text_decoder", "interaction"))]
    optimizer = torch.optim.Adam(trained, 3e-3)
    for _ in range(60):
        loss, parts = objective(model, batch, tokens)
        assert math.isfinite(parts["consensus"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert likelihood() > before + 0.1
    assert TINY.captioner is not None
