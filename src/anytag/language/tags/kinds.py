"""Guess the kinds of tags in lists that have only names."""

from __future__ import annotations

from collections.abc import Sequence

from anytag.errors import VocabularyError
from anytag.language.parsing.lexicon import COLORS
from anytag.language.parsing.parser import CaptionParser, load_parser
from anytag.language.tags.knowledge import load_knowledge
from anytag.model.names import normalize_name
from anytag.recognition import TagKind

#: Kinds of a name's further entries, by the kind of the first.
_NEXT: dict[TagKind, tuple[TagKind, ...]] = {
    "object": ("action", "attribute", "scene"),
    "scene": ("action", "attribute", "object"),
    "attribute": ("object", "action", "scene"),
    "action": ("object", "attribute", "scene"),
}


def guess_kinds(names: Sequence[str]) -> list[TagKind]:
    """Guess a kind for each name; a name that is listed twice gets two kinds, since name and kind must be unique.

    Scenes and colors are looked up. Other names are parsed as captions, and are objects if the parser is not sure.
    Good enough to filter tags, and to tell senses apart.

    Raises:
        VocabularyError: If a name is listed more often than there are kinds.
    """
    parser, scenes = load_parser("light"), load_knowledge().scenes
    used_kinds: dict[str, list[TagKind]] = {}
    kinds: list[TagKind] = []
    for index, name in enumerate(names):
        key = normalize_name(name)
        first = _guess(key, scenes, parser)
        used = used_kinds.setdefault(key, [])
        left = [kind for kind in (first, *_NEXT[first]) if kind not in used]
        if not left:
            raise VocabularyError(f"entry {index + 1}: {name!r} is listed {len(used) + 1} times")
        used.append(left[0])
        kinds.append(left[0])
    return kinds


def _guess(name: str, scenes: frozenset[str], parser: CaptionParser) -> TagKind:
    if name in scenes:
        return "scene"
    if name in COLORS:
        return "attribute"
    parsed = parser.parse(name)
    return parsed[0].kind if len(parsed) == 1 else "object"
