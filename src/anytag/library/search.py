"""Find pictures in an index by tags and words, by a sentence, or by another picture, and explain each result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.errors import LibraryError, UsageError
from anytag.library import nearest
from anytag.library.index import EVERYTHING, Index
from anytag.library.matched import Matched, best_places, common_positions, in_all, in_any, similarities, without
from anytag.library.query import Not, Or, Query, Term, parse_query
from anytag.library.tag_names import IndexTag, TagNames
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TAG_KINDS

#: Score of a word in a caption or path, next to the scores of tags.
_WORD_SCORE = 0.5

_COMPARE = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}

#: Highest number of pictures with the tags that a sentence names for which all of them are compared with it.
_MOST_NAMED = 20_000

#: Lowest cosine similarity of near-duplicates.
DUPLICATE = 0.985


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a picture was found.

    Attributes:
        name: A tag, or the word in the caption or path.
        score: Of the tag; a constant for words; the similarity to a sentence or a picture.
        where: The tag's kind, or ``caption``, ``path``, ``text`` or ``picture``.
    """

    name: str
    score: float
    where: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture that was found, and why.

    ``score`` is comparable within one search only.
    """

    number: int
    path: str
    score: float
    reasons: tuple[Reason, ...] = ()
    caption: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the hit as a JSON line."""
        reasons = [{"name": r.name, "score": round(r.score, 4), "where": r.where} for r in self.reasons]
        return {
            "id": self.number,
            "path": self.path,
            "score": round(self.score, 4),
            "reasons": reasons,
            "caption": self.caption,
        }


@dataclass(frozen=True, slots=True)
class Hits:
    """The results of a search.

    Attributes:
        hits: The best ones.
        total: How many were found in all.
        facets: The most frequent tags of everything found, with their numbers of pictures.
        unknown: Words of the query that are neither tags nor in a caption.
    """

    hits: tuple[Hit, ...]
    total: int
    facets: tuple[tuple[str, int], ...] = ()
    unknown: tuple[str, ...] = ()


class Search:
    """Search one index, with the vocabulary of its model for aliases and translations.

    ``names`` are the names of the index's tags, if read before.
    """

    def __init__(self, index: Index, vocabulary: TagVocabulary | None = None, names: TagNames | None = None):
        self.index = index
        self.names = names if names is not None else TagNames(index, vocabulary)

    def by_words(self, text: str, limit: int = 20, facets: int = 0) -> Hits:
        """Search by tags, words of captions and paths; see :mod:`anytag.library.query`.

        Raises:
            UsageError: If the query cannot be parsed.
        """
        query = parse_query(text)
        return self._hits(self._match(query), query, limit, facets)

    def newest(self, limit: int = 20) -> Hits:
        """Return the most recently changed pictures, with the best tags of each."""
        rows = self.index.rows(
            "SELECT entries.id FROM pictures JOIN entries USING (key) WHERE state = 'done'"
            " ORDER BY modified DESC, entries.id LIMIT ?",
            [limit],
        )
        entries = np.array([row[0] for row in rows], np.int64)
        return self._hits(Matched(entries, np.zeros(len(rows), np.float32)), None, limit, 0, total=len(self.index))

    def by_vector(
        self, name: str, vector: NDArray[np.float32], text: str | None = None, limit: int = 20, facets: int = 0
    ) -> Hits:
        """Search by similarity to a vector of length 1, among the pictures that match a query if there is one.

        Args:
            name: ``picture`` or ``text``: the embeddings to compare.
            vector: Of length 1.
            text: A query that hits must match, too.
            limit: Highest number of hits.
            facets: Number of most frequent tags to return.

        Raises:
            UsageError: If the index holds no such embeddings, or the query cannot be parsed.
            LibraryError: If the embeddings are lost.
        """
        rows = self.index.embeddings.read(name)
        if not len(rows):
            if self.index.embeddings.width(name) and len(self.index):
                raise LibraryError(f"{self.index.path}: its {name} embeddings are lost; move it away and make it again")
            raise UsageError(
                f"{self.index.path}: holds no {name} embeddings; the model that made it does not provide them"
            )
        query, entries = self._among(text, rows)
        compared = self.index.graphs.candidates(name, vector, entries, limit, [self.index.unplaced()])
        near = Matched(compared, similarities(rows, compared, vector))
        found = self._hits(near, query, limit, facets, total=len(entries), all_entries=entries)
        if name != "picture":
            return found
        alike = (replace(hit, reasons=(*hit.reasons, Reason("looks alike", hit.score, name))) for hit in found.hits)
        return replace(found, hits=tuple(alike))

    def by_text(
        self,
        text: str,
        vector: NDArray[np.float32],
        named: Sequence[VocabularyTag],
        tag_weight: float,
        query: str | None = None,
        limit: int = 20,
        facets: int = 0,
    ) -> Hits:
        """Search by similarity to a sentence, raised by the tags that it names, among the pictures that match a query.

        Args:
            text: The sentence.
            vector: Its embedding, of length 1.
            named: The tags that it names.
            tag_weight: Weight of such a tag's score, added to the cosine similarity.
            query: A query that hits must match, too.
            limit: Highest number of hits.
            facets: Number of most frequent tags to return.

        Raises:
            UsageError: If the index holds no embeddings of that length, or the query cannot be parsed.
        """
        rows = self.index.embeddings.read("text")
        if not len(rows) or rows.shape[1] != len(vector):
            what = "has no embeddings that can be compared with a sentence of this model"
            raise UsageError(f"{self.index.path}: {what}; run anytag index again")
        parsed, entries = self._among(query, rows)
        tags = {number for tag in named for number, _, _ in self.names.of(tag)}
        postings = [self.index.posting(tag) for tag in sorted(tags)]
        compared = self._near_sentence(vector, entries, postings, limit)
        cosines = similarities(rows, compared, vector)
        scores = cosines.copy()
        for posting in postings:
            raised, places = common_positions(compared, posting.entries)
            scores[raised] += np.float32(tag_weight) * posting.scores[places]
        best = best_places(scores, limit)
        matched = Matched(compared[best], scores[best])
        found = self._hits(matched, parsed, limit, facets, total=len(entries), all_entries=entries)
        cosine_of = dict(zip(compared[best].tolist(), cosines[best].tolist(), strict=True))

        def explained(hit: Hit) -> Hit:
            """Give a hit the tags that the sentence names, then those of the query, then its similarity."""
            shown = [Reason(*row[:3]) for row in self._tags_of_picture(hit.number) if row[3] in tags]
            similar = Reason(text, cosine_of[hit.number], "text")
            reasons = dict.fromkeys([*shown, *(hit.reasons if parsed else ()), similar])
            return replace(hit, reasons=tuple(reasons))

        return replace(found, hits=tuple(map(explained, found.hits)))

    def _among(self, text: str | None, rows: NDArray[np.float32]) -> tuple[Query | None, NDArray[np.int64]]:
        """Parse a query, and return it with the pictures that match and have embeddings."""
        query = None if text is None else parse_query(text)
        matched = self._everything() if query is None else self._match(query)
        return query, matched.entries[matched.entries < len(rows)]

    def _near_sentence(
        self, vector: NDArray[np.float32], entries: NDArray[np.int64], postings: Sequence[Matched], limit: int
    ) -> NDArray[np.int64]:
        """Return the pictures to compare with a sentence: near ones, and most of those with a tag that it names."""
        always = [posting.entries for posting in postings] + [self.index.unplaced()]
        if sum(map(len, always)) > _MOST_NAMED and len(entries) > nearest.EXACT_UP_TO:
            # A tag adds little to the cosine, so a picture that it raises to the top was near it before.
            limit, always = max(limit, (nearest.MOST_CANDIDATES - 64) // 4), always[-1:]
        return self.index.graphs.candidates("text", vector, entries, limit, always)

    def duplicates(self, least: float = DUPLICATE) -> list[list[str]]:
        """Return groups of near-duplicates with at least this cosine similarity, each in the order of paths."""
        rows = self.index.embeddings.read("picture")
        entries = self._everything().entries
        entries = entries[entries < len(rows)]
        vectors = np.asarray(rows[entries], np.float32)
        group = np.arange(len(entries))
        for start in range(0, len(entries), 512):
            near = vectors[start : start + 512] @ vectors.T >= least
            for row, column in zip(*np.nonzero(near), strict=True):
                if column > row + start:
                    group[group == group[column]] = group[row + start]
        members: dict[int, list[int]] = {}
        for place, root in enumerate(group.tolist()):
            members.setdefault(root, []).append(int(entries[place]))
        several = [numbers for numbers in members.values() if len(numbers) > 1]
        return sorted(sorted(self.index.paths(numbers).values()) for numbers in several)

    # -- queries ------------------------------------------------------------------------------------------------

    def _match(self, query: Query) -> Matched:
        if isinstance(query, Term):
            return self._match_term(query)
        if isinstance(query, Not):
            return without(self._everything(), self._match(query.part))
        if isinstance(query, Or):
            return in_any([self._match(part) for part in query.parts])
        wanted = [self._match(part) for part in query.parts if not isinstance(part, Not)]
        matched = in_all(wanted) if wanted else self._everything()
        for part in query.parts:
            if isinstance(part, Not):
                matched = without(matched, self._match(part.part))
        return matched

    def _match_term(self, term: Term) -> Matched:
        tags = self._tags_of(term)
        if tags or term.field in (*TAG_KINDS, "tag"):
            return self._tagged([number for number, _, _ in tags], term)
        return self._worded(term)

    def _tags_of(self, term: Term) -> list[IndexTag]:
        """Return the tags that a term names: by name, alias, plural or translation."""
        if term.field in ("caption", "path"):
            return []
        return [tag for tag in self.names.find(term.text) if term.field in (None, "tag", tag[2])]

    def _tagged(self, tags: Sequence[int], term: Term) -> Matched:
        matched = in_any([self.index.posting(tag) for tag in tags])
        if term.sign is None:
            return matched
        keep = _COMPARE[term.sign](matched.scores, term.limit)
        return Matched(matched.entries[keep], matched.scores[keep])

    def _worded(self, term: Term) -> Matched:
        columns = "{caption path}" if term.field is None else term.field
        rows = self.index.rows("SELECT rowid FROM words WHERE words MATCH ?", [f"{columns} : {_phrase(term)}"])
        entries = np.sort(np.fromiter((row[0] for row in rows), np.int64))
        return Matched(entries, np.full(len(entries), _WORD_SCORE, np.float32))

    def _everything(self) -> Matched:
        return self.index.posting(EVERYTHING)

    # -- results ------------------------------------------------------------------------------------------------

    def _hits(
        self,
        matched: Matched,
        query: Query | None,
        limit: int,
        facets: int,
        total: int | None = None,
        all_entries: NDArray[np.int64] | None = None,
    ) -> Hits:
        order = best_places(matched.scores, limit)
        chosen = [(int(matched.entries[place]), float(matched.scores[place])) for place in order]
        paths = self.index.paths(entry for entry, _ in chosen)
        terms = [] if query is None else list(_terms(query))
        hits = tuple(
            Hit(entry, paths[entry], score, self._reasons(entry, terms), self._caption(entry))
            for entry, score in chosen
            if entry in paths
        )
        entries = matched.entries if all_entries is None else all_entries
        return Hits(
            hits,
            len(matched.entries) if total is None else total,
            tuple(self.index.frequent_tags(facets, entries)) if facets else (),
            tuple(term.text for term in terms if not len(self._match_term(term).entries)),
        )

    def _reasons(self, entry: int, terms: Sequence[Term]) -> tuple[Reason, ...]:
        """Return why a picture was found; without a query its best tags."""
        rows = self._tags_of_picture(entry)
        if not terms:
            return tuple(Reason(*row[:3]) for row in rows[:5])
        wanted = {number for term in terms for number, _, _ in self._tags_of(term)}
        reasons = [Reason(*row[:3]) for row in rows if row[3] in wanted]
        for term in terms:
            if not self._tags_of(term) and term.field not in TAG_KINDS:
                reasons += [Reason(term.text, _WORD_SCORE, where) for where in self._where(entry, term)]
        return tuple(reasons)

    def _tags_of_picture(self, entry: int) -> list[tuple[Any, ...]]:
        """Return name, score, kind and number of a picture's tags, best first."""
        return self.index.rows(
            "SELECT name, score, kind, tags.id FROM found JOIN tags ON tags.id = tag WHERE entry = ?"
            " ORDER BY score DESC",
            [entry],
        )

    def _where(self, entry: int, term: Term) -> list[str]:
        """Return the columns in which a term stands."""
        columns = [term.field] if term.field in ("caption", "path") else ["caption", "path"]
        statement, phrase = "SELECT 1 FROM words WHERE rowid = ? AND words MATCH ?", _phrase(term)
        return [column for column in columns if self.index.rows(statement, [entry, f"{column} : {phrase}"])]

    def _caption(self, entry: int) -> str | None:
        [row] = self.index.rows("SELECT caption FROM words WHERE rowid = ?", [entry]) or [(None,)]
        return None if row[0] is None else str(row[0])


def _phrase(term: Term) -> str:
    """Quote a term for SQLite's full-text search."""
    return '"' + term.text.replace('"', '""') + '"'


def _terms(query: Query) -> list[Term]:
    """Return the terms that a hit matches: all but those below NOT."""
    if isinstance(query, Term):
        return [query]
    if isinstance(query, Not):
        return []
    return [term for part in query.parts for term in _terms(part)]
