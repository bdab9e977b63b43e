"""Searches among many vectors: the graphs find nearly the same as comparing all vectors."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import require_module

from anytag.library import nearest
from anytag.library.entries import Entry, FileIdentity, key_of
from anytag.library.index import INDEX_FILE, Embeddings, Index
from anytag.library.search import Search
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import Failure, Recognition, Tag

DOG = VocabularyTag(0, "dog", "object")
VOCABULARY = TagVocabulary([DOG])
WIDTH, MANY = 16, 600


def directions(count, seed):
    rows = np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def store(index, names, vectors, dogs=()):
    settings = index.settings({"model": "toy", "version": "1"})
    with index.transaction():
        for name, vector in zip(names, vectors, strict=True):
            entry = Entry(key_of(name), name, FileIdentity(1, 1))
            index.add(entry, 1)
            index.pending_embeddings[name] = Embeddings(vector, -vector)
            tags = (Tag("dog", 0.9, "object", 0.1),) if name in dogs else ()
            index.store(entry, Recognition(name, tags), settings, "now")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index that treats more than twenty pictures as many."""
    require_module("usearch", "search")
    monkeypatch.setattr(nearest, "EXACT_UP_TO", 20)
    index = Index(tmp_path / INDEX_FILE)
    store(index, [f"{n}.jpg" for n in range(MANY)], directions(MANY, 0), dogs={"7.jpg", "8.jpg"})
    index.pack()
    yield index
    index.close()


def exact(index, name, vector, limit):
    rows = index.embeddings.read(name)
    scores = rows @ vector
    scores[0] = -2  # Of nobody.
    return np.argsort(-scores)[:limit].tolist()


def numbers(found):
    return [hit.number for hit in found.hits]


def test_the_graph_finds_nearly_all_of_the_nearest(index):
    search, queries = Search(index), directions(40, 1)
    for name in ("picture", "text"):
        assert index.graphs.near(name, queries[0], 5) is not None
        found = [set(numbers(search.by_vector(name, query, limit=10))) for query in queries]
        wanted = [set(exact(index, name, query, 10)) for query in queries]
        assert np.mean([len(a & b) / 10 for a, b in zip(found, wanted, strict=True)]) >= 0.95
    found = search.by_vector("picture", queries[0], limit=10)
    assert found.total == MANY
    assert found.hits[0].score == pytest.approx(
        float(index.embeddings.read("picture")[found.hits[0].number] @ queries[0])
    )


def test_only_candidates_are_compared(index):
    entries = np.arange(1, MANY + 1)
    compared = index.graphs.candidates("picture", directions(1, 2)[0], entries, 5, [np.array([3, 9999])])
    assert 3 in compared
    assert len(compared) <= 4 * 5 + 64 + 1
    # A few that a query left are compared outright, and so is everything where there is no graph.
    assert index.graphs.candidates("picture", directions(1, 2)[0], entries[:20], 5).tolist() == entries[:20].tolist()
    index.graphs.clear()
    assert len(index.graphs.candidates("picture", directions(1, 2)[0], entries, 5)) == MANY


def test_what_came_or_changed_since_is_found_before_and_after_it_is_placed(index):
    new, changed = directions(2, 3)
    store(index, ["new.jpg", "5.jpg"], [new, changed])
    for _ in range(2):
        search = Search(index)
        assert search.by_vector("picture", new, limit=1).hits[0].path == "new.jpg"
        assert search.by_vector("picture", changed, limit=1).hits[0].path == "5.jpg"
        assert len(index.unplaced()) in (0, 2)
        index.pack()
    assert len(index.unplaced()) == 0


def test_what_is_gone_is_not_found(index):
    [gone, *_] = directions(MANY, 0)
    assert Search(index).by_vector("picture", gone, limit=1).hits[0].path == "0.jpg"
    index.begin_scan()
    settings = index.settings({"model": "toy", "version": "1"})
    with index.transaction():
        entry = Entry(key_of("0.jpg"), "0.jpg", FileIdentity(1, 1))
        index.store(entry, Failure("0.jpg", "empty", "0.jpg: empty"), settings, "now")
    index.pack()
    assert Search(index).by_vector("picture", gone, limit=1).hits[0].path != "0.jpg"


def test_a_sentence_finds_pictures_with_the_tags_that_it_names_however_far(index):
    vector = directions(MANY, 0)[0]
    found = Search(index, VOCABULARY).by_text("a dog", -vector, [DOG], 5.0, limit=3)
    assert {hit.path for hit in found.hits[:2]} == {"7.jpg", "8.jpg"}
    assert found.hits[2].path == "0.jpg"


def test_another_model_makes_other_graphs(index):
    index.begin_model("1")
    index.begin_model("2")
    assert index.graphs.near("picture", directions(1, 2)[0], 5) is None


def test_a_graph_that_cannot_be_read_is_made_again(index, tmp_path):
    path = (tmp_path / INDEX_FILE).with_suffix(".picture.usearch")
    path.write_bytes(b"no graph")
    query = directions(1, 4)[0]
    assert numbers(Search(index).by_vector("picture", query, limit=5)) == exact(index, "picture", query, 5)
    store(index, ["new.jpg"], [query])
    index.pack()
    assert len(index.graphs.near("picture", query, 5)) == 5


def test_without_usearch_everything_is_compared_and_it_is_said(index, monkeypatch):
    monkeypatch.setattr(nearest, "installed", lambda: False)
    query = directions(1, 5)[0]
    assert numbers(Search(index).by_vector("picture", query, limit=10)) == exact(index, "picture", query, 10)
    assert nearest.advice(20) is None
    assert nearest.advice(1_234_567) == (
        "1,234,567 pictures are compared one by one when you search by a sentence or a picture. For quicker searches: "
        "pip install 'anytag[search]', then anytag index again"
    )
    monkeypatch.undo()
    assert nearest.advice(1_234_567) is None
