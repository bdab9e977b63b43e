"""Approximate nearest neighbors of embeddings by usearch, with one graph beside the embeddings of an index.

Up to :data:`EXACT_UP_TO` pictures, every vector is compared. Beyond, the graph (HNSW, Malkov and Yashunin 2016)
proposes candidates, and only these are compared, exactly. It is updated at the end of an index update; pictures that
it does not contain yet are always candidates. Needs the extra ``search``; without it every vector is compared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.foundations.atomic_files import whole_file
from anytag.library.entries import FileIdentity
from anytag.library.matched import common_positions

#: Highest number of pictures for which every vector is compared, exactly; it takes 54 ms on one core.
EXACT_UP_TO = 200_000

#: Highest number of candidates; with more, comparing everything is hardly slower.
MOST_CANDIDATES = 4096

#: Vectors added to a graph at once.
_ADDED_TOGETHER = 50_000


class NeighborGraphs:
    """The graphs of an index: ``library.picture.usearch`` and ``library.text.usearch``."""

    def __init__(self, path: Path):
        self._paths = {name: path.with_suffix(f".{name}.usearch") for name in ("picture", "text")}
        self._opened: dict[str, tuple[FileIdentity, Any]] = {}

    def clear(self) -> None:
        """Delete both."""
        for path in self._paths.values():
            path.unlink(missing_ok=True)

    def update(
        self, name: str, rows: NDArray[np.float32], entries: NDArray[np.int64], changed: NDArray[np.int64]
    ) -> None:
        """Update a graph (``picture`` or ``text``), or create it if there are enough pictures.

        Args:
            name: The graph.
            rows: All vectors.
            entries: Rows of pictures.
            changed: Rows that are new or changed.
        """
        path = self._paths[name]
        there = path.exists()
        if not installed() or not rows.shape[0] or (len(entries) <= EXACT_UP_TO and not there):
            return
        graph = _open(path, view=False) if there else None
        if graph is None:
            from usearch.index import Index as Graph

            graph, changed = Graph(ndim=rows.shape[1], metric="ip", dtype="f16"), entries
        elif not len(changed):
            return
        changed = changed[changed < len(rows)]
        for start in range(0, len(changed), _ADDED_TOGETHER):
            keys = changed[start : start + _ADDED_TOGETHER]
            vectors = np.asarray(rows[keys])
            keys, vectors = keys[vectors.any(1)], vectors[vectors.any(1)]
            if len(graph):
                graph.remove(keys.astype(np.uint64))
            graph.add(keys.astype(np.uint64), vectors)
        with whole_file(path) as part:
            graph.save(str(part))

    def near(self, name: str, vector: NDArray[np.float32], count: int) -> NDArray[np.int64] | None:
        """Return the rows of the nearest vectors, perhaps of deleted pictures.

        ``None`` if there is no graph, or usearch is not installed.
        """
        graph = self._graph(name)
        if graph is None:
            return None
        graph.expansion_search = max(count, 64)
        return np.asarray(graph.search(vector, count).keys, np.int64)

    def candidates(
        self,
        name: str,
        vector: NDArray[np.float32],
        entries: NDArray[np.int64],
        count: int,
        always: Sequence[NDArray[np.int64]] = (),
    ) -> NDArray[np.int64]:
        """Return the pictures to compare with a vector, in rising order: all, or those that may be among the nearest.

        Args:
            name: The graph.
            vector: Of length 1.
            entries: The pictures that may be found, in rising order.
            count: Number of pictures wanted.
            always: Pictures to compare in any case, if they are among ``entries``.
        """
        if len(entries) <= EXACT_UP_TO:
            return entries
        # The graph's order is nearly that of the cosines, so a few times as many include those wanted.
        proposed = 4 * count + 64
        while proposed <= MOST_CANDIDATES:
            near = self.near(name, vector, proposed)
            if near is None:
                return entries
            near = _among(near, entries)
            if len(near) >= count:
                return np.union1d(near, _among(np.concatenate([near[:0], *always]), entries))
            proposed *= 4
        return entries

    def _graph(self, name: str) -> Any:
        path = self._paths[name]
        try:
            identity = FileIdentity.of(path)
        except FileNotFoundError:
            return None
        if not installed():
            return None
        if name not in self._opened or self._opened[name][0] != identity:
            self._opened[name] = (identity, _open(path, view=True))
        return self._opened[name][1]


def _among(rows: NDArray[np.int64], entries: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that are entries, in rising order."""
    rows = np.unique(rows)
    return rows[common_positions(rows, entries)[0]]


def installed() -> bool:
    """Whether usearch is installed."""
    return importlib.util.find_spec("usearch") is not None


def advice(pictures: int) -> str | None:
    """Return what to install for quick searches among so many pictures; ``None`` if nothing."""
    if pictures <= EXACT_UP_TO or installed():
        return None
    return (
        f"{pictures:,} pictures are compared one by one when you search by a sentence or a picture. For quicker "
        "searches: pip install 'anytag[search]', then anytag index again"
    )


def _open(path: Path, view: bool) -> Any:
    """Open a graph, memory-mapped for searching (``view``); ``None`` if the file cannot be used."""
    from usearch.index import Index as Graph

    try:
        return Graph.restore(str(path), view=view)
    except (RuntimeError, ValueError):  # Damaged, or written by another version.
        return None
