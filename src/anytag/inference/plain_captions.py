"""Sentences that claim nothing but their tags, for pictures of which no better sentence can be believed."""

from __future__ import annotations

from collections.abc import Sequence

from anytag.language.parsing.lemmas import noun_lemma
from anytag.model.vocabulary import VocabularyTag

#: Names of what is not counted, so that no article stands before them.
_UNCOUNTED = frozenset({
    "bread", "broccoli", "clothing", "corn", "equipment", "fire", "food", "footwear", "fruit", "furniture", "garlic",
    "ginger", "grass", "jewelry", "luggage", "meat", "milk", "money", "people", "produce", "rice", "sand", "snow",
    "water",
})  # fmt: skip

#: Things that one sentence names at the most.
_MOST = 2


def plain_caption(tags: Sequence[VocabularyTag]) -> str:
    """A sentence that names the first things among some tags: "a photo of a bee and a flower".

    Args:
        tags: Tags that are true of the picture, best first. Attributes and actions are passed over; if only scenes are
            left, the first is named.
    """
    things = [tag for tag in tags if tag.kind == "object"][:_MOST] or [tag for tag in tags if tag.kind == "scene"][:1]
    if not things:
        return "a photo"
    return f"a photo of {' and '.join(_with_article(tag.name) for tag in things)}"


def _with_article(name: str) -> str:
    """A name as it stands in a sentence; what stands in brackets behind it only tells two senses apart."""
    words = name.partition(" (")[0]
    last = words.split()[-1]
    if last in _UNCOUNTED or (
        last.endswith("s") and (noun_lemma(last) != last or last.endswith(("ers", "ors", "ars")))
    ):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
