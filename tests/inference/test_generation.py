"""The decoding loop: brute force, transformers 4.25.1, its step function, and what must hold for any model."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_steps import EOS, PAD, markov_step, run, toy_scores, toy_step

from anytag.errors import AnytagError, UsageError
from anytag.inference.decoding_options import DecodingOptions
from anytag.inference.generation import CachedStep, TokenRules, generate, generate_several, search_beams

FIXTURE = ROOT / "tests" / "fixtures" / "oracle" / "generation_transformers_4_25_1.json"


def log_softmax(scores):
    return scores - np.log(np.exp(scores.astype(np.float64)).sum())


def brute_force(table, prompt, max_length, min_length, length_penalty):
    """The best of all sequences by the score of transformers 4.25.1."""
    vocabulary = len(table)
    others = [t for t in range(vocabulary) if t != EOS]
    best = None
    for new in range(max_length - len(prompt) + 1):
        for body in itertools.product(others, repeat=new):
            standing = (*prompt, *body)
            total = sum(log_softmax(table[a])[b] for a, b in itertools.pairwise(standing[len(prompt) - 1 :]))
            if len(standing) < max_length:
                if len(standing) < min_length:
                    continue
                tokens, total = (*standing, EOS), total + log_softmax(table[standing[-1]])[EOS]
            else:
                tokens = standing
            score = total / len(standing) ** length_penalty
            if best is None or score > best[0]:
                best = score, tokens
    return best


# --- against transformers 4.25.1


@pytest.mark.parametrize("case", json.loads(FIXTURE.read_text())["cases"], ids=lambda case: "")
def test_equals_transformers(case):
    captions = generate(
        toy_step(case["vocabulary"], case["eos_id"], case["eos_bias"]),
        np.array(case["prompt"]),
        num_pictures=len(case["prompt"]),
        eos_id=case["eos_id"],
        pad_id=0,
        options=DecodingOptions(**case["options"]),
    )
    width = len(case["sequences"][0])
    assert [[*c.tokens] + [0] * (width - len(c.tokens)) for c in captions] == case["sequences"]
    if case["scores"] is not None:
        assert [c.score for c in captions] == pytest.approx(case["scores"], abs=2e-5, rel=2e-5)


# --- against brute force


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_wide_beams_find_the_best_of_all_sequences(seed, length_penalty):
    table = np.random.default_rng(seed).normal(scale=1.5, size=(4, 4)).astype(np.float32)
    score, tokens = brute_force(table, (2, 0), max_length=6, min_length=3, length_penalty=length_penalty)
    (found,) = run(markov_step(table), (2, 0), num_beams=100, max_length=6, min_length=3, length_penalty=length_penalty)
    assert found.tokens == tokens
    assert found.score == pytest.approx(score)


def test_beams_find_what_greedy_search_misses():
    # 0 -> 2 looks best (0.6), but then everything is equally unlikely; 0 -> 3 (0.4) ends for sure.
    p = np.full((4, 4), 0.25)
    p[0] = [1e-9, 1e-9, 0.6, 0.4]
    p[3] = [1e-9, 1.0, 1e-9, 1e-9]
    step = markov_step(np.log(p))
    assert run(step, num_beams=1, max_length=3)[0].tokens[:2] == (0, 2)
    assert run(step, num_beams=2, max_length=3)[0].tokens == (0, 3, EOS)


@pytest.mark.parametrize("seed", range(4))
def test_several_captions_are_the_best_ones_in_order(seed):
    table = np.random.default_rng(seed).normal(scale=1.5, size=(4, 4)).astype(np.float32)
    options = DecodingOptions(num_beams=100, min_length=0, max_length=5)
    (found,) = generate_several(
        markov_step(table), np.array([0]), num_pictures=1, eos_id=EOS, pad_id=PAD, options=options
    )
    scores = [caption.score for caption in found]
    assert scores == sorted(scores, reverse=True)
    # Three other tokens than the end: 1 + 3 + 9 + 27 captions that end, 81 that are cut.
    assert len({caption.tokens for caption in found}) == len(found) == 100
    assert found[0] == run(markov_step(table), num_beams=100, max_length=5)[0]


def test_greedy_search_returns_one_caption():
    options = DecodingOptions(num_beams=1, min_length=0, max_length=5)
    several = generate_several(toy_step(), np.array([3]), num_pictures=2, eos_id=EOS, pad_id=PAD, options=options)
    assert several == [[caption] for caption in run(toy_step(), (3,), num_pictures=2, num_beams=1, max_length=5)]


# --- the step function


@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 4}, {"sample": True, "seed": 3}])
def test_the_cache_follows_its_beam(options, monkeypatch):
    """The cache tells a model's own history; the rules see what generation thinks stands."""
    seen = []
    apply = TokenRules.apply

    def spy(self, scores, tokens):
        seen.append(tokens.copy())
        apply(self, scores, tokens)

    monkeypatch.setattr(TokenRules, "apply", spy)
    histories, calls = [], []
    inner = toy_step(15, eos_bias=1.0)

    def step(tokens, cache):
        calls.append(tokens.shape)
        scores, cache = inner(tokens, cache)
        histories.append(cache["history"])
        return scores, cache

    prompts = np.array([[2, 3], [3, 3], [9, 3]])
    run(step, prompts, 3, max_length=12, **options)
    rows = 3 * DecodingOptions(**options).rows_per_picture
    assert calls[0] == (rows, 2)
    assert set(calls[1:]) == {(rows, 1)}
    assert len(histories) == len(seen)
    for history, tokens in zip(histories, seen, strict=True):
        np.testing.assert_array_equal(history, tokens)


def test_greedy_search_is_one_beam():
    prompts = np.arange(10)[:, None]
    options = DecodingOptions(num_beams=1, max_length=14, min_length=4)
    rules = TokenRules(options, EOS, np.array([], dtype=np.int64))
    beam = [c for (c,) in search_beams(CachedStep(toy_step(20), 10, 1), prompts, PAD, rules)]
    greedy = run(toy_step(20), prompts, 10, num_beams=1, max_length=14, min_length=4)
    assert [c.tokens for c in beam] == [c.tokens for c in greedy]
    assert [c.score for c in beam] == pytest.approx([c.score for c in greedy])


def test_a_short_prompt_serves_every_picture():
    one = run(toy_step(), (4, 5), 1)
    assert run(toy_step(), (4, 5), 3) == one * 3
    assert run(toy_step(), np.zeros((0, 2)), 0) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3}, {"sample": True}])
def test_scores_that_are_no_numbers_are_refused(bad, options):
    inner = toy_step(eos_bias=-9.0)
    rows_per_picture = DecodingOptions(**options).rows_per_picture

    def step(tokens, cache):
        scores, cache = inner(tokens, cache)
        if cache["history"].shape[1] == 4:
            scores[rows_per_picture, 5] = bad
        return scores, cache

    with pytest.raises(AnytagError, match=r"picture 1 of the batch .* token 4, are not finite"):
        run(step, (2, 3), 3, max_length=9, **options)


def test_wrong_shapes_are_refused():
    with pytest.raises(AnytagError, match=r"shape \(3, 1, 12\)"):
        run(lambda t, c: (np.zeros((3, 1, 12), np.float32), {}))
    with pytest.raises(AnytagError, match="axis 0"):
        run(lambda t, c: (toy_scores(t, 12, EOS, 0.0), {"keys": np.zeros((1, 3))}), max_length=9)


def test_arguments_that_do_not_fit_are_refused():
    for prompt, message in ((np.zeros((2, 2)), "shape"), (np.zeros(0), "prompt has 0"), (np.zeros(9), "prompt has 9")):
        with pytest.raises(UsageError, match=message):
            run(toy_step(), prompt, 3, max_length=9)
    with pytest.raises(UsageError, match="2 seeds"):
        run(toy_step(), num_pictures=3, sample=True, seed=(1, 2))
    with pytest.raises(UsageError, match="end token"):
        run(toy_step(), banned=[EOS])
    with pytest.raises(UsageError, match="token 12"):
        run(toy_step(), banned=[12])


# --- whatever the model


@settings(max_examples=60, deadline=None)
@given(
    prompts=st.lists(st.integers(2, 19), min_size=1, max_size=5),
    beams=st.integers(1, 5),
    max_length=st.integers(2, 14),
    min_share=st.floats(0, 0.99),
    length_penalty=st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0]),
    repetition_penalty=st.sampled_from([0.7, 1.0, 1.5]),
    ngram=st.integers(0, 3),
    bias=st.floats(-3, 4),
    sample=st.booleans(),
)
def test_properties(prompts, beams, max_length, min_share, length_penalty, repetition_penalty, ngram, bias, sample):
    options = {
        "num_beams": beams,
        "max_length": max_length,
        "min_length": int(min_share * max_length),
        "length_penalty": length_penalty,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram": ngram,
        "sample": sample,
        "seed": 5,
    }
    step = toy_step(20, eos_bias=bias)
    batch = run(step, np.array(prompts)[:, None], len(prompts), **options)
    assert batch == [run(step, (p,), **options)[0] for p in prompts]
    for prompt, caption in zip(prompts, batch, strict=True):
        body = caption.tokens[: -1 if caption.finished else None]
        assert caption.tokens[0] == prompt
        assert len(caption.tokens) <= max_length
        assert EOS not in body
        assert caption.finished == (caption.tokens[-1] == EOS)
        assert not caption.finished or len(body) >= options["min_length"]
        if repetition_penalty == 1:
            total = sum(
                log_softmax(toy_scores(np.array([caption.tokens[:i]]), 20, EOS, bias)[0])[caption.tokens[i]]
                for i in range(1, len(caption.tokens))
            )
            assert caption.score == pytest.approx(total / len(body) ** length_penalty, abs=1e-5, rel=1e-5)
