"""Sentences that claim nothing but their tags, for pictures of which no better sentence can be believed."""

from __future__ import annotations

from collections.abc import Sequence

from anytag.language.parsing.lemmas import noun_lemma
from anytag.model.vocabulary import VocabularyTag

#: Last words of names of what is not counted, so that no article stands before them.
_UNCOUNTED = frozenset({
    "alcohol", "art", "asparagus", "bedding", "bread", "broccoli", "clothing", "corn", "debris", "dirt", "equipment",
    "eyewear", "fire", "food", "footwear", "fruit", "furniture", "garlic", "gas", "gear", "ginger", "grass",
    "gymnastics", "hair", "jewelry", "lingerie", "luggage", "meat", "milk", "money", "mud", "news", "people", "produce",
    "rice", "sand", "smoke", "snow", "soccer", "tennis", "traffic", "underwear", "water", "wildlife",
})  # fmt: skip

#: Last words that stand for one thing in the plural, or for many.
_PLURAL = frozenset({
    "bangs", "chopsticks", "clothes", "dreadlocks", "glasses", "goggles", "goods", "headphones", "jeans", "khakis",
    "leggings", "menus", "overalls", "pajamas", "pants", "shorts", "sunglasses", "sweatpants", "sweats", "tights",
    "tongs", "trunks", "tutus",
})  # fmt: skip

#: There is only one in a picture.
_ONE = frozenset({"ground", "moon", "ocean", "sea", "sky", "sun"})

#: Beginnings that are spoken with a consonant, and without one.
_CONSONANTS, _VOWELS = ("eu", "one", "uku", "uni", "uri", "usb", "ute"), ("a", "e", "heir", "hour", "i", "o", "u")

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
    several = last.endswith("s") and (noun_lemma(last) != last or last.endswith(("ers", "ors", "ars")))
    if several or last in _UNCOUNTED or last in _PLURAL:
        return words
    if words in _ONE:
        return f"the {words}"
    spoken_vowel = words.startswith(_VOWELS) and not words.startswith(_CONSONANTS)
    return f"{'an' if spoken_vowel else 'a'} {words}"
