"""A batch over many machines: Ray Data gives blocks of pictures to workers, and those of lost ones to others.

Whoever runs the batch keeps everything that is known, as without a cluster, so that a run may begin here and go on
there. Files are read by the workers, so that they must be at the same paths everywhere; pictures in archives are read
where the batch runs, and sent.
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

#: Pictures that a worker is given together, and that the end of a worker costs.
BLOCK = 32

#: Pictures, and bytes of them for each worker, after which the workers are started anew: what is on its way is held in
#: the cluster's memory, and the start takes seconds.
_ROUND, _ROUND_BYTES = 100_000, 64 << 20

#: How often workers may die over one picture.
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
        """Answers to a question about each of many pictures, in order, as a recognizer of this process gives them.

        Args:
            pictures: Paths, or pairs of a name and a path or bytes.
            recognizer: The model; it is opened again by every worker, from the same folder.
            ask: Makes the question; it is pickled.

        Raises:
            AnytagError: What a worker cannot go on with.
        """
        waiting = iter(pictures)
        worker = pickle.dumps((recognizer, ask))
        for first in waiting:
            self.connect()
            yield from self._round(chain([first], waiting), worker)

    def _round(self, pictures: Iterator[Any], worker: bytes) -> Iterator[Any]:
        """Put pictures into the cluster, as many as it may hold, and get their answers."""
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
    """Tables of a few pictures each: what they are called, and where they lie or their bytes."""
    import pyarrow

    kinds = pyarrow.schema({"name": pyarrow.binary(), "path": pyarrow.binary(), "content": pyarrow.large_binary()})
    rows: list[dict[str, bytes | None]] = []
    for picture in pictures:
        name, source = picture if isinstance(picture, tuple) else (picture, picture)
        # Paths are bytes, since names that are not text are not text for Arrow, either.
        held = {"content": source} if isinstance(source, bytes) else {"path": os.fsencode(source)}
        rows.append({"name": os.fsencode(name), **held})
        if len(rows) == BLOCK:
            yield pyarrow.Table.from_pylist(rows, kinds)
            rows = []
    if rows:
        yield pyarrow.Table.from_pylist(rows, kinds)


class Tally:
    """An actor that knows where each block's worker is: those that die cannot tell what they died over."""

    def __init__(self) -> None:
        self._at: dict[bytes, int | None] = {}
        self._deaths: Counter[tuple[bytes, int | None]] = Counter()

    def begin_block(self, block: bytes) -> bool:
        """Whether a worker has begun it before, and so has died over it."""
        died = block in self._at
        if died:
            self._deaths[block, self._at[block]] += 1
        self._at[block] = None
        return died

    def begin_picture(self, block: bytes, place: int) -> int:
        """How many workers have died over a picture of a block."""
        self._at[block] = place
        return self._deaths[block, place]


class RayWorker:
    """An actor of Ray Data: answers the question about blocks of pictures.

    A block over which a worker died is done picture by picture, and a picture over which several did is a failure.

    Args:
        worker: A recognizer and what makes the question, pickled.
        folder: Where relative paths start.
        tally: The handle of a :class:`Tally`.
    """

    def __init__(self, worker: bytes, folder: str, tally: Any):
        self._worker, self._tally = worker, tally
        # Paths that are absolute need no folder, and it may be on one machine alone.
        with suppress(OSError):
            os.chdir(folder)

    @cached_property
    def _asking(self) -> tuple[Recognizer, Question[Any]]:
        recognizer, ask = pickle.loads(self._worker)
        return recognizer, ask(recognizer)

    def __call__(self, block: Any) -> Any:
        """A row with the answers to a block, or with the error that there are none for, pickled."""
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
