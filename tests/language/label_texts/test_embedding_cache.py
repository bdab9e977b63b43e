import hashlib
import json
import os

import numpy as np
import pytest
from conftest import require
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from anytag.errors import ModelError, UsageError
from anytag.language.label_texts.embedding_cache import EmbeddingCache, OpenSetEmbedder, cache_key


class HashEncoder:
    """The stand-in for a text tower that the reference vectors were made with."""

    def __init__(self, fingerprint="fake", width=512):
        self.fingerprint, self.width = fingerprint, width
        self.seen = []

    def embed(self, texts):
        self.seen += texts
        rows = []
        for text in texts:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
            rows.append(np.random.RandomState(seed).randn(self.width).astype(np.float32))
        return np.stack(rows)


@pytest.fixture
def cache(tmp_path):
    return EmbeddingCache(tmp_path / "cache")


def entries(cache):
    return sorted(cache.folder.glob("*.npy"))


def test_embeddings_are_those_of_the_reference(oracle, cache):
    record = json.loads(require(oracle / "vectors/openset_embedding.json", "open-set texts").read_text())
    expected = load_file(require(oracle / "vectors/openset_embedding.safetensors", "open-set embeddings"))
    embedder = OpenSetEmbedder(HashEncoder(), cache)
    for _ in ("computed", "kept"):
        found = embedder.for_ram(record["categories_returned"])
        np.testing.assert_allclose(found, expected["embedding"], atol=1e-6)
        described = embedder.for_descriptions([lines for tag in record["llm_input"] for lines in tag.values()])
        assert described.shape == (2, 2, 512)
        np.testing.assert_allclose(described.reshape(-1, 512), expected["llm_embedding"], atol=1e-6)
    texts = 63 * len(record["categories_returned"]) + 4
    assert len(embedder.encoder.seen) == texts, "what is kept is not computed again"


def test_a_longer_list_costs_its_new_names_only(cache):
    embedder = OpenSetEmbedder(HashEncoder(), cache)
    first = embedder.for_ram(["owl", "zebra"])
    embedder.encoder.seen.clear()
    longer = embedder.for_ram(["zebra", "corgi", "owl", "corgi"])
    assert len(embedder.encoder.seen) == 63
    np.testing.assert_array_equal(longer[[2, 0]], first)
    np.testing.assert_array_equal(longer[1], longer[3])


def test_keys_depend_on_everything(cache):
    keys = {
        cache_key("a", ["x y"], "each"),
        cache_key("b", ["x y"], "each"),
        cache_key("a", ["x y"], "ensemble"),
        cache_key("a", ["x", "y"], "each"),
        cache_key("a", ["y", "x"], "each"),
        cache_key("a", ['x", "y'], "each"),
    }
    assert len(keys) == 6
    owl = OpenSetEmbedder(HashEncoder("one"), cache).for_ram(["Owl"])
    other = HashEncoder("two")
    OpenSetEmbedder(other, cache).for_ram(["Owl"])
    assert len(other.seen) == 63
    corrected = OpenSetEmbedder(HashEncoder("one"), cache, released_articles=False).for_ram(["Owl"])
    assert np.abs(corrected - owl).max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_damaged_entry_is_computed_again(tmp_path_factory, data):
    cache = EmbeddingCache(tmp_path_factory.mktemp("damage"))
    embedder = OpenSetEmbedder(HashEncoder(width=8), cache)
    good = embedder.for_descriptions([["a", "b"]])
    (path,) = entries(cache)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    embedder.encoder.seen.clear()
    np.testing.assert_array_equal(embedder.for_descriptions([["a", "b"]]), good)
    assert embedder.encoder.seen == ["a", "b"]
    np.testing.assert_array_equal(cache.read(cache_key("fake", ["a", "b"], "each")), good[0])


def test_a_run_that_is_stopped_keeps_what_it_had(cache):
    class Stopped(HashEncoder):
        def embed(self, texts):
            if self.seen:
                raise KeyboardInterrupt
            return super().embed(texts)

    names = [f"thing {number}" for number in range(40)]
    with pytest.raises(KeyboardInterrupt):
        OpenSetEmbedder(Stopped(width=4), cache).for_ram(names)
    assert len(entries(cache)) == 32
    assert not list(cache.folder.glob("*.part"))
    encoder = HashEncoder(width=4)
    found = OpenSetEmbedder(encoder, cache).for_ram(names)
    assert len(encoder.seen) == 8 * 63
    np.testing.assert_array_equal(found, OpenSetEmbedder(HashEncoder(width=4)).for_ram(names))


def test_a_failed_write_leaves_no_file_and_warns(cache, monkeypatch):
    monkeypatch.setattr(os, "fdopen", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    embedder = OpenSetEmbedder(HashEncoder(width=4), cache)
    with pytest.warns(UserWarning, match=r"embeddings are not kept \(No space left on device\)") as caught:
        found = embedder.for_ram(["owl", "zebra"])
    assert len(caught) == 1
    assert found.shape == (2, 4)
    assert list(cache.folder.iterdir()) == []


def test_the_entries_used_longest_ago_go_first(tmp_path):
    cache = EmbeddingCache(tmp_path)
    (tmp_path / "mine.npy").write_bytes(b"not the cache's")
    embedder = OpenSetEmbedder(HashEncoder(width=4), cache)
    for age, name in ((30, "oldest"), (20, "middle"), (10, "newest")):
        before = set(entries(cache))
        embedder.for_ram([name])
        (path,) = set(entries(cache)) - before
        stamp = path.stat().st_mtime - age
        os.utime(path, (stamp, stamp))
    embedder.for_ram(["oldest"])  # used now
    size = path.stat().st_size
    cache.max_bytes = 2 * size
    assert cache.trim() == size
    embedder.encoder.seen.clear()
    embedder.for_ram(["oldest", "newest"])
    assert embedder.encoder.seen == []
    assert len(entries(cache)) == 3  # The foreign file stays.


def test_files_of_dead_processes_are_removed(tmp_path):
    cache = EmbeddingCache(tmp_path)
    for name, age in (("old.part", 7200), ("young.part", 60)):
        (tmp_path / name).write_bytes(b"12345")
        stamp = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (stamp, stamp))
    assert cache.trim() == 5
    assert [path.name for path in tmp_path.iterdir()] == ["young.part"]
    assert EmbeddingCache(tmp_path / "none").trim() == 0


def test_the_folder_follows_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert EmbeddingCache().folder == tmp_path / "anytag" / "embeddings"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert EmbeddingCache().folder == tmp_path / "home" / ".cache" / "anytag" / "embeddings"


def test_uneven_descriptions_are_refused():
    embedder = OpenSetEmbedder(HashEncoder(width=4))
    with pytest.raises(UsageError, match=r"^label 1 has 1 descriptions, the first has 2; every label needs the same"):
        embedder.for_descriptions([["a", "b"], ["a"]])
    with pytest.raises(UsageError, match=r"^label 0 has 0 descriptions"):
        embedder.for_descriptions([[], []])
    with pytest.raises(UsageError, match=r"^label 0: give a list of descriptions, not the one text 'ab'"):
        embedder.for_descriptions(["ab"])
    with pytest.raises(UsageError, match="no label to embed"):
        embedder.for_ram([])
    with pytest.raises(UsageError, match="no label to embed"):
        embedder.for_descriptions([])


@pytest.mark.parametrize("answer", [np.zeros((2, 4)), np.full((63, 4), np.nan), np.zeros(63)])
def test_invalid_embeddings_are_refused_and_not_cached(cache, answer):
    encoder = HashEncoder()
    encoder.embed = lambda texts: answer.astype(np.float32)
    with pytest.raises(ModelError, match="the text encoder gave an array of shape"):
        OpenSetEmbedder(encoder, cache).for_ram(["owl"])
    assert entries(cache) == []
