"""Captions that only list tags, for pictures where a generated caption is too uncertain."""

from __future__ import annotations

from collections.abc import Sequence

from anytag.language.parsing.lemmas import noun_lemma
from anytag.model.vocabulary import VocabularyTag

#: Last words of uncountable names, which take no article.
_UNCOUNTED = frozenset({
    "alcohol", "art", "asparagus", "bedding", "bread", "broccoli", "clothing", "corn", "debris", "dirt", "equipment",
    "eyewear", "fire", "food", "footwear", "fruit", "furniture", "garlic", "gas", "gear", "ginger", "grass",
    "gymnastics", "hair", "jewelry", "lingerie", "luggage", "meat", "milk", "money", "mud", "news", "people", "produce",
    "rice", "sand", "smoke", "snow", "soccer", "tennis", "traffic", "underwear", "water", "wildlife",
})  # fmt: skip

#: Last words that are always plural, or already are.
_PLURAL = frozenset({
    "bangs", "chopsticks", "clothes", "dreadlocks", "glasses", "goggles", "goods", "headphones", "jeans", "khakis",
    "leggings", "menus", "overalls", "pajamas", "pants", "shorts", "sunglasses", "sweatpants", "sweats", "tights",
    "tongs", "trunks", "tutus",
})  # fmt: skip

#: Unique things, which take the definite article.
_ONE = frozenset({"ground", "moon", "ocean", "sea", "sky", "sun"})

#: Prefixes pronounced with an initial consonant, and with a vowel.
_CONSONANTS, _VOWELS = ("eu", "one", "uku", "uni", "uri", "usb", "ute"), ("a", "e", "heir", "hour", "i", "o", "u")

#: Most objects in a caption.
_MOST_OBJECTS = 2


def plain_caption(tags: Sequence[VocabularyTag]) -> str:
    """Write a caption that lists the best objects or else the best scene: "a photo of a bee and a flower".

    Args:
        tags: Tags of the picture, best first; attributes and actions are ignored.
    """
    things = [tag for tag in tags if tag.kind == "object"][:_MOST_OBJECTS] or [
        tag for tag in tags if tag.kind == "scene"
    ][:1]
    if not things:
        return "a photo"
    return f"a photo of {' and '.join(_with_article(tag.name) for tag in things)}"


def _with_article(name: str) -> str:
    """A name with its article; a sense in parentheses is dropped."""
    words = name.partition(" (")[0]
    last = words.split()[-1]
    several = last.endswith("s") and (noun_lemma(last) != last or last.endswith(("ers", "ors", "ars")))
    if several or last in _UNCOUNTED or last in _PLURAL:
        return words
    if words in _ONE:
        return f"the {words}"
    spoken_vowel = words.startswith(_VOWELS) and not words.startswith(_CONSONANTS)
    return f"{'an' if spoken_vowel else 'a'} {words}"
