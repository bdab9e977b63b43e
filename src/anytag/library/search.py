"""Finding pictures in an index: by tags and words, by a sentence, by another picture, and why each was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.errors import LibraryError, UsageError
from anytag.library import nearest
from anytag.library.index import EVERYTHING, Index
from anytag.library.matched import Matched, best_places, found_in, in_all, in_any, similarities, without
from anytag.library.query import Not, Or, Query, Term, parse_query
from anytag.library.tag_names import IndexTag, TagNames
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TAG_KINDS

#: What a word in a caption or path counts beside the scores of tags.
_WORD_SCORE = 0.5

_COMPARE = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}

#: Pictures with the tags that a sentence names, up to which all of these are compared with it in any case.
_MOST_NAMED = 20_000

#: Pictures whose vectors are at least this near are near-duplicates (cosine).
DUPLICATE = 0.985


@dataclass(frozen=True, slots=True)
class Reason:
    """What made a picture a result.

    Attributes:
        name: A tag, or the word that stands in the caption or path.
        score: Of the tag; of words a constant; of a sentence or a picture how near this one is to it.
        where: The tag's kind, or ``caption``, ``path``, ``text`` or ``picture``.
    """

    name: str
    score: float
    where: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture that was found.

    Attributes:
        number: In the index.
        path: Where it lies.
        score: How well it fits; comparable within one search only.
        reasons: Why it was found, best first.
        caption: What it shows, if captions were written.
    """

    number: int
    path: str
    score: float
    reasons: tuple[Reason, ...] = ()
    caption: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The hit as a JSON line."""
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
    """What a search found.

    Attributes:
        hits: The best ones, as many as were asked for.
        total: How many there are in all.
        facets: The most frequent tags of all that were found, with their numbers, where asked for.
        unknown: Words of the query that are not tags and stand in no caption.
    """

    hits: tuple[Hit, ...]
    total: int
    facets: tuple[tuple[str, int], ...] = ()
    unknown: tuple[str, ...] = ()


class Search:
    """Searches one index.

    Args:
        index: What to search.
        vocabulary: Of the model, for aliases and names in other languages; ``None``: only the tags' own names are
            known.
        names: Of the index's tags, if they were read before.
    """

    def __init__(self, index: Index, vocabulary: TagVocabulary | None = None, names: TagNames | None = None):
        self.index = index
        self.names = names if names is not None else TagNames(index, vocabulary)

    def by_words(self, text: str, limit: int = 20, facets: int = 0) -> Hits:
        """Search by tags, words of captions and paths; see :mod:`anytag.library.query`.

        Args:
            text: The query.
            limit: Hits to give.
            facets: Most frequent tags to give.

        Raises:
            UsageError: If the query cannot be read.
        """
        query = parse_query(text)
        return self._hits(self._match(query), query, limit, facets)

    def newest(self, limit: int = 20) -> Hits:
        """The pictures whose files were changed last, and the best tags of each.

        Args:
            limit: Hits to give.
        """
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
        """Search by nearness to a vector, among what a query finds if there is one.

        Args:
            name: ``picture`` or ``text``: which vectors to compare.
            vector: Of length 1.
            text: A query that hits must fit, too.
            limit: Hits to give.
            facets: Most frequent tags to give.

        Raises:
            UsageError: If the index holds no such vectors, or the query cannot be read.
            LibraryError: If it has lost them.
        """
        rows = self.index.embeddings.read(name)
        if not len(rows):
            if self.index.embeddings.width(name) and len(self.index):
                raise LibraryError(f"{self.index.path}: its {name} embeddings are lost; move it away and make it again")
            raise UsageError(f"{self.index.path}: holds no {name} embeddings; the model that made it gives none")
        query = None if text is None else parse_query(text)
        among = self._everything() if query is None else self._match(query)
        entries = among.entries[among.entries < len(rows)]
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
        """Search by a sentence: nearness to its vector, and the tags that it names; among what a query finds.

        Args:
            text: The sentence.
            vector: Of length 1.
            named: The tags that it names.
            tag_weight: What the score of such a tag in a picture counts beside the cosine.
            query: That hits must fit, too; ``None``: any picture may be a hit.
            limit: Hits to give.
            facets: Most frequent tags to give.

        Raises:
            UsageError: If the index holds no vectors of that length, or the query cannot be read.
        """
        rows = self.index.embeddings.read("text")
        if not len(rows) or rows.shape[1] != len(vector):
            what = "holds no vectors that a sentence of this model could be compared with"
            raise UsageError(f"{self.index.path}: {what}; run anytag index again")
        parsed = None if query is None else parse_query(query)
        among = self._everything() if parsed is None else self._match(parsed)
        entries = among.entries[among.entries < len(rows)]
        tags = {number for tag in named for number, _, _ in self.names.of(tag)}
        shown = [Matched(*self.index.posting(tag)) for tag in sorted(tags)]
        compared = self._near_sentence(vector, entries, shown, limit)
        alone = similarities(rows, compared, vector)
        scores = alone.copy()
        for those in shown:
            ours, theirs = found_in(compared, those.entries)
            scores[ours] += np.float32(tag_weight) * those.scores[theirs]
        best = best_places(scores, limit)
        matched = Matched(compared[best], scores[best])
        found = self._hits(matched, parsed, limit, facets, total=len(entries), all_entries=entries)
        near = dict(zip(compared[best].tolist(), alone[best].tolist(), strict=True))
        hits = tuple(
            replace(
                hit,
                reasons=self._text_reasons(
                    hit, () if parsed is None else hit.reasons, Reason(text, near[hit.number], "text"), tags
                ),
            )
            for hit in found.hits
        )
        return replace(found, hits=hits)

    def _near_sentence(
        self, vector: NDArray[np.float32], entries: NDArray[np.int64], shown: Sequence[Matched], limit: int
    ) -> NDArray[np.int64]:
        """The pictures to compare with a sentence: near ones, and most of those with a tag that it names."""
        always = [those.entries for those in shown] + [self.index.unplaced()]
        if sum(map(len, always)) > _MOST_NAMED and len(entries) > nearest.EXACT_UP_TO:
            # A tag counts little beside the cosine: whom it lifts to the top is not far from there.
            limit, always = max(limit, (nearest.MOST_CANDIDATES - 64) // 4), always[-1:]
        return self.index.graphs.candidates("text", vector, entries, limit, always)

    def _text_reasons(self, hit: Hit, asked: Sequence[Reason], near: Reason, tags: set[int]) -> tuple[Reason, ...]:
        """The tags that a sentence names first, then what a query asked for, then how near the sentence is."""
        shown = [Reason(name, score, kind) for name, score, kind, number in self._shown(hit.number) if number in tags]
        return tuple(dict.fromkeys([*shown, *asked, near]))

    def duplicates(self, least: float = DUPLICATE) -> list[list[str]]:
        """Groups of pictures that look nearly alike, each in the order of paths.

        Args:
            least: Cosine from which on two pictures count as one.
        """
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
        """The tags that a term names: by name or alias, also in the plural, or in another language."""
        if term.field in ("caption", "path"):
            return []
        return [tag for tag in self.names.find(term.text) if term.field in (None, "tag", tag[2])]

    def _tagged(self, tags: Sequence[int], term: Term) -> Matched:
        matched = in_any([Matched(*self.index.posting(tag)) for tag in tags])
        if term.sign is None:
            return matched
        keep = _COMPARE[term.sign](matched.scores, term.limit)
        return Matched(matched.entries[keep], matched.scores[keep])

    def _worded(self, term: Term) -> Matched:
        phrase = '"' + term.text.replace('"', '""') + '"'
        column = "path" if term.field == "path" else "caption"
        phrase = f"{{caption path}} : {phrase}" if term.field is None else f"{column} : {phrase}"
        rows = self.index.rows("SELECT rowid FROM words WHERE words MATCH ?", [phrase])
        entries = np.sort(np.fromiter((row[0] for row in rows), np.int64))
        return Matched(entries, np.full(len(entries), _WORD_SCORE, np.float32))

    def _everything(self) -> Matched:
        return Matched(*self.index.posting(EVERYTHING))

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
            self._facets(entries, facets) if facets else (),
            tuple(term.text for term in terms if not len(self._match_term(term).entries)),
        )

    def _reasons(self, entry: int, terms: Sequence[Term]) -> tuple[Reason, ...]:
        """Without a query all tags of the picture say why it may have been found."""
        rows = self._shown(entry)
        if not terms:
            return tuple(Reason(name, score, kind) for name, score, kind, _ in rows[:5])
        wanted = {number for term in terms for number, _, _ in self._tags_of(term)}
        reasons = [Reason(name, score, kind) for name, score, kind, number in rows if number in wanted]
        for term in terms:
            if not self._tags_of(term) and term.field not in TAG_KINDS:
                reasons += [Reason(term.text, _WORD_SCORE, where) for where in self._where(entry, term)]
        return tuple(reasons)

    def _shown(self, entry: int) -> list[tuple[Any, ...]]:
        """Name, score, kind and number of a picture's tags, best first."""
        return self.index.rows(
            "SELECT name, score, kind, tags.id FROM found JOIN tags ON tags.id = tag WHERE entry = ?"
            " ORDER BY score DESC",
            [entry],
        )

    def _where(self, entry: int, term: Term) -> list[str]:
        phrase = '"' + term.text.replace('"', '""') + '"'
        columns = [term.field] if term.field in ("caption", "path") else ["caption", "path"]
        return [
            column
            for column in columns
            if self.index.rows("SELECT 1 FROM words WHERE rowid = ? AND words MATCH ?", [entry, f"{column} : {phrase}"])
        ]

    def _caption(self, entry: int) -> str | None:
        [row] = self.index.rows("SELECT caption FROM words WHERE rowid = ?", [entry]) or [(None,)]
        return None if row[0] is None else str(row[0])

    def _facets(self, entries: NDArray[np.int64], most: int) -> tuple[tuple[str, int], ...]:
        """The most frequent tags of some pictures."""
        return tuple(self.index.frequent_tags(most, entries))


def _terms(query: Query) -> list[Term]:
    """The terms that a hit fits: none below NOT."""
    if isinstance(query, Term):
        return [query]
    if isinstance(query, Not):
        return []
    return [term for part in query.parts for term in _terms(part)]
