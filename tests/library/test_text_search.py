"""Search by sentences, from the files to the results."""

from __future__ import annotations

import pytest
from fixtures_toy import toy_recognizer, with_joint_embedding
from PIL import Image

import anytag
from anytag.errors import ModelError, UsageError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in {"red": (255, 0, 0), "green": (0, 255, 0), "cyan": (0, 255, 255)}.items():
        Image.new("RGB", (16, 16), color).save(folder / f"{name}.png")
    return folder


def names(found):
    return [hit.path.rpartition("/")[2] for hit in found.hits]


def test_a_sentence_finds_pictures_with_reasons(photos, tmp_path):
    recognizer = with_joint_embedding(toy_recognizer(tmp_path / "model"))
    recognizer.recognize_blank = True
    library = anytag.Library(photos, recognizer)
    library.update()
    # The toy model's texts are green, and its beaches have half the green of a picture as their score.
    found = library.search(text="a beach")
    assert names(found) == ["green.png", "cyan.png", "red.png"]
    assert [hit.score for hit in found.hits] == pytest.approx([1 + 0.25, 0.5**0.5 + 0.25, 0], abs=1e-6)
    assert [(reason.name, reason.where) for reason in found.hits[0].reasons] == [
        ("beach", "scene"),
        ("a beach", "text"),
    ]
    assert names(library.search("-beach", text="a beach")) == ["red.png"]
    with pytest.raises(UsageError, match="text and like exclude each other: hits are ordered by one of them"):
        library.search(text="a beach", like=photos / "red.png")
    with pytest.raises(UsageError, match="search needs a query, a text, or a picture that hits look like"):
        library.search()


def test_an_index_of_before_is_filled_by_the_next_update(photos, tmp_path):
    recognizer = toy_recognizer(tmp_path / "model")
    recognizer.recognize_blank = True
    anytag.Library(photos, recognizer).update()
    with pytest.raises(ModelError, match="cannot find pictures by a sentence, because it has no joint embedding"):
        anytag.Library(photos, recognizer).search(text="a beach")
    newer = with_joint_embedding(recognizer)
    newer.recognize_blank = True
    with pytest.raises(UsageError, match="has no embeddings that can be compared with a sentence of this model; run"):
        anytag.Library(photos, newer).search(text="a beach")
    assert anytag.Library(photos, newer).update().recognized == 3
    assert names(anytag.Library(photos, newer).search(text="a beach", limit=1)) == ["green.png"]
