"""What each option of decoding does, in scores by hand: lengths, penalties, banned tokens, and sampling."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from toy_steps import EOS, markov_step, run, toy_step

from anytag.errors import UsageError
from anytag.inference.decoding_options import DecodingOptions
from anytag.inference.generation import Generated

# --- hand-worked


def test_score_divides_by_the_length_with_prompt_and_without_end():
    p = np.full((3, 3), 1e-30)
    p[0, 2], p[2, 1] = 0.5, 0.25
    p[0, 0], p[2, 2] = 0.5, 0.75
    step = markov_step(np.log(p))
    for penalty in (0.0, 1.0, 2.0):
        (caption,) = run(step, (0, 0, 0), num_beams=4, max_length=5, length_penalty=penalty, banned=[0])
        # banned tokens keep their probability: 0 0 0 2 [end] = 0.5 * 0.25 and 0 0 0 2 2 = 0.5 * 0.75
        assert caption.tokens == (0, 0, 0, 2, 2)
        assert not caption.finished
        assert caption.score == pytest.approx(math.log(0.375) / 5**penalty, abs=1e-6)
    (caption,) = run(step, (0, 0, 0), num_beams=4, max_length=5, length_penalty=0.0, banned=[0, 2])
    assert caption.tokens == (0, 0, 0, EOS)
    p[2, 1], p[2, 2] = 0.75, 0.25
    for beams in (1, 4):
        (caption,) = run(markov_step(np.log(p)), (0, 0, 0), num_beams=beams, max_length=9, banned=[0])
        assert caption == Generated((0, 0, 0, 2, EOS), pytest.approx(math.log(0.375) / 4, abs=1e-6), True)


def test_length_penalty_chooses_between_short_and_long():
    p = np.full((4, 4), 1e-12)
    p[0, 2], p[0, 3] = 0.5, 0.5
    p[2, 1] = 0.5  # short: 0.25 over length 2
    p[2, 2] = 0.5
    p[3, 3], p[3, 1] = 0.7, 0.3
    step = markov_step(np.log(p))
    short, long = math.log(0.25), math.log(0.5 * 0.7**3 * 0.3)
    assert short > long
    assert short / 2 < long / 5
    assert run(step, num_beams=8, max_length=6, length_penalty=0.0)[0].tokens[:2] == (0, 2)
    assert run(step, num_beams=8, max_length=6, length_penalty=1.0)[0].tokens == (0, 3, 3, 3, 3, 3)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("min_length", [0, 3, 6])
def test_the_end_comes_after_min_length_and_nothing_after_max_length(beams, min_length):
    eager = markov_step(np.tile([0.0, 9.0, 0.0, -1.0], (4, 1)))
    (caption,) = run(eager, (2, 2), num_beams=beams, max_length=7, min_length=min_length)
    assert caption.finished
    assert len(caption.tokens) == max(min_length, 2) + 1
    endless = markov_step(np.tile([0.0, -99.0, 0.5, -1.0], (4, 1)))
    (caption,) = run(endless, (2, 2), num_beams=beams, max_length=7, min_length=min_length)
    assert len(caption.tokens) == 7
    assert not caption.finished


def test_repetition_penalty_multiplies_log_probabilities_in_beams():
    step = markov_step(np.log([[0.25, 0.05, 0.2, 0.5]] * 4))
    options = {"num_beams": 2, "max_length": 2, "repetition_penalty": 3.0}
    # The prompt's own 3 falls from 0.5 to 0.5^3 = 0.125, below 0 with 0.25.
    assert run(step, (3,), **options)[0] == Generated((3, 0), pytest.approx(math.log(0.25) / 2), False)
    assert run(step, (3,), banned=[0, 2], **options)[0] == Generated((3, 3), pytest.approx(math.log(0.125) / 2), False)


def test_repetition_penalty_divides_positive_scores_in_greedy_search():
    scores = np.array([[1.5, -50, 2.0, 1.9]] * 4)  # the penalty halves 2.0 to 1.0, below the other two
    assert run(markov_step(scores), (2,), num_beams=1, max_length=4, repetition_penalty=2.0)[0].tokens == (2, 3, 0, 2)
    assert run(markov_step(scores), (2,), num_beams=1, max_length=4)[0].tokens == (2, 2, 2, 2)


@pytest.mark.parametrize("beams", [1, 3])
def test_no_n_gram_is_repeated(beams):
    step = toy_step(6, eos_bias=-9.0)
    for size in (2, 3):
        (caption,) = run(step, (2, 3), num_beams=beams, max_length=20, no_repeat_ngram=size)
        runs = [caption.tokens[i : i + size] for i in range(len(caption.tokens) - size + 1)]
        assert len(set(runs)) == len(runs)


@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3}, {"sample": True, "seed": 1}])
def test_no_allowed_token_is_not_an_error(options):
    step = markov_step(np.zeros((4, 4)))
    (caption,) = run(step, (2,), max_length=20, min_length=19, no_repeat_ngram=1, **options)
    assert sorted(caption.tokens) == [0, 2, 3]
    assert not caption.finished
    assert np.isfinite(caption.score)


@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3}, {"sample": True, "seed": 1, "top_p": 1.0}])
def test_banned_tokens_never_occur(options):
    captions = run(toy_step(9), np.full((20, 1), 4), 20, banned=[4, 5, 6], max_length=15, **options)
    assert not {4, 5, 6} & {token for caption in captions for token in caption.tokens[1:]}


# --- values that make no sense


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_beams": 0},
        {"max_length": 0},
        {"min_length": 30},
        {"min_length": -1},
        {"length_penalty": math.nan},
        {"repetition_penalty": 0},
        {"no_repeat_ngram": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"temperature": 0},
        {"seed": -1},
        {"seed": (1, -2)},
    ],
)
def test_options_check_themselves(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        DecodingOptions(**wrong)


# --- sampling


def draws(scores, count=4000, **options):
    """Frequencies of the token after the prompt in that many pictures."""
    table = np.tile(np.asarray(scores, dtype=np.float32), (len(scores), 1))
    captions = run(
        markov_step(table),
        num_pictures=count,
        sample=True,
        seed=tuple(range(count)),
        max_length=2,
        **options,
    )
    counts = Counter(c.tokens[1] for c in captions)
    return np.array([counts[t] for t in range(len(scores))])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top_p": 1.0}, [0.05, 0.15, 0.5, 0.3]),
        ({"top_p": 0.7}, [0, 0, 5 / 8, 3 / 8]),  # 0.5 alone is less than 0.7, 0.5 + 0.3 is not
        ({"top_p": 0.3}, [0, 0, 1, 0]),  # at least one token
        ({"top_p": 1.0, "top_k": 3}, [0, 0.15 / 0.95, 0.5 / 0.95, 0.3 / 0.95]),
        ({"top_p": 0.8, "top_k": 3}, [0, 0, 5 / 8, 3 / 8]),  # 0.8 of the 0.95 that top_k leaves
        ({"top_p": 1.0, "temperature": 0.5}, np.square([0.05, 0.15, 0.5, 0.3]) / 0.365),
    ],
)
def test_frequencies_are_those_of_the_nucleus(options, expected):
    counts, expected = draws(np.log([0.05, 0.15, 0.5, 0.3]), **options), np.array(expected)
    assert not counts[expected == 0].any()
    wanted = expected[expected > 0] * counts.sum()
    chi_square = ((counts[expected > 0] - wanted) ** 2 / wanted).sum()
    assert chi_square < 16.3  # the 99.9th percentile for three degrees of freedom


def test_a_seed_gives_the_same_caption_alone_and_in_a_batch():
    prompts = np.arange(8)[:, None]
    sampling = {"sample": True, "max_length": 20}
    batch = run(toy_step(40), prompts, 8, seed=7, **sampling)
    assert batch == [run(toy_step(40), p[None], 1, seed=7, **sampling)[0] for p in prompts]
    assert batch != run(toy_step(40), prompts, 8, seed=8, **sampling)
    same = np.full((6, 1), 3)
    assert len(set(run(toy_step(40), same, 6, seed=7, **sampling))) == 1
    assert len(set(run(toy_step(40), same, 6, seed=tuple(range(6)), **sampling))) == 6
    assert len(set(run(toy_step(40), same, 6, **sampling))) > 1
