"""A picture looked at once and asked many times: the same answers as everywhere, and one encoding."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROOT
from fixtures_toy import plain, toy_recognizer

import anytag
from anytag.errors import PictureError, UsageError


@pytest.fixture
def recognizer(tmp_path):
    return toy_recognizer(tmp_path / "toy")


def test_all_questions_are_answered_from_one_encoding(recognizer, tmp_path):
    path = tmp_path / "red.png"
    plain("red", (6, 4)).save(path)
    look = recognizer.look(path)
    path.unlink()  # Whatever is asked, the file is not read again.
    assert (look.path, look.width, look.height) == (str(path), 6, 4)
    assert [tag.name for tag in look.tags()] == ["red", "animal", "dog"]
    assert [tag.name for tag in look.tags(kinds=["object"], top=1)] == ["animal"]
    assert look.caption().caption == "a picture of red dog"
    assert look.caption(["beach"]).covered == ("beach",)
    assert look.match("a kart").text == "a kart"
    assert [match.text for match in look.match(["a kart", "a dog"])] == ["a kart", "a dog"]
    assert look.locate("dog").shape == (2, 2)
    assert look.locate("dog", resize="nearest").shape == (4, 6)
    assert recognizer.backend.encoded == 1


def test_answers_are_those_of_the_recognizer(recognizer):
    picture = plain("orange")
    look = recognizer.look(picture)
    assert look.tags(threshold=0) == recognizer.tag(picture, threshold=0).tags
    assert look.tags(categories=["kart", "dog"]) == recognizer.tag(picture, categories=["kart", "dog"]).tags
    assert look.caption(["dog"], num_beams=1) == recognizer.caption(picture, tags=["dog"], num_beams=1)
    assert look.match(["a dog"]) == recognizer.match(picture, ["a dog"]).matches
    np.testing.assert_array_equal(look.locate("dog"), recognizer.locate(picture, "dog"))


def test_a_score_comes_with_the_threshold_that_the_tag_would_need(recognizer):
    look = recognizer.look(plain("red"))
    # Dog .6 of red, threshold .5; beach none of red, threshold .25; one unknown word, the open threshold.
    dog, beach, kart = (look.score(name) for name in ("hound", "beach", "kart"))
    assert (dog.name, dog.taken_for, dog.threshold, dog.id) == ("hound", "dog", 0.5, 1)
    assert dog.score == pytest.approx(0.6, abs=1e-6)
    assert (beach.threshold, kart.threshold, kart.id) == (0.25, 0.2, None)
    assert (beach.score, kart.score) == pytest.approx((0, 0), abs=1e-5)


def test_looks_do_not_disturb_each_other(recognizer):
    red, green = recognizer.look(plain("red")), recognizer.look(plain("lime"))
    assert [tag.name for tag in red.tags()] == ["red", "animal", "dog"]
    assert [tag.name for tag in green.tags()] == ["beach"]


def test_bad_pictures(recognizer):
    with pytest.raises(PictureError, match="the file is empty"):
        recognizer.look(b"")
    with pytest.raises(UsageError, match=r"^picture is of the type list; give a path, bytes, an open binary file, a "):
        recognizer.look([plain("red")])


def test_the_shipped_model_gives_the_same_results():
    shipped, picture = anytag.load(threads=1), ROOT / "examples" / "cat.jpg"
    look = shipped.look(picture)
    assert isinstance(look, anytag.Look)
    assert look.tags() == shipped.tag(picture).tags
    assert look.score("cat").score > look.score("dog").score
