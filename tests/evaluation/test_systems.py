"""Mapping classes of benchmarks to vocabularies."""

from __future__ import annotations

from anytag.evaluation.benchmarks.benchmark import names_of, read_table
from anytag.evaluation.systems import kinds_of, map_categories
from anytag.model.directory import find_model
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

VOCABULARY = TagVocabulary(
    [VocabularyTag(0, "sofa", "object", aliases=("settee",)), VocabularyTag(1, "plane", "object")]
)


def test_by_name_alias_synonym_and_not_at_all():
    names, synonyms = (
        ["sofa", "settee", "airplane", "couch", "quark"],
        {"airplane": ("jet", "plane"), "couch": ("sofa",)},
    )
    assert map_categories(names, VOCABULARY, synonyms) == [0, 0, 1, 0, None]


def test_kinds_by_a_vocabulary():
    vocabulary = TagVocabulary(
        [VocabularyTag(0, "dog", "object", aliases=("hound",)), VocabularyTag(1, "beach", "scene")]
    )
    names = ("hound", "shore", "quark")
    assert kinds_of(names, vocabulary, {"shore": ("beach",)}) == {"hound": "object", "shore": "scene"}


def test_all_of_coco_80_but_potted_plants_is_in_the_shipped_vocabulary():
    table = [row for row in read_table("coco.tsv") if row["thing"] == "1"]
    synonyms = {row["plain"]: names_of(row["synonyms"]) for row in table}
    names = [row["plain"] for row in table]
    tags = map_categories(names, find_model(None).vocabulary, synonyms)
    assert [name for name, tag in zip(names, tags, strict=True) if tag is None] == ["potted plant"]
