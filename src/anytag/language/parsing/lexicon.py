"""The caption parser's words: closed classes from ``data/words.toml``, open classes from ``data/lexicon.json.gz``."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from typing import Any

from anytag.language.data_files import data_lines, read_data

_TABLES: dict[str, Any] = tomllib.loads(read_data("words.toml"))


def _words(name: str) -> frozenset[str]:
    return frozenset(_TABLES[name].split())


def _phrases(name: str) -> frozenset[str]:
    return frozenset(" ".join(phrase.split()) for phrase in _TABLES[name].split(","))


def _by_form(name: str, separator: str | None = None) -> dict[str, str]:
    return {form: base for base, forms in _TABLES[name].items() for form in forms.split(separator)}


# ``words.toml`` says what each list is.
COLORS = _words("colors")
SHADES = _words("shades")
MATERIALS = _words("materials")
ADJECTIVES = _words("adjectives")
FUNCTION_ADJECTIVES = _words("function_adjectives")
COVERED = _words("covered")
NOUNS = _words("nouns")
ING_NOUNS = _words("ing_nouns")
FUNCTION_NOUNS = _words("function_nouns")
ABSTRACT_NOUNS = _words("abstract_nouns")
PICTURE_NOUNS = _words("picture_nouns")
QUANTITY_NOUNS = _words("quantity_nouns")
BEINGS = _words("beings")
PLURAL_NAMES = _words("plural_names")
PRONOUNS = _words("pronouns")
COMMON_CAPITALS = _words("common_capitals")
PLACE_ADVERBS = _words("place_adverbs")
LIGHT_VERBS = _words("light_verbs")
LINKING_VERBS = _words("linking_verbs")
CATENATIVE_VERBS = _words("catenative_verbs")
SHOWING_VERBS = _words("showing_verbs")
IDIOMS = _phrases("idioms")
PHRASAL_VERBS = _phrases("phrasal_verbs")
NAMED_KINDS = _phrases("named_kinds")
MATERIAL_NAMES = _phrases("material_names")
SAME_NAME = _by_form("same_name", ", ")
VERB_FORMS = _by_form("verb_forms")
NOUN_FORMS = _by_form("noun_forms")
ADJECTIVE_FORMS = _by_form("adjective_forms")
COMPOUND_HEADS = {verb: frozenset(beings.split()) for verb, beings in _TABLES["compound_heads"].items()}


@cache
def load_lexicon() -> dict[str, Any]:
    """Load the open-class lexicon, with word lists as sets."""
    record: dict[str, Any] = json.loads(read_data("lexicon.json.gz"))
    for key in ("nouns", "verbs", "adjs", "proper", "protected"):
        record[key] = frozenset(record.get(key, "").split())
    record["compounds"] = frozenset(record["compounds"])
    return record


@cache
def scene_names() -> frozenset[str]:
    """Load the common names of places and occasions in ``data/scenes.txt``."""
    return frozenset(data_lines("scenes.txt"))
