"""Kinds for tag lists that come without: what does a bare name most likely name?"""

from __future__ import annotations

from collections.abc import Sequence

from anytag.errors import VocabularyError
from anytag.language.parsing.lexicon import COLORS
from anytag.language.parsing.parser import CaptionParser, load_parser
from anytag.language.tags.knowledge import load_knowledge
from anytag.model.names import normalize_name
from anytag.recognition import TagKind

#: Which senses a name's further entries are, by the kind of its first.
_NEXT: dict[TagKind, tuple[TagKind, ...]] = {
    "object": ("action", "attribute", "scene"),
    "scene": ("action", "attribute", "object"),
    "attribute": ("object", "action", "scene"),
    "action": ("object", "attribute", "scene"),
}


def guess_kinds(names: Sequence[str]) -> list[TagKind]:
    """A kind per name; names that stand twice get two kinds, since one name and kind make one tag.

    Scenes and colors are looked up; for the rest the caption parser judges the name as a caption of its own, and
    what it makes nothing of is an object. A guess, good for filtering and for telling senses apart.

    Raises:
        VocabularyError: If a name stands more often than there are kinds.
    """
    parser, scenes = load_parser("light"), load_knowledge().scenes
    taken: dict[str, list[TagKind]] = {}
    kinds: list[TagKind] = []
    for place, name in enumerate(names):
        key = normalize_name(name)
        first = _guess(key, scenes, parser)
        used = taken.setdefault(key, [])
        left = [kind for kind in (first, *_NEXT[first]) if kind not in used]
        if not left:
            raise VocabularyError(f"entry {place + 1}: {name!r} stands {len(used) + 1} times in the tag list")
        used.append(left[0])
        kinds.append(left[0])
    return kinds


def _guess(name: str, scenes: frozenset[str], parser: CaptionParser) -> TagKind:
    if name in scenes:
        return "scene"
    if name in COLORS:
        return "attribute"
    parsed = parser.parse(name)
    if len(parsed) == 1:
        return parsed[0].kind
    return "object"
