"""The losses of alignment by hand: contrast, sampled negatives, and matching."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from toy_alignment import TEXTS, close, parts

from anytag.nn.alignment import Contrast, Keys, contrastive_loss, draw_negatives, matching_loss


class TestContrastiveLoss:
    def test_by_hand(self):
        # Two pairs of perpendicular vectors, temperature 1/2: each row's logits are 2 for its own and 0.
        unit = torch.eye(2)
        keys = Keys(unit, unit, torch.eye(2, dtype=torch.bool))
        contrast = contrastive_loss(unit, unit, keys, 0.5)
        assert contrast.loss.item() == pytest.approx(math.log(1 + math.exp(-2)))
        close(contrast.text_logits, 2 * unit)
        close(contrast.picture_logits, 2 * unit)

    def test_soft_labels_by_hand(self):
        # The momentum embeddings find both alike: a share of 0.4 makes the targets 0.8 and 0.2.
        unit, same = torch.eye(2), torch.tensor([[1.0, 0], [1, 0]])
        keys = Keys(same, same, torch.eye(2, dtype=torch.bool))
        # Picture 0 sees logits (2, 2), picture 1 sees (0, 0): log 2 whatever the targets. So with texts.
        assert contrastive_loss(unit, unit, keys, 0.5, 0.4).loss.item() == pytest.approx(math.log(2))
        # Momentum pictures apart, momentum texts alike. Pictures see texts (2, 2) and (0, 0) again: log 2. Texts see
        # pictures (2, 0) and (0, 2), with soft labels for them of (1/2, 1/2) and twice softmax(2, 0) = (s, 1 - s).
        keys = Keys(unit, same, torch.eye(2, dtype=torch.bool))
        s, wrong = 1 / (1 + math.exp(-2)), math.log(1 + math.exp(2))
        right = math.log(1 + math.exp(-2))
        rows = [(0.6 + 0.4 * s) * right + 0.4 * (1 - s) * wrong, (0.6 + 0.4 * (1 - s)) * right + 0.4 * s * wrong]
        expected = (math.log(2) + sum(rows) / 2) / 2
        assert contrastive_loss(unit, unit, keys, 0.5, 0.4).loss.item() == pytest.approx(expected, rel=1e-6)

    def test_several_right_answers_share_the_target(self):
        # One row, three keys, of which the first and last are its own; logits 1, 0, 0.
        key = torch.tensor([[1.0, 0], [0, 1], [0, -1]])
        keys = Keys(key, key, torch.tensor([[True, False, True]]))
        row = torch.tensor([[1.0, 0]])
        normalizer = math.log(math.e + 2)
        expected = normalizer - 0.5
        assert contrastive_loss(row, row, keys, 1.0).loss.item() == pytest.approx(expected)

    def test_gradients_reach_embeddings_and_temperature_and_no_key(self):
        pictures, texts, old = (F.normalize(torch.randn(n, 3), dim=1).requires_grad_() for n in (2, 2, 5))
        temperature = torch.tensor(0.1, requires_grad=True)
        keys = Keys(old.detach(), old.detach(), torch.eye(2, 5, dtype=torch.bool))
        contrastive_loss(pictures, texts, keys, temperature, 0.4).loss.backward()
        assert pictures.grad.any()
        assert texts.grad.any()
        assert temperature.grad.item() != 0

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 5), st.floats(0, 1))
    def test_equals_the_definition(self, seed, size, older, share):
        generator = torch.Generator().manual_seed(seed)

        def unit(rows):
            return F.normalize(torch.randn(rows, 3, generator=generator, dtype=torch.float64), dim=1)

        pictures, texts = unit(size), unit(size)
        keys = Keys(unit(older + size), unit(older + size), torch.eye(size, older + size).roll(older, 1).bool(), older)
        total = 0.0
        for queries, slow, answers in ((pictures, keys.pictures, keys.texts), (texts, keys.texts, keys.pictures)):
            for i in range(size):
                own = older + i
                logits = [float(queries[i] @ key) / 0.2 for key in answers]
                soft = [float(slow[own] @ key) / 0.2 for key in answers]
                normalizer, soft_sum = sum(map(math.exp, logits)), sum(map(math.exp, soft))
                for j, logit in enumerate(logits):
                    target = share * math.exp(soft[j]) / soft_sum + (1 - share) * (j == own)
                    total -= target * (logit - math.log(normalizer)) / (2 * size)
        assert contrastive_loss(pictures, texts, keys, 0.2, share).loss.item() == pytest.approx(total, rel=1e-9)

    def test_half_precision_around_it_does_not_touch_it(self):
        unit = F.normalize(torch.randn(4, 8), dim=1)
        keys = Keys(unit, unit.roll(1, 0), torch.eye(4, dtype=torch.bool))
        expected = contrastive_loss(unit, unit, keys, 0.01).loss
        with torch.autocast("cpu", torch.bfloat16):
            assert contrastive_loss(unit, unit, keys, 0.01).loss.item() == expected.item()


class TestNegatives:
    def test_by_hand(self):
        # Row 0 may draw columns 1 and 2 with softmax weights in the ratio 3 : 1.
        logits = torch.tensor([[5.0, math.log(3), 0.0]]).expand(3, 3)
        drawn = [int(draw_negatives(logits, torch.eye(3, dtype=torch.bool), seeded(s))[0]) for s in range(400)]
        assert 0 not in drawn
        # The floor of 1e-4 hardly moves it: (0.0196 + 0.0001) to (0.0065 + 0.0001), about 0.747.
        assert drawn.count(1) / 400 == pytest.approx(0.747, abs=0.07)

    def test_every_negative_may_be_sampled(self):
        # Softmax leaves 0 for columns 1 and 2 of row 0; the floor makes them equally likely.
        logits = torch.tensor([[1000.0, 0, -500]]).expand(3, 3)
        drawn = {int(draw_negatives(logits, torch.eye(3, dtype=torch.bool), seeded(s))[0]) for s in range(30)}
        assert drawn == {1, 2}

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 4))
    def test_never_a_right_answer_and_the_same_again_from_the_same_seed(self, seed, size, pictures):
        generator = seeded(seed)
        logits = torch.randn(size, size, generator=generator) * 20
        numbers = torch.randint(pictures, (size,), generator=generator)
        excluded = numbers[:, None] == numbers
        drawn = draw_negatives(logits, excluded, seeded(seed + 1))
        assert torch.equal(drawn, draw_negatives(logits, excluded, seeded(seed + 1)))
        for row, column in enumerate(drawn.tolist()):
            if excluded[row].all():
                assert column == -1
            else:
                assert not excluded[row, column]

    def test_similarities_that_are_no_numbers_are_left_to_the_loss(self):
        """A diverging run has a clear error, instead of PyTorch's about a probability tensor."""
        logits = torch.full((3, 3), torch.nan)
        logits[0] = torch.tensor([0.0, 1.0, torch.inf])
        drawn = draw_negatives(logits, torch.eye(3, dtype=torch.bool), seeded(0))
        assert all(0 <= column < 3 and column != row for row, column in enumerate(drawn.tolist()))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


class FixedJudge:
    """Stands for an encoder: remembers the pairs (first token, first feature) and finds all of them likely."""

    def __init__(self, logit=0.0):
        self.logit, self.pairs = logit, []

    def match(self, ids, features):
        self.pairs = list(zip(ids[:, 0].tolist(), features[:, 0, 0].tolist(), strict=True))
        return torch.tensor([0.0, self.logit]).expand(len(ids), 2)


class TestMatchingLoss:
    IDS = torch.tensor([[0], [1], [2]])
    FEATURES = torch.tensor([0.0, 1, 2]).reshape(3, 1, 1)

    def contrast(self, text_logits, picture_logits):
        return Contrast(torch.zeros(()), torch.tensor(text_logits), torch.tensor(picture_logits))

    def test_by_hand(self):
        # The only likely negatives: picture t + 1 for text t, text p - 1 for picture p (a thousand to one).
        text_logits = torch.eye(3).roll(-1, 1) * 100
        contrast = self.contrast(text_logits.tolist(), (torch.eye(3).roll(1, 1) * 100).tolist())
        judge = FixedJudge(logit=2.0)
        loss = matching_loss(judge, self.IDS, self.FEATURES, contrast, generator=seeded(0))
        true = [(0, 0), (1, 1), (2, 2)]
        assert judge.pairs == [*true, (0, 1), (1, 2), (2, 0), (2, 0), (0, 1), (1, 2)]
        # Three pairs fit and six do not, all with the logit 2.
        expected = (3 * math.log(1 + math.exp(-2)) + 6 * math.log(1 + math.exp(2))) / 9
        assert loss.item() == pytest.approx(expected, rel=1e-6)

    def test_the_batch_s_own_rows_stand_where_they_start(self):
        logits = torch.zeros(3, 8)
        logits[:, :5] = 100.0  # Those of other batches and processes, which cannot be sampled.
        contrast = Contrast(torch.zeros(()), logits, logits)
        judge = FixedJudge()
        matching_loss(judge, self.IDS, self.FEATURES, contrast, first=5, generator=seeded(0))
        assert len(judge.pairs) == 9
        assert all(text != picture for text, picture in judge.pairs[3:])

    def test_the_same_picture_is_not_a_negative(self):
        numbers = torch.tensor([4, 4, 9])
        same = numbers[:, None] == numbers
        logits = (torch.ones(3, 3) * 50 * same).tolist()  # they look alike, too
        for seed in range(20):
            judge = FixedJudge()
            matching_loss(
                judge, self.IDS, self.FEATURES, self.contrast(logits, logits), same_picture=same, generator=seeded(seed)
            )
            wrong = judge.pairs[3:]
            assert len(wrong) == 6
            assert all(numbers[text] != numbers[int(picture)] for text, picture in wrong)

    def test_without_negatives_only_positive_pairs_count(self):
        same = torch.ones(3, 3, dtype=torch.bool)
        judge = FixedJudge(logit=1.0)
        zeros = torch.zeros(3, 3).tolist()
        loss = matching_loss(judge, self.IDS, self.FEATURES, self.contrast(zeros, zeros), same_picture=same)
        assert judge.pairs == [(0, 0), (1, 1), (2, 2)]
        assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)
        alone = Contrast(torch.zeros(()), torch.zeros(1, 1), torch.zeros(1, 1))
        matching_loss(judge, self.IDS[:1], self.FEATURES[:1], alone)
        assert judge.pairs == [(0, 0)]

    def test_an_encoder_learns_to_tell_pairs_apart(self):
        encoder = parts()["encoder"]
        features = torch.randn(3, 4, 8)
        logits = torch.zeros(3, 3)
        contrast = Contrast(torch.zeros(()), logits, logits)
        optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.01)
        losses = []
        for step in range(60):
            loss = matching_loss(encoder, TEXTS, features, contrast, generator=seeded(step))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
