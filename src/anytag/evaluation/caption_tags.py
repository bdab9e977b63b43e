"""Tags in captions: which of the true ones they name, and which they hallucinate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anytag.errors import UsageError
from anytag.language.parsing.parser import load_parser
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.vocabulary_builder import TagMapper
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag


@dataclass(frozen=True, slots=True)
class CaptionTagFigures:
    """Coverage and hallucination of captions.

    Attributes:
        coverage: Share of the true tags that the picture's caption names.
        hallucinated: Share of the named tags that are not annotated. Where annotations are incomplete, this is an upper
            bound (CHAIR_i of Rohrbach et al., 2018, for COCO's objects).
        hallucinating: Share of the captions that name such a tag (CHAIR_s).
        named: Mean number of tags that a caption names.
    """

    coverage: float
    hallucinated: float
    hallucinating: float
    named: float


def caption_tag_figures(named: NDArray[np.bool_], targets: NDArray[np.bool_]) -> CaptionTagFigures:
    """Compute coverage and hallucination from named and annotated tags, ``[N, C]`` each.

    Raises:
        UsageError: If the shapes differ, or nothing is annotated.
    """
    named, truth = np.asarray(named, np.bool_), np.asarray(targets, np.bool_)
    if named.shape != truth.shape or named.ndim != 2:
        raise UsageError(f"named tags {named.shape} and annotations {truth.shape} must both be [pictures, classes]")
    if not truth.any():
        raise UsageError("no class has a positive, so coverage is not defined; check the annotations' names")
    wrong = named & ~truth
    return CaptionTagFigures(
        float((named & truth).sum() / truth.sum()),
        float(wrong.sum() / max(named.sum(), 1)),
        float(wrong.any(1).mean()),
        float(named.sum(1).mean()),
    )


class CategoryParser:
    """Find a benchmark's categories in captions, as the papers score captioning systems (Tag2Text section 4.2).

    A category is found if the caption names it, or one of its synonyms, or a tag of the vocabulary that stands for it
    or implies it. A compound that the vocabulary knows is not reduced to its last word: a hot dog is not a dog.

    Args:
        synonyms: Other names by category.
        vocabulary: Adds its own synonyms and implications; ``None``: only categories and synonyms.
        parser: ``auto``, ``light`` or ``spacy``.
    """

    def __init__(
        self,
        names: Sequence[str],
        synonyms: dict[str, tuple[str, ...]] | None = None,
        vocabulary: TagVocabulary | None = None,
        parser: str = "auto",
    ):
        self.names = tuple(names)
        self._parser = load_parser(parser)  # type: ignore[arg-type]
        plain = [normalize_name(name) for name in self.names]
        first = {name: place for place, name in enumerate(dict.fromkeys(plain))}
        others: dict[str, dict[str, None]] = {name: {} for name in first}
        for given, name in zip(self.names, plain, strict=True):
            others[name] |= dict.fromkeys(map(normalize_name, (synonyms or {}).get(given, ())))
        own = TagVocabulary(
            VocabularyTag(id=place, name=name, kind="object", aliases=tuple(n for n in others[name] if n != name))
            for name, place in first.items()
        )
        self._columns: dict[int, list[int]] = {}
        for column, name in enumerate(plain):
            self._columns.setdefault(first[name], []).append(column)
        self._own = TagMapper(own)
        self._wide = None if vocabulary is None else TagMapper(vocabulary)
        self._of_tag: dict[int, set[int]] = {}
        if vocabulary is not None:
            for name, place in first.items():
                for text in (name, *others[name]):
                    tag = vocabulary.find(text)
                    if tag is not None:
                        self._of_tag.setdefault(tag.id, set()).add(place)

    def __call__(self, captions: Sequence[str]) -> NDArray[np.bool_]:
        """Return ``[N, C]``, true where a caption names a category."""
        table = np.zeros((len(captions), len(self.names)), np.bool_)
        for row, caption in zip(table, captions, strict=True):
            for place in {place for tag in self._parser.parse(caption) for place in self._places(tag)}:
                row[self._columns[place]] = True
        return table

    def _places(self, tag: ParsedTag) -> set[int]:
        """Map a parsed tag to the categories that it stands for."""
        places = set(self._own.ids(tag))
        if self._wide is None:
            return places
        wider = {place for id in self._wide([tag]) for place in self._of_tag.get(id, ())}
        name = normalize_name(tag.name)
        compound = " " in name and self._wide.vocabulary.find(name) is not None
        return wider if compound and self._own.vocabulary.find(name) is None else places | wider
