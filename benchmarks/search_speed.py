"""Measure searches among many pictures: ``python benchmarks/search_speed.py --data DIR``.

Runs the model on a few hundred pictures of COCO's shard 19, and samples an index of 100,000 pictures from its outputs:
each has the tags of one real picture, some of another's, and embeddings between those of both, shifted by the
difference of two others, so that tags are as frequent and embeddings as close as real ones. The index is written as by
``anytag index``. Then ``Library.search`` searches for tags, words of captions, sentences and similar pictures, in one
process, as in the service or a program; the time of a sentence includes the model's.

The same with a million: embeddings sampled in this way, a usearch graph over them, and its time and recall compared
with brute force (``--million 0`` skips this). Writes ``benchmarks/results/search_speed.json``.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _common import add_data_argument, add_model_arguments, installed_version, machine, table, target, write_targets
from numpy.typing import NDArray

import anytag
from anytag.backends.base import Encoded
from anytag.datasets.samples import Sample
from anytag.datasets.webdataset import read_shard
from anytag.inference.embedding import picture_embeddings
from anytag.inference.recognizer import Recognizer
from anytag.library import nearest
from anytag.library.entries import Entry, FileIdentity, key_of
from anytag.library.index import EVERYTHING, Embeddings, Index
from anytag.recognition import Failure, Recognition, Tag

FloatArray = NDArray[np.float32]

#: Number of hits to return.
LIMIT = 20

#: Names of the embeddings.
NAMES = ("picture", "text")


@dataclass(frozen=True)
class Seen:
    """The model's outputs for real pictures.

    Attributes:
        recognitions: Tags.
        captions: One human caption per picture.
        vectors: Embeddings by name, ``[N, W]``.
    """

    recognitions: list[Recognition]
    captions: list[str]
    vectors: dict[str, FloatArray]


def look(recognizer: Recognizer, samples: Iterable[Sample]) -> Seen:
    """Recognize real pictures."""
    joint = recognizer.questions.joint_embedding
    if joint is None:
        raise SystemExit(f"{recognizer.directory.path} has no joint embedding")
    ask = recognizer.questions.tags()

    def all_three(encoded: Encoded, paths: Sequence[str]) -> list[Any]:
        return list(zip(ask(encoded, paths), picture_embeddings(encoded), joint.pictures(encoded), strict=True))

    given = {sample.source: sample for sample in samples}
    pictures = ((name, sample.picture_bytes()) for name, sample in given.items())
    found = [answer for answer in recognizer.answers(pictures, all_three) if not isinstance(answer, Failure)]
    seen, pictures_vectors, texts = zip(*found, strict=True)
    captions = [given[one.path].captions[0] for one in seen]
    return Seen(list(seen), captions, {"picture": np.stack(pictures_vectors), "text": np.stack(texts)})


def draw_vectors(seen: FloatArray, first: Any, second: Any, share: Any, chance: np.random.Generator) -> FloatArray:
    """Sample vectors between those of pairs of pictures, shifted by a fifth of the difference of two others."""
    moved = seen[chance.integers(len(seen), size=len(first))] - seen[chance.integers(len(seen), size=len(first))]
    vectors = share[:, None] * seen[first] + (1 - share[:, None]) * seen[second] + 0.2 * moved
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def draw_tags(seen: Seen, first: int, second: int, share: float, chance: random.Random) -> tuple[Tag, ...]:
    """Sample most tags of one picture and some of another's, with similar scores."""
    tags: dict[tuple[str, str], Tag] = {}
    for number, part in ((first, share), (second, 1 - share)):
        for tag in seen.recognitions[number].tags:
            if chance.random() < part:
                score = min(1.0, max(tag.threshold, tag.score + chance.gauss(0, 0.05)))
                tags[tag.name, tag.kind] = Tag(tag.name, score, tag.kind, tag.threshold, tag.id)
    return tuple(sorted(tags.values(), key=lambda tag: -tag.score))


def fill(place: Path, seen: Seen, rows: int, seed: int) -> dict[str, float]:
    """Write an index of sampled pictures like an update does; return the seconds of its two steps."""
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    index, begun = Index(place), time.perf_counter()
    settings = index.settings({"model": "drawn", "version": "1", "caption": True})
    for start in range(0, rows, 1000):
        first, second = numbers.integers(len(seen.captions), size=(2, min(1000, rows - start)))
        share = numbers.uniform(0.6, 1, size=len(first))
        vectors = {name: draw_vectors(seen.vectors[name], first, second, share, numbers) for name in NAMES}
        with index.transaction():
            for place_in, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
                name = f"/photos/{(start + place_in) // 500:04}/{start + place_in:06}.jpg"
                entry = Entry(key_of(name), name, FileIdentity(1, 1))
                tags = draw_tags(seen, one, other, float(share[place_in]), chance)
                index.add(entry, 1)
                index.pending_embeddings[name] = Embeddings(*(vectors[kind][place_in] for kind in NAMES))
                index.store(entry, Recognition(name, tags, seen.captions[one]), settings, "now")
    written = time.perf_counter()
    index.pack()
    index.close()
    return {"write_seconds": written - begun, "pack_seconds": time.perf_counter() - written}


def fill_vectors(place: Path, seen: Seen, rows: int, seed: int) -> dict[str, Any]:
    """Make an index of embeddings, the postings of real pictures' tags, and its graphs."""
    numbers = np.random.default_rng(seed)
    Index(place).close()
    vectors = {
        name: np.memmap(place.with_suffix(f".{name}.f32"), "<f4", "w+", shape=(rows + 1, seen.vectors[name].shape[1]))
        for name in NAMES
    }
    place.with_suffix(".widths").write_text("".join(f"{n} {v.shape[1]}\n" for n, v in vectors.items()))
    owners = np.zeros(rows + 1, np.int64)
    for start in range(1, rows + 1, 50_000):
        first, second = numbers.integers(len(seen.captions), size=(2, min(50_000, rows + 1 - start)))
        share = numbers.uniform(0.6, 1, size=len(first))
        owners[start : start + len(first)] = first
        for name in NAMES:
            drawn = draw_vectors(seen.vectors[name], first, second, share, numbers)
            vectors[name][start : start + len(first)] = drawn
    everything = np.arange(1, rows + 1, dtype=np.int64)
    by_owner = [np.flatnonzero(owners[1:] == number) + 1 for number in range(len(seen.captions))]
    tags: dict[tuple[str, str], list[tuple[NDArray[np.int64], float]]] = {}
    for those, recognition in zip(by_owner, seen.recognitions, strict=True):
        for tag in recognition.tags:
            tags.setdefault((tag.name, tag.kind), []).append((those, tag.score))
    base = sqlite3.connect(place)
    with base:
        keys = [(n, b"/photos/%07d.jpg" % n) for n in range(1, rows + 1)]
        base.executemany("INSERT INTO entries VALUES (?, ?)", keys)
        base.executemany(
            "INSERT INTO pictures (key, shown, size, modified, state, scan) VALUES (?, ?, 1, 1, 'done', 1)",
            ((key, key) for _, key in keys),
        )
        scores = np.zeros(rows, np.float32).tobytes()
        base.execute("INSERT INTO postings VALUES (?, ?, ?)", (EVERYTHING, everything.tobytes(), scores))
        for number, ((name, kind), parts) in enumerate(tags.items(), 1):
            base.execute("INSERT INTO tags VALUES (?, ?, ?)", (number, name, kind))
            entries = np.concatenate([part for part, _ in parts])
            scores_of = np.concatenate([np.full(len(part), score, np.float32) for part, score in parts])
            order = np.argsort(entries)
            laid = (number, entries[order].astype(np.int64).tobytes(), scores_of[order].tobytes())
            base.execute("INSERT INTO postings VALUES (?, ?, ?)", laid)
    base.close()
    index = Index(place)
    figures: dict[str, Any] = {}
    for name in NAMES:
        begun = time.perf_counter()
        index.graphs.update(name, index.embeddings.read(name), everything, everything)
        size = place.with_suffix(f".{name}.usearch").stat().st_size / 1e6
        figures[name] = {"build_seconds": time.perf_counter() - begun, "graph_mb": size}
    index.close()
    return figures


def clock(calls: Sequence[Callable[[], Any]]) -> dict[str, float]:
    """Milliseconds of each call after a warm-up; use processor time on a busy machine."""
    calls[0]()
    taken, processor = [], []
    for call in calls:
        begun, busy = time.perf_counter(), time.process_time()
        call()
        taken.append(1000 * (time.perf_counter() - begun))
        processor.append(1000 * (time.process_time() - busy))
    ordered = sorted(taken)
    return {
        "median_ms": statistics.median(taken),
        "p95_ms": ordered[int(0.95 * len(ordered))],
        "most_ms": ordered[-1],
        "processor_median_ms": statistics.median(processor),
    }


def tag_queries(seen: Seen, chance: random.Random, count: int) -> list[str]:
    """Realistic tag queries, with tags sampled by frequency."""

    def some(recognition: Recognition) -> str:
        return f'"{chance.choice(recognition.tags).name}"'

    queries = []
    shown = [one for one in seen.recognitions if len(one.tags) > 1]
    while len(queries) < count:
        one, other = chance.sample(shown, 2)
        forms = (some(one), f"{some(one)} {some(one)}", f"{some(one)} -{some(other)}", f"{some(one)} OR {some(other)}")
        queries.append((*forms, f"{some(one)}>0.8", f"-{some(one)}")[len(queries) % 6])
    return queries


def measure(place: Path, recognizer: Recognizer, seen: Seen, asked: Seen, seed: int, count: int) -> dict[str, Any]:
    """Milliseconds of every kind of search."""
    library, chance = anytag.Library(place, recognizer), random.Random(seed)
    words = [chance.choice([word for word in c.split() if len(word) > 3] or ["dog"]) for c in asked.captions]
    with library._search() as search:
        vectors = asked.vectors["picture"][:count]
        alike = clock([lambda v=v: search.by_vector("picture", v, limit=LIMIT) for v in vectors])
    return {
        "tags": clock([lambda q=q: library.search(q, limit=LIMIT) for q in tag_queries(seen, chance, count)]),
        "tags with facets": clock(
            [lambda q=q: library.search(q, limit=LIMIT, facets=20) for q in tag_queries(seen, chance, count // 3)]
        ),
        "words of captions": clock([lambda w=w: library.search(f"caption:{w}", limit=LIMIT) for w in words[:count]]),
        "a sentence": clock([lambda t=t: library.search(text=t, limit=LIMIT) for t in asked.captions[:count]]),
        "a picture, once encoded": alike,
    }


def measure_million(place: Path, recognizer: Recognizer, asked: Seen, count: int) -> dict[str, Any]:
    """Milliseconds with and without a graph, and the graph's recall of the best twenty."""
    sentences = [recognizer.questions.embed_text(caption) for caption in asked.captions[:count]]
    figures: dict[str, Any] = {}
    with anytag.Library(place, recognizer)._search() as search:
        ways: dict[str, list[Callable[[], Any]]] = {
            "a picture, once encoded": [
                lambda v=v: search.by_vector("picture", v, limit=LIMIT) for v in asked.vectors["picture"][:count]
            ],
            "a sentence, once encoded": [
                lambda c=c, s=s: search.by_text(c, *s, limit=LIMIT)
                for c, s in zip(asked.captions, sentences, strict=False)
            ],
        }
        for name, calls in ways.items():
            quick, found = clock(calls), [{hit.number for hit in call().hits} for call in calls]
            largest, nearest.EXACT_UP_TO = nearest.EXACT_UP_TO, 10**9
            try:
                exact, wanted = clock(calls), [{hit.number for hit in call().hits} for call in calls]
            finally:
                nearest.EXACT_UP_TO = largest
            recall = statistics.mean(len(a & b) / len(b) for a, b in zip(found, wanted, strict=True))
            figures[name] = {"usearch": quick, "every vector": exact, "recall_at_20": recall}
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(arguments)
    add_model_arguments(arguments, "search_speed.json")
    arguments.add_argument("--rows", type=int, default=100_000, help="pictures in the index (default: %(default)s)")
    arguments.add_argument("--million", type=int, default=1_000_000, help="vectors with usearch; 0: none")
    arguments.add_argument("--pictures", type=int, default=600, help="real pictures to recognize")
    arguments.add_argument("--queries", type=int, default=100, help="queries of each kind")
    arguments.add_argument("--threads", type=int, help="threads of the runtime (default: all processors)")
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    record: dict[str, Any] = {"machine": machine() | {"usearch": installed_version("usearch")}, "seed": options.seed}
    recognizer = anytag.load(options.model, threads=options.threads)
    shard = options.data / "coco20k" / "coco20k-000019.tar"
    samples = (sample for sample in read_shard(shard) if isinstance(sample, Sample))
    asked = look(recognizer, islice(samples, min(options.queries, 200)))  # Drawn from none of them.
    seen = look(recognizer, islice(samples, options.pictures))
    targets = []
    with tempfile.TemporaryDirectory() as folder:
        if options.rows:
            place = Path(folder) / "library.sqlite"
            filled = fill(place, seen, options.rows, options.seed)
            size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
            times = measure(place, recognizer, seen, asked, options.seed, options.queries)
            record["exact"] = {"rows": options.rows, "size_mb": size, **filled, "searches": times}
            rows = [[name, *(one.values())] for name, one in times.items()]
            table(f"{options.rows:,} pictures, milliseconds", ["search by", "median", "p95", "most", "processor"], rows)
            targets += [
                target("tags, median", times["tags"]["median_ms"], 20, at_least=False, unit="ms"),
                target("words of captions, median", times["words of captions"]["median_ms"], 100, False, unit="ms"),
                target("a sentence, median", times["a sentence"]["median_ms"], 100, at_least=False, unit="ms"),
            ]
        if options.million:
            place = Path(folder) / "million.sqlite"
            graphs = fill_vectors(place, seen, options.million, options.seed)
            found = measure_million(place, recognizer, asked, options.queries)
            record["usearch"] = {"rows": options.million, "graphs": graphs, "searches": found}
            rows = [
                [name, one["usearch"]["median_ms"], one["every vector"]["median_ms"], one["recall_at_20"]]
                for name, one in found.items()
            ]
            table(f"{options.million:,} vectors", ["search by", "usearch ms", "every vector ms", "recall at 20"], rows)
            sentence = found["a sentence, once encoded"]["usearch"]["median_ms"]
            targets.append(target("a sentence among a million, median", sentence, 100, at_least=False, unit="ms"))
    write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
