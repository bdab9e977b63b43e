"""Base forms of English words: irregular tables first, then suffix rules checked against a lexicon."""

from __future__ import annotations

import gzip
import json
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from anytag.language.parsing.lexicon import PLURAL_NAMES

_VOWELS = frozenset("aeiou")
# Forms whose regular reading is wrong or whose other reading is the usual one in captions.
_VERB_FORMS = {
    "riding": "ride", "rode": "ride", "ridden": "ride", "lying": "lie", "lies": "lie", "lay": "lie",
    "laying": "lie", "lays": "lie", "laid": "lie", "lain": "lie", "dying": "die", "tying": "tie", "skiing": "ski",
    "skis": "ski", "skied": "ski", "wearing": "wear", "worn": "wear", "saw": "see", "left": "leave",
    "ground": "grind", "found": "find", "fell": "fall", "felt": "feel", "lit": "light", "bathing": "bathe",
    "bathed": "bathe", "staring": "stare", "stared": "stare", "does": "do", "goes": "go", "is": "be", "are": "be",
    "was": "be", "were": "be", "been": "be", "being": "be", "am": "be", "'s": "be", "'re": "be", "'m": "be",
    "has": "have", "had": "have", "having": "have", "'ve": "have", "wound": "wind", "shown": "show",
    "dove": "dive", "dived": "dive", "clad": "clothe", "biking": "bike", "seated": "seat", "sat": "sit",
    "bound": "bind", "hung": "hang", "putting": "put", "puts": "put", "pasting": "paste", "using": "use",
    "used": "use", "snowboarding": "snowboard", "wakeboarding": "wakeboard", "skateboarding": "skateboard",
    "kiteboarding": "kiteboard", "parasailing": "parasail", "facing": "face", "faced": "face", "laughs": "laugh",
    "barbecuing": "barbecue", "barbequing": "barbecue", "canoeing": "canoe", "eyeing": "eye",
    "mountain-biking": "mountain bike",
}  # fmt: skip
_NOUN_FORMS = {
    "people": "person", "passersby": "passerby", "men": "man", "women": "woman", "children": "child",
    "feet": "foot", "teeth": "tooth", "geese": "goose", "mice": "mouse", "leaves": "leaf", "shelves": "shelf",
    "knives": "knife", "wolves": "wolf", "loaves": "loaf", "calves": "calf", "halves": "half", "scarves": "scarf",
    "scarfs": "scarf", "hooves": "hoof", "hoofs": "hoof", "wives": "wife", "lives": "life", "elves": "elf",
    "skis": "ski", "buses": "bus", "busses": "bus", "taxis": "taxi", "shoes": "shoe", "canoes": "canoe",
    "toes": "toe", "horseshoes": "horseshoe", "tiptoes": "tiptoe", "oxen": "ox", "clothing": "clothing",
    "movies": "movie", "cookies": "cookie", "pies": "pie", "ties": "tie", "zombies": "zombie",
    "hoodies": "hoodie", "brownies": "brownie", "smoothies": "smoothie", "selfies": "selfie",
    "calories": "calorie", "axes": "axe", "waves": "wave", "gloves": "glove", "sleeves": "sleeve",
    "olives": "olive", "caves": "cave", "doves": "dove", "stoves": "stove", "groves": "grove", "eaves": "eaves",
    "slaves": "slave", "dice": "dice", "lens": "lens", "lenses": "lens", "glasses": "glasses",
    "bookshelves": "bookshelf", "firemen": "fireman", "policemen": "policeman", "quizzes": "quiz",
    "cacti": "cactus", "women's": "woman", "men's": "man", "caches": "cache", "mustaches": "mustache",
    "moustaches": "mustache", "headaches": "headache", "aches": "ache", "horses": "horse", "houses": "house",
    "vases": "vase", "noses": "nose", "roses": "rose", "purses": "purse", "nurses": "nurse", "cases": "case",
    "bases": "base", "hoses": "hose", "cheeses": "cheese", "blouses": "blouse", "sizes": "size",
    "prizes": "prize", "breezes": "breeze", "mazes": "maze", "species": "species", "data": "data",
    "media": "media",
}  # fmt: skip
_ADJECTIVE_FORMS = {
    "older": "old", "elder": "elderly", "eldest": "elderly", "oldest": "old", "younger": "young",
    "youngest": "young", "smaller": "small", "smallest": "small", "larger": "large", "largest": "large",
    "bigger": "big", "biggest": "big", "taller": "tall", "tallest": "tall", "blonde": "blond", "grey": "gray",
    "darker": "dark", "lighter": "light", "higher": "high", "better": "good", "best": "good", "worse": "bad",
    "shorter": "short", "longer": "long", "closer": "close", "thinner": "thin",
}  # fmt: skip


@cache
def load_lexicon() -> dict[str, Any]:
    """The open-class lexicon shipped with the package, word strings made into sets."""
    data = files("anytag.language").joinpath("data/lexicon.json.gz").read_bytes()
    record: dict[str, Any] = json.loads(gzip.decompress(data))
    for key in ("nouns", "verbs", "adjs", "proper", "protected"):
        record[key] = frozenset(record.get(key, "").split())
    record["compounds"] = frozenset(record["compounds"])
    return record


@lru_cache(maxsize=65536)
def noun_lemma(word: str) -> str:
    """Singular of a lower-case noun ("women" -> "woman"); names that are plural stay ("jeans")."""
    lexicon = load_lexicon()
    if word in _NOUN_FORMS:
        return _NOUN_FORMS[word]
    if word in PLURAL_NAMES or len(word) < 3:
        return word
    if word in lexicon["noun_irregular"]:
        return str(lexicon["noun_irregular"][word])
    if word.endswith("men") and len(word) > 5:
        return word[:-2] + "an"
    if word.endswith("'s"):
        word = word[:-2]
    nouns = lexicon["nouns"]
    if not word.endswith("s") or word.endswith(("ss", "us")) or (word.endswith("is") and word in nouns):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-1] if word[:-1] in nouns and word[:-3] + "y" not in nouns else word[:-3] + "y"
    if word.endswith("ves") and word[:-1] not in nouns:
        for candidate in (word[:-3] + "f", word[:-3] + "fe"):
            if candidate in nouns:
                return candidate
    if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        if word[:-1] in nouns and not word.endswith(("sses", "shes", "xes")):
            return word[:-1]
        return word[:-2] if not word.endswith("oes") or word[:-2] in nouns else word[:-1]
    return word[:-1]


@lru_cache(maxsize=65536)
def verb_lemma(word: str) -> str:
    """Base form of a lower-case verb ("riding" -> "ride", "stopped" -> "stop")."""
    lexicon = load_lexicon()
    if word in _VERB_FORMS:
        return _VERB_FORMS[word]
    verbs = lexicon["verbs"]
    if word in lexicon["verb_irregular"]:
        return str(lexicon["verb_irregular"][word])
    if word.endswith("ing") and len(word) > 4:
        return _strip(word[:-3], verbs) or word
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("ed") and len(word) > 3 and word not in verbs:
        return _strip(word[:-2], verbs) or word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "zes", "ches", "shes", "oes")):
        return word[:-1] if word[:-1] in verbs and word[:-2] not in verbs else word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us")) and len(word) > 3:
        return word[:-1]
    return word


def _strip(stem: str, verbs: frozenset[str]) -> str | None:
    """Base form of a stem that lost "-ing" or "-ed"; ``None`` if no vowel is left in it."""
    if not any(c in _VOWELS or c == "y" for c in stem):
        return None
    candidates = [stem, stem + "e"]
    if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
        candidates.insert(0 if stem[-1] not in "lsfz" else 1, stem[:-1])
    elif _one_short_syllable(stem):
        # "rid" of "riding": a verb "rid" would double its last letter, so "ride" comes first.
        candidates.reverse()
    for candidate in candidates:
        if candidate in verbs:
            return candidate
    for candidate in candidates:
        # "rollerskate": a verb that ends in one we know.
        if any(candidate[place:] in verbs for place in range(2, len(candidate) - 3)):
            return candidate
    if _one_short_syllable(stem) or stem.endswith(
        ("v", "c", "dg", "rg", "uat", "iz", "bl", "dl", "tl", "pl", "gl", "kl")
    ):
        return stem + "e"
    return candidates[0] if len(candidates) == 3 and stem[-1] not in "lsfz" else stem


def _one_short_syllable(stem: str) -> bool:
    body = stem[2:] if stem.startswith("qu") else stem
    vowels = [place for place, c in enumerate(body) if c in _VOWELS]
    return len(vowels) == 1 and vowels[0] == len(body) - 2 and body[-1] not in "wxy"


@lru_cache(maxsize=65536)
def adjective_lemma(word: str) -> str:
    """Positive form of a lower-case adjective ("older" -> "old"); other words as they are."""
    if word in _ADJECTIVE_FORMS:
        return _ADJECTIVE_FORMS[word]
    adjectives = load_lexicon()["adjs"]
    if word in adjectives:
        return word
    for ending in ("er", "est"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word[: -len(ending)]
            for base in (
                stem,
                stem + "e",
                stem[:-1] if stem[-1] == stem[-2] else "",
                stem[:-1] + "y" if stem[-1] == "i" else "",
            ):
                if base in adjectives:
                    return base
    return word
