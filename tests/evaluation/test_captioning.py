"""Caption scores: hand-worked cases, numbers of pycocoevalcap, and the word splitting."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.evaluation.captioning import bleu, caption_words, cider_d, rouge_l, score_captions

FIXTURE = Path(__file__).parents[1] / "fixtures" / "oracle" / "captions_pycocoevalcap_1_2.json"


def words(*captions):
    return [caption.split() for caption in captions]


# --- words


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man's dog doesn't sit.", ["a", "man", "'s", "dog", "does", "n't", "sit"]),
        ("Don’t! They're here", ["do", "n't", "they", "'re", "here"]),
        ('A "black-and-white" T-shirt (old) -- really...', ["a", "black-and-white", "t-shirt", "old", "really"]),
        ("3.5 inches, 1,000 people; 2:30 o'clock", ["3.5", "inches", "1,000", "people", "2:30", "o'clock"]),
        ("waves,on a T.V. in the U.S.", ["waves", "on", "a", "t.v.", "in", "the", "u.s."]),
        ("the dogs' bowl", ["the", "dogs", "bowl"]),
        ("ein Hund läuft", ["ein", "hund", "läuft"]),
        (" ", []),
    ],
)
def test_words(caption, expected):
    assert caption_words(caption) == expected


# --- BLEU


def test_bleu_by_hand():
    # Papineni et al. 2002, section 2.1: "the" counts twice at most. Same length as the closest reference.
    references = [words("the cat is on the mat now", "there is a cat on the mat")]
    one, two = bleu(words("the the the the the the the"), references, orders=2)
    assert one == pytest.approx(2 / 7)
    assert two == 0.0
    # 1-grams 3/3, 2-grams 1/2; three words against four.
    brevity = math.exp(1 - 4 / 3)
    scores = bleu(words("a dog runs"), [words("a dog quickly runs")], orders=2)
    assert scores == pytest.approx((brevity, brevity * math.sqrt(0.5)))


def test_bleu_sums_over_the_set_before_dividing():
    scores = bleu(words("a b", "c x x x x x"), [words("a b"), words("c d e f g h")], orders=1)
    assert scores == pytest.approx((3 / 8,))


def test_bleu_takes_the_closest_reference_and_the_shorter_of_two():
    assert bleu(words("a b c d"), [words("a b c", "a b c d e")], orders=1)[0] == pytest.approx(1.0)
    assert bleu(words("a b c"), [words("a b c d", "a b c d e f g")], orders=1)[0] == pytest.approx(math.exp(1 - 4 / 3))


def test_bleu_of_the_reference_is_one_and_of_nothing_zero():
    caption = words("a dog runs on the beach")
    assert bleu(caption, [caption]) == pytest.approx((1.0,) * 4)
    assert bleu([[]], [caption]) == (0.0,) * 4


# --- ROUGE-L


def test_rouge_by_hand():
    # "a dog on grass" in order; P = 4/5, R = 4/6, F with beta 1.2.
    (score,) = rouge_l(words("a dog lies on grass"), [words("a brown dog on green grass")])
    assert score == pytest.approx(2.44 * (4 / 5) * (4 / 6) / (4 / 6 + 1.44 * 4 / 5))
    assert rouge_l(words("x y"), [words("a b")])[0] == 0.0
    assert rouge_l([[]], [words("a b", "")])[0] == 0.0


def test_rouge_takes_the_best_precision_and_the_best_recall():
    # P is best with the long reference (2/2), R with the short one (1/1).
    assert rouge_l(words("a b"), [words("a b c d", "a")])[0] == pytest.approx(1.0)


# --- CIDEr-D


def test_cider_by_hand():
    # Two pictures, every word in one of them: idf = ln 2 for all.
    references = [words("a b"), words("c d")]
    # Equal: cosine 1 for 1- and 2-grams, no 3- and 4-grams: 10 * 2/4. Half the words: 1-grams 1/2, 2-grams 0.
    assert cider_d(words("a b", "c x"), references) == pytest.approx([5.0, 10 * 0.5 / 4])
    # "x" has df 0, which counts as 1: the same weight.
    # Clipping: "a a" against "a b": min(2, 1) * 1 / (2 * sqrt 2).
    assert cider_d(words("a a", "c d"), references)[0] == pytest.approx(10 * (1 / (2 * math.sqrt(2))) / 4)
    # Length: one word more than the reference; norms sqrt 3 and sqrt 2; 2-grams 1 of 2 and 1.
    expected = 10 * math.exp(-1 / 72) * (2 / math.sqrt(6) + 1 / math.sqrt(2)) / 4
    assert cider_d(words("a b e", "c d"), references)[0] == pytest.approx(expected)


def test_cider_ignores_words_of_all_pictures():
    references = [words("the dog"), words("the cat")]
    dog, _ = cider_d(words("dog", "cat"), references)
    the, _ = cider_d(words("the", "cat"), references)
    assert the == 0.0
    assert dog > 0
    assert cider_d(words("the dog"), references[:1])[0] == 0.0  # one picture: nothing is informative


def test_cider_is_the_mean_over_references():
    references = [words("a b", "e f"), words("c d")]
    assert cider_d(words("a b", "c d"), references) == pytest.approx([2.5, 5.0])


# --- against pycocoevalcap


def test_equals_the_recorded_numbers():
    record = json.loads(FIXTURE.read_text())
    candidates, references = words(*record["candidates"]), [words(*r) for r in record["references"]]
    assert bleu(candidates, references) == pytest.approx(record["bleu"], rel=1e-7)
    np.testing.assert_allclose(rouge_l(candidates, references), record["rouge_l"], rtol=1e-12)
    np.testing.assert_allclose(cider_d(candidates, references), record["cider_d"], rtol=1e-9)


def made_up(pictures, seed, per_picture=5, vocabulary=400):
    rng = random.Random(seed)
    names = [f"w{int(vocabulary * rng.random() ** 3)}" for _ in range(5000)]

    def caption(theme):
        return " ".join(rng.choice(theme if rng.random() < 0.8 else names) for _ in range(rng.randint(5, 14)))

    themes = [rng.sample(names, 3) for _ in range(pictures)]
    return [caption(t) for t in themes], [[caption(t) for _ in range(per_picture)] for t in themes]


@pytest.mark.parametrize("seed", [1, 2])
def test_equals_the_package(seed):
    reason = "pycocoevalcap, the original to compare with, is not installed (the recorded numbers are compared)"
    scorers = pytest.importorskip("pycocoevalcap.bleu.bleu", reason=reason)
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    candidates, references = made_up(150, seed)
    theirs = dict(enumerate(references)), {place: [caption] for place, caption in enumerate(candidates)}
    ours = words(*candidates), [words(*captions) for captions in references]
    assert bleu(*ours) == pytest.approx(scorers.Bleu(4).compute_score(*theirs, verbose=0)[0], rel=1e-7)
    np.testing.assert_allclose(rouge_l(*ours), Rouge().compute_score(*theirs)[1], rtol=1e-12)
    np.testing.assert_allclose(cider_d(*ours), Cider().compute_score(*theirs)[1], rtol=1e-9)


# --- all together


def test_score_captions():
    references = [["A dog on the beach.", "a brown dog runs"], ["Two cats", "Cats on a bed!"]]
    scores = score_captions(["a dog on the beach", "two cats"], references)
    assert scores.bleu[:1] == pytest.approx((1.0,))
    assert scores.rouge_l == pytest.approx(1.0)
    assert 0 < scores.cider <= 10


def test_a_thousand_pictures_take_seconds():
    candidates, references = made_up(1000, 3)
    started = time.process_time()
    cider_d(words(*candidates), [words(*captions) for captions in references])
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([], [], "0 captions"),
        (["a"], [["a"], ["b"]], "1 captions but references of 2"),
        (["a", "b"], [["a"], []], "picture 1 has no reference"),
    ],
)
def test_mismatched_sets_are_rejected(candidates, references, message):
    with pytest.raises(UsageError, match=message):
        score_captions(candidates, references)


caption = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=7)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(caption, st.lists(caption, min_size=1, max_size=3)), min_size=1, max_size=5))
def test_ranges_and_order(pairs):
    candidates, references = [c for c, _ in pairs], [r for _, r in pairs]
    shuffled = candidates[::-1], [captions[::-1] for captions in references[::-1]]
    scores = bleu(candidates, references)
    assert all(0 <= score <= 1 + 1e-12 for score in scores)
    assert scores == pytest.approx(bleu(*shuffled))
    for measure, top in ((rouge_l, 1), (cider_d, 10)):
        values = measure(candidates, references)
        assert ((values >= 0) & (values <= top + 1e-9)).all()
        np.testing.assert_allclose(values[::-1], measure(*shuffled))
