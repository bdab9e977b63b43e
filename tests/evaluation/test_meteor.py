"""METEOR by NLTK: hand-worked numbers, a WordNet of a few words, and what is said where something is missing."""

from __future__ import annotations

import sys

import pytest
from conftest import require_module

from anytag.errors import MissingExtraError
from anytag.evaluation import meteor
from anytag.evaluation.captioning import score_captions
from anytag.evaluation.meteor import Meteor, WordNetMissingError, find_wordnet

PARTS = ("noun", "verb", "adj", "adv")

#: One meaning, in WordNet's own form. Both words are their own stems: NLTK looks stems up.
SYNSET = "00000000 06 n 02 car 0 auto 0 000 | a motor vehicle with four wheels  \n"


@pytest.fixture
def wordnet(tmp_path):
    """Database files as wndb(5WN) has them, with one synset."""
    for part in PARTS:
        for kind in ("index", "data"):
            (tmp_path / f"{kind}.{part}").touch()
        (tmp_path / f"{part}.exc").write_text("carz car\n" if part == "noun" else "")
    (tmp_path / "data.noun").write_text(SYNSET)
    (tmp_path / "index.noun").write_text("".join(f"{word} n 1 0 1 0 00000000  \n" for word in ("auto", "car")))
    return tmp_path


@pytest.fixture
def score(wordnet):
    require_module("nltk")
    return lambda candidate, *references: Meteor(wordnet)([candidate], [references])


def test_by_hand(score):
    """Banerjee and Lavie 2005: F = 10PR / (R + 9P), less half the cube of chunks over matches."""
    # All six words in one chunk.
    assert score("the cat sat on the mat", "the cat sat on the mat") == pytest.approx(1 - 0.5 / 6**3)
    # Six of seven words match, in two chunks.
    precision, recall = 6 / 7, 1.0
    mean = 10 * precision * recall / (recall + 9 * precision)
    assert score("the cat was sat on the mat", "the cat sat on the mat") == pytest.approx(
        mean * (1 - 0.5 * (2 / 6) ** 3)
    )
    assert score("a dog", "two boats") == 0
    # Equal stems match.
    assert score("dogs running", "dog runs") == pytest.approx(1 - 0.5 / 2**3)


def test_synonyms_match(score):
    assert score("a red auto", "a red car") == pytest.approx(1 - 0.5 / 3**3)
    assert score("two carz", "two auto") == pytest.approx(1 - 0.5 / 2**3)  # An irregular plural of this WordNet.
    assert score("two vans", "two auto") == pytest.approx(1 / 2 * (1 - 0.5))
    assert score("a red boat", "a red car") == pytest.approx(2 / 3 * (1 - 0.5 / 2**3))


def test_the_best_reference_counts_and_pictures_are_averaged(wordnet):
    require_module("nltk")
    found = Meteor(wordnet)(["two boats", "a dog"], [["a cat", "two boats"], ["nothing alike"]])
    assert found == pytest.approx((1 - 0.5 / 2**3) / 2)
    scores = score_captions(["Two boats."], [["two boats"]], Meteor(wordnet))
    assert scores.meteor == pytest.approx(1 - 0.5 / 2**3)
    assert score_captions(["Two boats."], [["two boats"]]).meteor is None


def test_where_wordnet_is(wordnet, tmp_path, monkeypatch):
    require_module("nltk")
    monkeypatch.setattr(meteor, "_FOLDERS", ())
    for name in ("WNSEARCHDIR", "WNHOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "none"))
    with pytest.raises(WordNetMissingError, match="there is no WordNet, which METEOR needs; install Debian's package"):
        find_wordnet()
    with pytest.raises(WordNetMissingError, match=r"gone: no WordNet \(index\.noun"):
        Meteor(tmp_path / "gone")
    monkeypatch.setenv("WNSEARCHDIR", str(wordnet))
    assert find_wordnet() == wordnet


def test_without_nltk(wordnet, monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk.translate.meteor_score", None)
    with pytest.raises(MissingExtraError, match=r"METEOR needs an optional dependency\. .*anytag\[meteor\]"):
        Meteor(wordnet)
