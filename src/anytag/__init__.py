"""anytag: recognize everything in a picture.

Example:
    >>> import anytag
    >>> recognizer = anytag.load()
    >>> seen = recognizer("photo.jpg")
    >>> print(seen.caption, [tag.name for tag in seen.tags])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anytag.foundations.telemetry import switch_off as _switch_telemetry_off

__version__ = "0.1.0"

if TYPE_CHECKING:
    from anytag.errors import AnytagError
    from anytag.inference.look import Look
    from anytag.inference.recognizer import Recognizer, load
    from anytag.inference.tag_choice import TagChoice
    from anytag.library.photo_library import Library
    from anytag.model.vocabulary import TagVocabulary
    from anytag.pictures.finding import find_pictures
    from anytag.recognition import Failure, Match, Matches, Recognition, Tag
    from anytag.service.client import connect

#: Where every public name lives; it is imported when it is first used, so that ``import anytag`` stays cheap.
_HOMES = {
    "Library": "anytag.library.photo_library",
    "AnytagError": "anytag.errors",
    "Failure": "anytag.recognition",
    "Look": "anytag.inference.look",
    "Match": "anytag.recognition",
    "Matches": "anytag.recognition",
    "Recognition": "anytag.recognition",
    "Recognizer": "anytag.inference.recognizer",
    "Tag": "anytag.recognition",
    "TagChoice": "anytag.inference.tag_choice",
    "TagVocabulary": "anytag.model.vocabulary",
    "connect": "anytag.service.client",
    "find_pictures": "anytag.pictures.finding",
    "load": "anytag.inference.recognizer",
}

__all__ = [
    "AnytagError",
    "Failure",
    "Library",
    "Look",
    "Match",
    "Matches",
    "Recognition",
    "Recognizer",
    "Tag",
    "TagChoice",
    "TagVocabulary",
    "__version__",
    "connect",
    "find_pictures",
    "load",
]


_switch_telemetry_off()  # Before any of those libraries is loaded.


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        from anytag.foundations.headroom import prepare_libraries
        from anytag.foundations.shortage import explained_shortage

        with explained_shortage():
            if _HOMES[name] != "anytag.errors":  # Which are there even where nothing else is.
                prepare_libraries()
            return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'anytag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
