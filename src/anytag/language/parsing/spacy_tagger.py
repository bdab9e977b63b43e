"""Part-of-speech tags from spaCy's small English model."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any

from anytag.errors import MissingExtraError
from anytag.language.parsing.light_tagger import load_shares
from anytag.language.parsing.repairs import repair_tags

_BATCH = 512
_UNUSED = ["ner", "parser", "lemmatizer", "attribute_ruler", "senter"]


def find_model() -> str | None:
    """Return the name of an installed English model, preferably a small one; ``None`` without spaCy or a model."""
    if importlib.util.find_spec("spacy") is None:
        return None
    names = sorted(m.name for m in pkgutil.iter_modules() if m.name.startswith("en_core_web_"))
    return min(names, key=lambda name: ("_sm" not in name, name), default=None)


class SpacyTagger:
    """spaCy's tagger on our own tokens.

    No other component runs: the rules need no dependency tree, and spaCy is three times as fast without it.

    Args:
        repair: Whether to repair its systematic mistakes on captions.

    Raises:
        MissingExtraError: If spaCy or an English model (``en_core_web_*``) is not installed.
    """

    def __init__(self, repair: bool = True) -> None:
        self._shares = load_shares() if repair else {}
        name = find_model()
        if name is None:
            raise MissingExtraError("The spaCy caption parser", "nlp")
        self._nlp: Any = importlib.import_module(name).load(exclude=_UNUSED)
        self._doc: Any = importlib.import_module("spacy.tokens").Doc

    def tag_many(self, sentences: Iterable[list[str]]) -> Iterator[tuple[list[str], list[str]]]:
        def documents() -> Iterator[tuple[Any, list[str]]]:
            for words in sentences:
                yield self._doc(self._nlp.vocab, words=words), words

        for document, words in self._nlp.pipe(documents(), as_tuples=True, batch_size=_BATCH):
            tags = [token.tag_ for token in document]
            if self._shares:
                tags = repair_tags([word.lower() for word in words], tags, self._shares)
            yield words, tags
