"""Searches over an index filled by hand, so that every score and count is known."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from anytag.errors import LibraryError, UsageError
from anytag.library import index as module
from anytag.library.entries import Entry, FileIdentity, key_of
from anytag.library.index import INDEX_FILE, Embeddings, Index
from anytag.library.search import Search
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import Failure, Recognition, Tag

VOCABULARY = TagVocabulary(
    [
        VocabularyTag(0, "dog", "object", aliases=("hound",), translations=(("de", "Hund"),)),
        VocabularyTag(1, "beach", "scene"),
        VocabularyTag(2, "train", "object", translations=(("de", "Zug"),)),
        VocabularyTag(3, "train", "action", translations=(("de", "trainieren"),)),
    ]
)

#: Path, tags with kinds and scores, caption, and the direction of the embedding.
PICTURES = {
    "a.jpg": ({("dog", "object"): 0.9, ("beach", "scene"): 0.6}, "a dog by the sea", 0.0),
    "b.jpg": ({("dog", "object"): 0.7}, "two friends", 0.1),
    "c.jpg": ({("beach", "scene"): 0.95, ("train", "object"): 0.3}, None, 1.5),
    "d.jpg": ({("train", "action"): 0.8, ("hot dog", "object"): 0.5}, "a man at work", 3.0),
}


def vector(angle):
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def fill(index):
    settings = index.settings({"model": "toy", "version": "1"})
    with index.transaction():
        for name, (tags, caption, angle) in PICTURES.items():
            entry = Entry(key_of(name), name, FileIdentity(1, 1))
            index.add(entry, 1)
            found = tuple(Tag(tag, score, kind, 0.1) for (tag, kind), score in tags.items())
            index.pending_embeddings[name] = Embeddings(vector(angle), vector(-angle))
            index.store(entry, Recognition(name, found, caption), settings, "now")
        bad = Entry(key_of("bad.jpg"), "bad.jpg", FileIdentity(1, 1))
        index.add(bad, 1)
        index.store(bad, Failure("bad.jpg", "empty", "bad.jpg: empty"), settings, "now")


@pytest.fixture(params=["packed", "loose"])
def search(request, tmp_path):
    index = Index(tmp_path / INDEX_FILE)
    fill(index)
    if request.param == "packed":
        index.pack()
    yield Search(index, VOCABULARY)
    index.close()


def paths(found):
    return [hit.path for hit in found.hits]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("dog", ["a.jpg", "b.jpg"]),
        ("dogs", ["a.jpg", "b.jpg"]),
        ("Hound", ["a.jpg", "b.jpg"]),
        ("Hund", ["a.jpg", "b.jpg"]),
        ("Hund -beach", ["b.jpg"]),
        ("trainieren", ["d.jpg"]),
        ("object:trainieren", []),
        ("dog beach", ["a.jpg"]),
        ("dog -beach", ["b.jpg"]),
        ("dog OR beach", ["c.jpg", "a.jpg", "b.jpg"]),
        ("-dog", ["c.jpg", "d.jpg"]),
        ("dog>0.8", ["a.jpg"]),
        ("score>=0.7 dog", ["a.jpg", "b.jpg"]),
        ("train", ["d.jpg", "c.jpg"]),
        ("action:train", ["d.jpg"]),
        ("scene:dog", []),
        ('"hot dog"', ["d.jpg"]),
        ("friends", ["b.jpg"]),
        ('caption:"a dog"', ["a.jpg"]),
        ("path:c", ["c.jpg"]),
        ("tag:friends", []),
        ("unicorn", []),
        ("-unicorn", ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]),
    ],
)
def test_what_a_query_finds(search, query, expected):
    found = search.by_words(query)
    assert paths(found) == expected
    assert found.total == len(expected)


def test_why_and_how_much(search):
    [hit] = search.by_words("dog beach sea").hits
    assert hit.score == pytest.approx(0.9 + 0.6 + 0.5)
    assert [(reason.name, reason.where) for reason in hit.reasons] == [
        ("dog", "object"), ("beach", "scene"), ("sea", "caption"),
    ]  # fmt: skip
    assert hit.caption == "a dog by the sea"
    assert search.by_words("dog unicorn").unknown == ("unicorn",)


def test_a_tag_finds_its_kinds(search):
    # No picture has the tag "animal", nor "vehicle", which both senses of "train" are asked about.
    tags = [
        VocabularyTag(0, "animal", "object", aliases=("beast",), translations=(("de", "Tier"),)),
        VocabularyTag(1, "dog", "object", implies=(0,)),
        VocabularyTag(2, "vehicle", "object"),
        VocabularyTag(3, "train", "object", implies=(2,)),
        VocabularyTag(4, "train", "action"),
        VocabularyTag(5, "poodle", "object", implies=(1,)),
    ]
    wider = Search(search.index, TagVocabulary(tags))
    for query in ("animal", "animals", "beast", "Tier", "object:animal"):
        assert paths(wider.by_words(query)) == ["a.jpg", "b.jpg"]
    assert paths(wider.by_words("vehicle")) == ["c.jpg"]
    assert paths(wider.by_words("-animal")) == ["c.jpg", "d.jpg"]
    assert paths(wider.by_words("animal>0.8")) == ["a.jpg"]
    assert paths(wider.by_words("dog")) == ["a.jpg", "b.jpg"]
    assert paths(wider.by_words("poodle")) == paths(wider.by_words("scene:animal")) == []
    [hit, _] = wider.by_words("animal").hits
    assert [(reason.name, reason.score) for reason in hit.reasons] == [("dog", pytest.approx(0.9))]


def test_limits_and_facets(search):
    found = search.by_words("dog OR beach", limit=1, facets=2)
    assert (paths(found), found.total) == (["c.jpg"], 3)
    assert found.facets == (("beach", 2), ("dog", 2))


@pytest.mark.parametrize("few", [0, 2000])
def test_tags_are_counted_alike_whether_they_are_few_or_many(search, monkeypatch, few):
    monkeypatch.setattr(module, "_FEW", few)
    assert search.by_words("-dog", facets=9).facets == (("train", 2), ("beach", 1), ("hot dog", 1))
    assert search.by_words("unicorn", facets=9).facets == ()
    assert search.index.frequent_tags(9) == [("beach", 2), ("dog", 2), ("train", 2), ("hot dog", 1)]
    assert search.index.frequent_tags(1, np.array([1, 2])) == [("dog", 2)]


def test_by_vector_alone_and_within_a_query(search):
    found = search.by_vector("picture", vector(0.0))
    assert paths(found) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert found.hits[1].score == pytest.approx(np.cos(0.1))
    last = found.hits[1].reasons[-1]
    assert (last.name, last.where, last.score) == ("looks alike", "picture", pytest.approx(np.cos(0.1)))
    assert paths(search.by_vector("text", vector(-1.4), "beach")) == ["c.jpg", "a.jpg"]


def test_by_a_sentence(search):
    dog, beach = VOCABULARY[0], VOCABULARY[1]
    found = search.by_text("hounds at the sea", vector(-0.1), [dog, beach], 0.5)
    # Cosines of angles 0.1, 0, 1.4 and 2.9, and half the scores of what is named: 0.9 + 0.6, 0.7, 0.95 and nothing.
    assert paths(found) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [hit.score for hit in found.hits] == pytest.approx(
        [np.cos(0.1) + 0.75, 1 + 0.35, np.cos(1.4) + 0.475, np.cos(2.9)], abs=1e-6
    )
    assert [(reason.name, reason.where) for reason in found.hits[0].reasons] == [
        ("dog", "object"), ("beach", "scene"), ("hounds at the sea", "text"),
    ]  # fmt: skip
    assert found.hits[0].reasons[-1].score == pytest.approx(np.cos(0.1))
    assert paths(search.by_text("a", vector(-0.1), [], 0.5, limit=1)) == ["b.jpg"]
    mixed = search.by_text("a", vector(-0.1), [dog], 0.5, query="beach -train")
    assert (paths(mixed), mixed.total) == (["a.jpg"], 1)


def test_a_sentence_of_another_model(search):
    with pytest.raises(UsageError, match="has no embeddings that can be compared with a sentence of this model; run"):
        search.by_text("a dog", np.ones(3, np.float32), [], 0.5)


def test_vectors_of_another_model_are_forgotten(search):
    index = search.index
    index.begin_model("1")
    assert len(index.embeddings.read("text")) == 5
    index.begin_model("1")
    assert len(index.embeddings.read("text")) == 5
    index.begin_model("2")
    assert len(index.embeddings.read("text")) == 0
    assert paths(search.by_words("dog")) == ["a.jpg", "b.jpg"]


def test_near_duplicates(search):
    assert search.duplicates() == [["a.jpg", "b.jpg"]]
    assert search.duplicates(0.9999) == []


def test_an_index_without_embeddings(tmp_path):
    index = Index(tmp_path / INDEX_FILE)
    with pytest.raises(UsageError, match="holds no text embeddings; the model that made it does not provide them"):
        Search(index).by_vector("text", vector(0))


def test_what_is_forgotten_is_not_found(search, tmp_path):
    index = search.index
    index.begin_scan()
    with index.transaction():
        assert index.forget_gone(2, [key_of(".")]) == 5
    assert paths(Search(index).by_words("dog")) == []
    assert len(index) == 0


@pytest.mark.parametrize("writable", [True, False])
def test_an_index_that_is_only_read(search, tmp_path, writable):
    search.index.close()
    if not writable:
        for path in tmp_path.iterdir():
            path.chmod(0o444)
        tmp_path.chmod(0o555)
    index = Index(tmp_path / INDEX_FILE, read_only=True)
    assert paths(Search(index, VOCABULARY).by_words("dog")) == ["a.jpg", "b.jpg"]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        index.set_value("a", "b")
    index.close()
    tmp_path.chmod(0o755)


def test_a_reader_beside_a_writer(search, tmp_path):
    index = search.index
    with index.transaction():
        entry = Entry(key_of("e.jpg"), "e.jpg", FileIdentity(1, 1))
        index.add(entry, 1)
        index.store(entry, Recognition("e.jpg", (Tag("dog", 0.99, "object", 0.1),)), 1, "now")
        reader = sqlite3.connect(tmp_path / INDEX_FILE)
        assert reader.execute("SELECT count(*) FROM found").fetchone() == (7,)
        reader.close()
    assert paths(Search(index, VOCABULARY).by_words("dog")) == ["e.jpg", "a.jpg", "b.jpg"]


def test_embeddings_that_are_lost_or_damaged(search):
    lost = search.index.path.with_suffix(".picture.f32")
    content = lost.read_bytes()
    for damage in (lambda: lost.unlink(), lambda: lost.write_bytes(b"x")):
        damage()
        with pytest.raises(LibraryError, match=r"its picture embeddings are lost; move it away and make it again"):
            search.by_vector("picture", vector(0))
    lost.write_bytes(content)
    search.index.path.with_suffix(".widths").write_text("picture")
    with pytest.raises(LibraryError, match=r"library\.widths: damaged; move the index away and make it again"):
        search.by_vector("picture", vector(0))


def test_an_index_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / INDEX_FILE
    index = Index(path)
    fill(index)
    index.set_value("format", "9")
    index.close()
    for read_only in (True, False):
        with pytest.raises(LibraryError, match=r"was written by a newer anytag \(format 9\); update anytag"):
            Index(path, read_only=read_only)
