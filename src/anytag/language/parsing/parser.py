"""Parse captions into tags: objects, scenes, attributes and actions (Tag2Text, section 3.2).

A part-of-speech tagger, spaCy's or the light one that ships with the package, tags the words, and rules turn them into
tags (:mod:`anytag.language.parsing.rules`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from functools import cache
from itertools import islice
from typing import Literal, Protocol

from anytag.errors import UsageError
from anytag.foundations.cpu_count import available_processors
from anytag.foundations.worker_processes import process_pool
from anytag.language.parsing.light_tagger import load_light_tagger
from anytag.language.parsing.rules import ParsedTag, extract
from anytag.language.parsing.spelling import correct_words
from anytag.language.parsing.tokens import tokenize

__all__ = ["CaptionParser", "ParsedTag", "ParserName", "load_parser"]

ParserName = Literal["auto", "light", "spacy"]

#: Captions per task of a worker process.
_CHUNK = 2_000


class CaptionParser(Protocol):
    """Turns captions into tags."""

    @property
    def name(self) -> str: ...

    def parse(self, caption: str) -> list[ParsedTag]:
        """Return a caption's tags in order of appearance, without duplicates."""
        ...

    def parse_many(self, captions: Iterable[str], workers: int = 1) -> Iterator[list[ParsedTag]]:
        """Parse captions lazily, in order.

        Args:
            captions: Read only a little ahead of the results.
            workers: Processes, at most the number of processors; 1: parse in this one. They import the program's main
                module, which must keep its work below ``if __name__ == "__main__":``.

        Raises:
            UsageError: If ``workers`` is not positive.
        """
        ...


class Tagger(Protocol):
    """A part-of-speech tagger."""

    def tag_many(self, sentences: Iterable[list[str]]) -> Iterator[tuple[list[str], list[str]]]:
        """Yield each sentence's words and Penn Treebank tags, in order."""
        ...


class TaggedParser:
    """A tagger followed by the rules; ``name`` is that of :func:`load_parser`."""

    def __init__(self, name: ParserName, tagger: Tagger):
        self.name: ParserName = name
        self._tagger = tagger

    def parse(self, caption: str) -> list[ParsedTag]:
        return next(self._stream([caption]))

    def parse_many(self, captions: Iterable[str], workers: int = 1) -> Iterator[list[ParsedTag]]:
        if workers < 1:
            raise UsageError(f"workers is {workers}; it must be 1 or more")
        if workers == 1:
            return self._stream(captions)
        return self._spread(captions, min(workers, max(2, available_processors())))

    def _stream(self, captions: Iterable[str]) -> Iterator[list[ParsedTag]]:
        for words, tags in self._tagger.tag_many(correct_words(tokenize(caption)) for caption in captions):
            yield extract(words, tags)

    def _spread(self, captions: Iterable[str], workers: int) -> Iterator[list[ParsedTag]]:
        rest = iter(captions)
        pending: deque[Future[list[list[ParsedTag]]]] = deque()
        with process_pool(workers, _worker_parser, self.name) as pool:
            while True:
                while len(pending) < 2 * workers and (chunk := list(islice(rest, _CHUNK))):
                    pending.append(pool.submit(_parse_chunk, self.name, chunk))
                if not pending:
                    return
                yield from pending.popleft().result()


@cache
def _worker_parser(name: ParserName) -> CaptionParser:
    return load_parser(name)


def _parse_chunk(name: ParserName, captions: list[str]) -> list[list[ParsedTag]]:
    return list(_worker_parser(name).parse_many(captions))


def load_parser(name: ParserName = "auto") -> CaptionParser:
    """Load a caption parser.

    Args:
        name: ``light`` needs only the core package; ``spacy`` needs spaCy with an English model; ``auto`` is ``light``,
            which is as good on the gold set, many times as fast, and the same on every machine.

    Raises:
        MissingExtraError: If ``spacy`` is not installed.
        UsageError: If there is no parser of that name.
    """
    if name == "spacy":
        from anytag.language.parsing.spacy_tagger import SpacyTagger

        return TaggedParser("spacy", SpacyTagger())
    if name in ("light", "auto"):
        return TaggedParser("light", load_light_tagger())
    raise UsageError(f"there is no caption parser {name!r}; use auto, light or spacy")
