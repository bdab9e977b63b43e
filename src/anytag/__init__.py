"""anytag: recognize everything in a picture.

Example:
    >>> import anytag
    >>> recognizer = anytag.load()
    >>> recognition = recognizer("photo.jpg")
    >>> print(recognition.caption, [tag.name for tag in recognition.tags])
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

#: Modules of the public names, which are imported on first use to keep ``import anytag`` fast.
_MODULES = {
    "AnytagError": "anytag.errors",
    "Failure": "anytag.recognition",
    "Library": "anytag.library.photo_library",
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


_switch_telemetry_off()  # Before any of these libraries is loaded.


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        from importlib import import_module

        from anytag.foundations.headroom import prepare_libraries
        from anytag.foundations.shortage import explain_shortages

        with explain_shortages():
            if _MODULES[name] != "anytag.errors":  # Errors are available even if no library can be loaded.
                prepare_libraries()
            return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'anytag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
