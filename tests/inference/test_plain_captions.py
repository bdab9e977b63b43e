"""Sentences that claim nothing but their tags."""

import pytest

from anytag.inference.plain_captions import plain_caption
from anytag.model.vocabulary import VocabularyTag
from anytag.recognition import TagKind


def tags(*names: str, kind: TagKind = "object") -> list[VocabularyTag]:
    return [VocabularyTag(place, name, kind) for place, name in enumerate(names)]


@pytest.mark.parametrize(
    ("names", "caption"),
    [
        (["bee", "flower", "leaf"], "a photo of a bee and a flower"),
        (["ant"], "a photo of an ant"),
        (["scissors"], "a photo of scissors"),
        (["wild flowers"], "a photo of wild flowers"),
        (["binoculars"], "a photo of binoculars"),
        (["bus"], "a photo of a bus"),
        (["glass"], "a photo of a glass"),
        (["dog food", "bowl"], "a photo of dog food and a bowl"),
        (["pitcher (jug)"], "a photo of a pitcher"),
        (["cargo pants", "person"], "a photo of cargo pants and a person"),
        (["table tennis", "hair"], "a photo of table tennis and hair"),
        (["sky", "ground"], "a photo of the sky and the ground"),
        (["uniform", "umbrella"], "a photo of a uniform and an umbrella"),
        (["hourglass", "horse"], "a photo of an hourglass and a horse"),
    ],
)
def test_articles(names: list[str], caption: str) -> None:
    assert plain_caption(tags(*names)) == caption


def test_scenes_are_named_only_without_objects() -> None:
    scene = tags("kitchen", "room", kind="scene")
    assert plain_caption(scene) == "a photo of a kitchen"
    assert plain_caption([*scene, *tags("stove")]) == "a photo of a stove"


def test_attributes_and_actions_are_left_out() -> None:
    assert plain_caption(tags("red", kind="attribute") + tags("run", kind="action")) == "a photo"
