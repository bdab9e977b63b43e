"""Wrong arguments of the public API: refused at once, by name, before any picture is read."""

from __future__ import annotations

import io
import math

import pytest
from fixtures_toy import plain, toy_recognizer

import anytag
from anytag.errors import PictureError, UsageError

NO_NUMBERS = ["0.5", b"1", [1], {"a": 1}, True, object(), math.nan]
NO_COUNTS = ["2", 2.5, 0, -1, True, [2], math.nan]
NO_TEXTS = [5, 2.5, True, "object", b"dog", {"a": 1}, [1, 2], ["dog", None], object()]
NO_TEXT = [5, None, b"dog", ["dog"], "", "  "]
NO_SEEDS = ["1", 2.5, -1, True]
NO_CHOICES = [5, "cubic", b"nearest", []]
NO_PICTURES = [None, 5, 2.5, True, object(), {"a.jpg": 1}]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return toy_recognizer(tmp_path_factory.mktemp("arguments") / "toy")


@pytest.fixture
def forbidden():
    def drawn():
        raise AssertionError("a picture was drawn")
        yield

    return drawn()


def refused(name, call):
    with pytest.raises(UsageError) as caught:
        call()
    assert name in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [("categories", NO_TEXTS), ("kinds", NO_TEXTS), ("threshold", [*NO_NUMBERS, 1.5, -0.1]), ("top", NO_COUNTS)],
)
def test_of_tag(recognizer, forbidden, name, values):
    look = recognizer.look(plain("red"))
    for value in values:
        refused(name.removesuffix("s"), lambda given={name: value}: recognizer.tag(forbidden, **given))
        refused(name.removesuffix("s"), lambda given={name: value}: look.tags(**given))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tags", NO_TEXTS),
        ("kinds", NO_TEXTS),
        ("threshold", NO_NUMBERS),
        ("top", NO_COUNTS),
        ("num_beams", NO_COUNTS),
        ("sample", [None, 1, "yes"]),
        ("seed", NO_SEEDS),
    ],
)
def test_of_caption(recognizer, forbidden, name, values):
    look = recognizer.look(plain("red"))
    for value in values:
        refused(name.removesuffix("s"), lambda given={name: value}: recognizer.caption(forbidden, **given))
        refused(name.removesuffix("s"), lambda given={name: value}: look.caption(**given))


def test_of_match_locate_and_score(recognizer, forbidden):
    look = recognizer.look(plain("red"))
    for value in [*NO_TEXTS, None, [], ["a", " "]]:
        refused("texts", lambda value=value: recognizer.match(forbidden, value))
    for value in [5, None, b"dog", [], ["a", 5], "", " "]:
        refused("texts", lambda value=value: look.match(value))
    for value in NO_TEXT:
        refused("tag", lambda value=value: recognizer.locate("missing.jpg", value))
        refused("tag", lambda value=value: look.locate(value))
        refused("tag", lambda value=value: look.score(value))
    for value in NO_CHOICES:
        refused("resize", lambda value=value: look.locate("dog", resize=value))


def test_pictures_that_are_none(recognizer):
    for value in NO_PICTURES:
        refused("pictures", lambda value=value: recognizer.tag(value))
        refused("pictures", lambda value=value: recognizer.caption(value))
        refused("pictures", lambda value=value: recognizer.match(value, ["a dog"]))
        refused("picture", lambda value=value: recognizer.look(value))
        refused("picture", lambda value=value: recognizer.locate(value, "dog"))
    refused("pictures: number 2", lambda: recognizer.tag([plain("red"), None]))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("model", [5, True, b"lite", ["lite"]]),
        ("backend", ["tpu", 5, ["onnx"], b"onnx"]),
        ("device", [None, 5, b"cpu"]),
        ("precision", [None, 16, "float16", ["float32"]]),
        ("threads", NO_COUNTS),
        ("batch_size", [None, *NO_COUNTS]),
        ("tags", [5, "dog", ["dog"], {"allow": ["dog"]}]),
        ("descriptions", [5, b"x", ["x"]]),
        ("accept_truncated", [None, 1, "yes"]),
        ("recognize_blank", [None, 1, "yes"]),
    ],
)
def test_of_load(name, values):
    for value in values:
        refused(name, lambda given={name: value}: anytag.load(**given))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("allow", [5, True, b"dog", [1], {"dog": "cat"}, ["dog", None]]),
        ("deny", [5, True, b"dog", [1], {"dog": "cat"}, ["dog", None]]),
        ("rename", [5, ["dog"], {"dog": 5}, {5: "dog"}]),
        ("language", [5, b"zh", ["zh"]]),
    ],
)
def test_of_a_choice_of_tags(name, values):
    for value in values:
        refused(name, lambda given={name: value}: anytag.TagChoice(**given))


def test_of_finding_pictures(tmp_path):
    for value in [None, 5, True, b"x", [5], [b"x"], ["a.jpg", None], {"a.jpg": 1}, object()]:
        refused("inputs", lambda value=value: anytag.find_pictures(value))
    for name, values in (("exclude", [5, "x", [5], b"x"]), ("recursive", [1, None]), ("follow_links", ["yes"])):
        for value in values:
            refused(name, lambda given={name: value}: anytag.find_pictures(tmp_path, **given))


def test_a_folder_s_error_names_find_pictures(recognizer, tmp_path):
    plain("red").save(tmp_path / "red.png")
    with pytest.raises(PictureError) as caught:
        recognizer.tag(tmp_path)
    advice = "a folder, not a picture. Give the pictures in it: anytag.find_pictures finds them."
    assert str(caught.value) == f"{tmp_path}: {advice}"
    assert [one.path for one in recognizer.tag(anytag.find_pictures(tmp_path))] == [str(tmp_path / "red.png")]


def test_a_stream_at_its_end_is_read_from_its_start(recognizer):
    stream = io.BytesIO()
    plain("red").save(stream, "PNG")
    assert stream.tell()
    assert recognizer.tag(stream).tags == recognizer.tag(plain("red")).tags
    assert recognizer.tag(stream).tags  # Having been read, it stands at its end again.
    with pytest.raises(PictureError, match="the file is empty"):
        recognizer.tag(io.BytesIO())
