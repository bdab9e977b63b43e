"""Batches on many machines: Ray Data distributes blocks of pictures, and repeats those of lost workers.

The process that runs the batch keeps the record, as without a cluster, so that a run may begin on one machine and
continue on a cluster. Workers read the files, which must be at the same paths everywhere; pictures in archives are
read by the process that runs the batch, and sent.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from anytag.errors import AnytagError
from anytag.foundations.ray_cluster import RayWorkers, quiet_data
from anytag.recognition import Failure

if TYPE_CHECKING:
    from anytag.inference.questions import Answer, Question
    from anytag.inference.recognizer import Recognizer

#: Pictures in a block, which is the work lost when a worker dies.
BLOCK = 32

#: Pictures, and bytes per worker, in a round. A round is held in the cluster's memory, and starting one takes seconds.
_ROUND, _ROUND_BYTES = 100_000, 64 << 20

#: Deaths of workers after which a picture counts as failed.
_DEATHS = 2

_ADVICE = "Most likely memory ran out; --retry-failed tries it again."


class RayCluster(RayWorkers):
    """A Ray cluster that answers questions about pictures."""

    def answers(
        self,
        pictures: Iterable[Any],
        recognizer: Recognizer,
        ask: Callable[[Recognizer], Question[Answer]],
    ) -> Iterator[Answer | Failure]:
        """Answer a question about each of many pictures, in order, as a recognizer of this process does.

        Args:
            pictures: Paths, or pairs of a name and a path or bytes.
            recognizer: The model; every worker opens it again, from the same folder.
            ask: Makes the question; it is pickled.

        Raises:
            AnytagError: The error that stopped a worker.
        """
        waiting = iter(pictures)
        worker = pickle.dumps((recognizer, ask))
        for first in waiting:
            self.connect()
            yield from self._round(chain([first], waiting), worker)

    def _round(self, pictures: Iterator[Any], worker: bytes) -> Iterator[Any]:
        """Put pictures into the cluster, as many as one round may hold, and yield their answers."""
        import ray

        assert self.workers is not None
        blocks, count, size = [], 0, 0
        tally = ray.remote(num_cpus=0)(Tally).remote()
        for block in _blocks(pictures):
            blocks.append(ray.put(block))
            count, size = count + block.num_rows, size + block.nbytes
            if count >= _ROUND or size >= _ROUND_BYTES * self.workers:
                break
        with quiet_data(in_order=True) as data:
            answered = data.from_arrow_refs(blocks).map_batches(
                RayWorker,
                fn_constructor_args=(worker, os.getcwd(), tally),  # noqa: PTH109 (its bytes need not be text)
                batch_size=None,
                batch_format="pyarrow",
                **self.pool(len(blocks)),
            )
            for row in answered.iter_rows():
                answers = pickle.loads(row["answers"])
                if isinstance(answers, AnytagError):
                    raise answers
                yield from answers


def _blocks(pictures: Iterator[Any]) -> Iterator[Any]:
    """Yield tables of a few pictures each: names, and paths or bytes."""
    import pyarrow

    kinds = pyarrow.schema({"name": pyarrow.binary(), "path": pyarrow.binary(), "content": pyarrow.large_binary()})
    rows: list[dict[str, bytes | None]] = []
    for picture in pictures:
        name, source = picture if isinstance(picture, tuple) else (picture, picture)
        # Paths are bytes, since Arrow's text must be UTF-8.
        held = {"content": source} if isinstance(source, bytes) else {"path": os.fsencode(source)}
        rows.append({"name": os.fsencode(name), **held})
        if len(rows) == BLOCK:
            yield pyarrow.Table.from_pylist(rows, kinds)
            rows = []
    if rows:
        yield pyarrow.Table.from_pylist(rows, kinds)


class Tally:
    """An actor that records where each block's worker is, since workers that die cannot report it."""

    def __init__(self) -> None:
        self._at: dict[bytes, int | None] = {}
        self._deaths: Counter[tuple[bytes, int | None]] = Counter()

    def begin_block(self, block: bytes) -> bool:
        """Return whether a worker began this block before, and so died over it."""
        died = block in self._at
        if died:
            self._deaths[block, self._at[block]] += 1
        self._at[block] = None
        return died

    def begin_picture(self, block: bytes, place: int) -> int:
        """Return how many workers died over a picture of a block."""
        self._at[block] = place
        return self._deaths[block, place]


class RayWorker:
    """An actor of Ray Data that answers the question about blocks of pictures.

    After a worker died over a block, it is repeated picture by picture, and a picture over which several died fails.

    Args:
        worker: A pickled recognizer and the function that makes the question.
        folder: Base of relative paths.
        tally: The handle of a :class:`Tally`.
    """

    def __init__(self, worker: bytes, folder: str, tally: Any):
        self._worker, self._tally = worker, tally
        # Absolute paths need no folder, and it may exist on one machine only.
        with suppress(OSError):
            os.chdir(folder)

    @cached_property
    def _asking(self) -> tuple[Recognizer, Question[Any]]:
        recognizer, ask = pickle.loads(self._worker)
        return recognizer, ask(recognizer)

    def __call__(self, block: Any) -> Any:
        """Return a row with the pickled answers to a block, or with the error that prevented them."""
        import pyarrow

        answers: list[Any] | AnytagError
        try:
            answers = self._answer(block.to_pylist())
        except AnytagError as error:
            answers = error
        return pyarrow.table({"answers": [pickle.dumps(answers)]})

    def _answer(self, rows: list[dict[str, Any]]) -> list[Any]:
        import ray

        recognizer, question = self._asking
        pictures: list[Any] = [
            (os.fsdecode(row["name"]), row["content"] if row["path"] is None else os.fsdecode(row["path"]))
            for row in rows
        ]
        block = rows[0]["name"]
        if not ray.get(self._tally.begin_block.remote(block)):
            return list(recognizer.answers(pictures, question))
        answers: list[Any] = []
        for place, (name, _) in enumerate(pictures):
            if ray.get(self._tally.begin_picture.remote(block, place)) < _DEATHS:
                answers += recognizer.answers(pictures[place : place + 1], question)
            else:
                answers.append(
                    Failure(name, "killed", f"{name}: {_DEATHS} workers that read it were killed. {_ADVICE}")
                )
        return answers
