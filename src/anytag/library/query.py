"""The query language of ``anytag search``: words, phrases, kinds, scores, AND, OR, NOT and parentheses.

========================  ==================================================================
``dog beach``             both; ``AND`` may stand between them
``dog OR cat``            at least one of them; binds less tightly than AND
``-cat``, ``NOT cat``     without it
``"hot dog"``             a name, or words of a caption, with spaces
``scene:beach``           a tag of that kind; also ``caption:`` and ``path:`` for words there
``dog>0.8``               with a higher score; also ``>=``, ``<``, ``<=``
``score>0.8``             for every word of the query without a bound of its own
``(dog OR cat) beach``    parentheses group
========================  ==================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from anytag.errors import UsageError
from anytag.recognition import TAG_KINDS

#: Fields in which a word may be searched.
FIELDS = (*TAG_KINDS, "tag", "caption", "path")

_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<minus>-(?=[\w"(]))|(?P<bound>score\s*(?P<sign>[<>]=?)\s*(?P<limit>[\d.]+))
    |(?:(?P<field>[a-z]+):)?(?:"(?P<phrase>[^"]*)"|(?P<word>[^\s()"<>:]+))(?:(?P<wsign>[<>]=?)(?P<wlimit>[\d.]+))?)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Term:
    """One word or phrase.

    Attributes:
        text: As written.
        field: One of :data:`FIELDS`; ``None``: a tag of any kind or, if there is no such tag, a word of a caption.
        sign: ``>``, ``>=``, ``<`` or ``<=``; ``None``: any score.
        limit: The score to compare with.
    """

    text: str
    field: str | None = None
    sign: str | None = None
    limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Not:
    """Pictures that a part does not match."""

    part: Query


@dataclass(frozen=True, slots=True)
class And:
    """Pictures that match all parts."""

    parts: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Pictures that match at least one part."""

    parts: tuple[Query, ...]


Query = Term | Not | And | Or


def parse_query(text: str) -> Query:
    """Parse a query.

    Raises:
        UsageError: If it is empty, a parenthesis or quote is left open, or a field does not exist.
    """
    # As in the index, where bytes that are not UTF-8 are replaced.
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    tokens = list(_tokens(text))
    if not tokens:
        raise UsageError('the query is empty; try: dog beach -cat, "hot dog", scene:beach, dog>0.8')
    bounds = [token for token in tokens if isinstance(token, _Bound)]
    rest: list[_Token] = [token for token in tokens if not isinstance(token, _Bound)]
    if not rest:
        raise UsageError(f"{text}: sets a score, but for no word; try: dog {text}")
    query, end = _or(rest, 0, text)
    if end < len(rest):
        raise UsageError(f"{text}: a ')' closes nothing")
    return _bounded(query, bounds[-1]) if bounds else query


@dataclass(frozen=True, slots=True)
class _Bound:
    sign: str
    limit: float


_Token = str | Term | _Bound


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None or match.end() == place:
            what = "a quote is not closed" if '"' in text[place:] else f"cannot be read from {text[place:]!r} on"
            raise UsageError(f"{text}: {what}")
        place = match.end()
        if match["open"] or match["close"] or match["minus"]:
            yield match["open"] or match["close"] or "NOT"
        elif match["bound"]:
            yield _Bound(match["sign"], _number(match["limit"], text))
        else:
            yield _word(match, text)


def _word(match: re.Match[str], text: str) -> _Token:
    word, field = match["word"], match["field"]
    if field is None and word in ("AND", "OR", "NOT") and match["wsign"] is None:
        return str(word)
    if field is not None and field not in FIELDS:
        raise UsageError(f"{text}: there is no field {field!r}; use one of {', '.join(FIELDS)}")
    words = word if word is not None else match["phrase"]
    if not words.strip():
        raise UsageError(f"{text}: the quotes are empty")
    if match["wsign"] is None:
        return Term(words, field)
    return Term(words, field, match["wsign"], _number(match["wlimit"], text))


def _number(digits: str, text: str) -> float:
    try:
        return float(digits)
    except ValueError:
        raise UsageError(f"{text}: {digits} is not a score; scores lie between 0 and 1") from None


def _or(tokens: list[_Token], at: int, text: str) -> tuple[Query, int]:
    parts = []
    while True:
        part, at = _and(tokens, at, text)
        parts.append(part)
        if at == len(tokens) or tokens[at] != "OR":
            return (parts[0] if len(parts) == 1 else Or(tuple(parts))), at
        at += 1


def _and(tokens: list[_Token], at: int, text: str) -> tuple[Query, int]:
    parts: list[Query] = []
    while at < len(tokens) and tokens[at] not in ("OR", ")"):
        if tokens[at] == "AND":
            at += 1
            continue
        part, at = _not(tokens, at, text)
        parts.append(part)
    if not parts:
        raise UsageError(f"{text}: a word is missing before or after OR, AND, NOT, or inside parentheses")
    return (parts[0] if len(parts) == 1 else And(tuple(parts))), at


def _not(tokens: list[_Token], at: int, text: str) -> tuple[Query, int]:
    token = tokens[at] if at < len(tokens) else ")"
    if token == "NOT":
        part, at = _not(tokens, at + 1, text)
        return Not(part), at
    if token == "(":
        inside, at = _or(tokens, at + 1, text)
        if at == len(tokens):
            raise UsageError(f"{text}: a '(' is not closed")
        return inside, at + 1
    if not isinstance(token, Term):
        raise UsageError(f"{text}: a word is missing before or after OR, AND, NOT, or inside parentheses")
    return token, at + 1


def _bounded(query: Query, bound: _Bound) -> Query:
    if isinstance(query, Term):
        return query if query.sign is not None else replace(query, sign=bound.sign, limit=bound.limit)
    if isinstance(query, Not):
        return Not(_bounded(query.part, bound))
    return type(query)(tuple(_bounded(part, bound) for part in query.parts))
