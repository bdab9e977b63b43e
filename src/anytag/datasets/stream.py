"""A stream over all sources: shuffled, divided among ranks and workers, decoded ahead, and resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Generic, Literal

import numpy as np
from PIL import Image
from typing_extensions import TypeVar

from anytag.datasets.bad_samples import BadSamples
from anytag.datasets.order import Order, Tail, divide_parts, epoch_order, share_of, share_size, without_taken
from anytag.datasets.samples import Log, Sample
from anytag.datasets.sources import CONTENTS, IndexedSource, SampleSource, contents_of, refuse_other_data
from anytag.datasets.windows import Window, read_windows
from anytag.errors import DataError, PictureError, SampleError, UsageError
from anytag.foundations.cpu_count import available_processors
from anytag.foundations.look_ahead import one_ahead, run_ahead
from anytag.pictures import read_picture

#: Version of :meth:`SampleStream.state`.
STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """A sample with its decoded picture.

    Attributes:
        sample: The sample.
        picture: Upright, in RGB.
        epoch: From 0; with the sample's source, a seed for augmentation.
    """

    sample: Sample
    picture: Image.Image
    epoch: int


Item = TypeVar("Item", default=Loaded)


def load_picture(sample: Sample, epoch: int) -> Loaded:
    """Decode a sample's picture.

    Raises:
        PictureError: If it cannot be read.
    """
    return Loaded(sample, read_picture(sample.picture, label=sample.place), epoch)


@dataclass(frozen=True, slots=True)
class Position:
    """A consumer's place between two samples.

    Attributes:
        epoch: The epoch.
        taken: Samples before the place, good or bad: in the epoch, or in the window if there are windows.
        window: The window's number in the epoch.
        part: The window's start; see :class:`~anytag.datasets.windows.Window`.
        row: Likewise.
    """

    epoch: int = 0
    taken: int = 0
    window: int = 0
    part: int = 0
    row: int = 0


class SampleStream(Generic[Item]):
    """Samples for training, epoch after epoch.

    **Order.** If every source is indexed, each epoch is a uniform random permutation of all samples of all sources, the
    same for any number of ranks and workers. If one is streamed (or with ``shuffle="window"``), parts of sources
    (shards, row groups, runs of rows) are permuted and divided among consumers, and samples are only shuffled within
    windows.

    **Division.** See :mod:`anytag.datasets.order`: disjoint, complete, with sizes that differ by one at most. Windowed
    streams are divided by parts, so their shares may differ by more.

    **Bad samples** are logged and skipped; see :class:`~anytag.datasets.bad_samples.BadSamples`. They count as taken,
    so that they do not change the order of the others.

    **Resuming.** ``state()`` is the place after the last sample returned, whatever has been read ahead; ``restore()``
    continues with the next one. The same consumer restores its own state; for other numbers of ranks or workers see
    :func:`merge_states`.

    Only one iteration at a time; a new one continues where the last one stopped.

    Args:
        seed: Seed of the order, 0 or more.
        worker: This worker's number in the rank.
        workers: Data-loading workers per rank, not counting threads.
        shuffle: ``True``: as above; ``"window"``: by windows, whatever the sources; ``False``: in order.
        window: Samples per window, in memory as encoded pictures; up to three windows at once.
        tail: See :data:`~anytag.datasets.order.Tail`; windows support only ``keep``.
        epochs: Number of epochs; ``None``: unlimited.
        load: Converts a sample in an epoch to an item of the stream; runs in threads. A
            :class:`~anytag.errors.PictureError` or :class:`~anytag.errors.SampleError` makes the sample a bad one.
        threads: Threads that decode; 0: none, ``None``: one per processor, at most 8.
        ahead: Samples decoded ahead; ``None``: four per thread, at least 16.
        bad_share: Share of bad samples above which the stream stops.
        bad_minimum: Samples of an epoch before the share counts.
        log: Receives a record of each bad sample.

    Raises:
        UsageError: If an argument is out of range, or there are fewer samples than consumers.
    """

    def __init__(
        self,
        sources: Sequence[SampleSource],
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        workers: int = 1,
        shuffle: bool | Literal["window"] = True,
        window: int = 1024,
        tail: Tail = "keep",
        epochs: int | None = None,
        load: Callable[[Sample, int], Item] = load_picture,  # type: ignore[assignment]
        threads: int | None = None,
        ahead: int | None = None,
        bad_share: float = 0.01,
        bad_minimum: int = 200,
        log: Log | None = None,
    ):
        for name, value, count in (("rank", rank, world_size), ("worker", worker, workers)):
            if not 0 <= value < count:
                raise UsageError(f"{name} {value} of {count}: they are numbered from 0")
        if seed < 0 or window < 1 or not sources:
            raise UsageError("a stream needs a source, a seed of 0 or more, and a window of 1 or more")
        if tail not in ("keep", "drop", "pad"):
            raise UsageError(f"tail is 'keep', 'drop' or 'pad', not {tail!r}")
        self.sources = list(sources)
        self.seed, self.shuffle, self.window, self.tail, self.epochs = seed, shuffle, window, tail, epochs
        self.consumer, self.consumers = rank + world_size * worker, world_size * workers
        self.load = load
        self._threads = min(8, available_processors()) if threads is None else threads
        self._ahead = ahead or max(16, 4 * self._threads)
        self._indexed = [source for source in self.sources if isinstance(source, IndexedSource)]
        #: Whether every epoch is a permutation of all samples.
        self.is_exact = shuffle != "window" and len(self._indexed) == len(self.sources)
        self._ends = np.cumsum([len(source) for source in self._indexed]) if self.is_exact else np.zeros(0, np.int64)
        self._part_ends = np.cumsum([source.parts for source in self.sources])
        if not self.is_exact and tail != "keep":
            raise UsageError(f"tail={tail!r} needs to know how many samples there are; windowed streams do not")
        if self.is_exact and epochs is None and self.count < self.consumers:
            raise UsageError(f"{self.count} samples cannot be divided among {self.consumers} ranks and workers")
        self._position = Position()
        # By epoch, what consumers had taken in each earlier division, before the run resumed with this one.
        self._before: dict[int, list[list[int]]] = {}
        self._health = BadSamples(bad_share, bad_minimum, log)
        for problem in (problem for source in self.sources for problem in source.problems):
            self._health.failed(problem, int(self._part_ends[-1]))

    @property
    def count(self) -> int:
        """Number of samples in all sources.

        Raises:
            UsageError: If a source is streamed, and the number unknown.
        """
        if len(self._indexed) < len(self.sources):
            raise UsageError("how many samples streamed sources hold is not known before they are read")
        return sum(len(source) for source in self._indexed)

    @property
    def samples_per_epoch(self) -> int:
        """Samples that this consumer takes per epoch, including bad ones.

        Raises:
            UsageError: If the stream is windowed, and the number unknown.
        """
        if not self.is_exact:
            raise UsageError("how many samples a windowed stream gives in an epoch is not known before it is read")
        return share_size(self.count, self.consumer, self.consumers, self.tail)

    @property
    def epoch(self) -> int:
        """The epoch of the last sample returned."""
        return self._position.epoch

    def __iter__(self) -> Iterator[Item]:
        """Yield what ``load`` returns, from the current place on.

        Raises:
            DataError: If too many samples are bad.
        """
        draws = self._draw_exactly() if self.is_exact else self._draw_windows()
        parts = max(1, int(self._part_ends[-1]) // self.consumers)
        for position, result in run_ahead(draws, self._threads, self._ahead):
            self._health.begin(position.epoch)
            try:
                item = result()
            except (SampleError, PictureError) as error:
                self._position = position
                self._health.failed(error, parts)
                continue
            self._position = position
            self._health.good()
            yield item
        self._health.check_any()

    def state(self) -> dict[str, Any]:
        """Return the place after the last sample returned, JSON-serializable."""
        return {
            "version": STATE_VERSION,
            "of": self._settings(),
            "consumer": self.consumer,
            "consumers": self.consumers,
            "position": asdict(self._position),
            "before": {str(epoch): taken for epoch, taken in self._before.items() if epoch >= self._position.epoch},
            "health": self._health.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue with the sample after this consumer's own state, or after one from :func:`merge_states`.

        Raises:
            UsageError: If it is from other data, other settings, or another consumer.
        """
        if state.get("version") != STATE_VERSION:
            raise UsageError(f"a stream's state of version {state.get('version')}; this is version {STATE_VERSION}")
        refuse_other_data(self.sources, state["of"])
        for name, value in self._settings().items():
            if name not in CONTENTS and state["of"].get(name) != value:
                raise UsageError(
                    f"the stream was saved with {name} {state['of'].get(name)!r}, and cannot resume with {value!r}: "
                    "the order would change. Restore the setting, or start a new run"
                )
        if state["consumers"] is not None and (state["consumer"], state["consumers"]) != (
            self.consumer,
            self.consumers,
        ):
            raise UsageError(
                f"the state of consumer {state['consumer']} of {state['consumers']} cannot be that of {self.consumer} "
                f"of {self.consumers}; for another number of ranks or workers, join all states with merge_states"
            )
        self._position = Position(**state["position"])
        self._before = {int(epoch): taken for epoch, taken in state["before"].items()}
        self._health.restore(state["health"])

    def _settings(self) -> dict[str, Any]:
        """Return everything that determines the order."""
        shuffle = self.shuffle if self.is_exact else [self.shuffle, self.window]
        sources = [source.identity for source in self.sources]
        order = {"seed": self.seed, "shuffle": shuffle, "tail": self.tail}
        return {"sources": sources, **contents_of(self.sources), **order}

    def _epochs(self) -> Iterator[int]:
        epoch = self._position.epoch
        while self.epochs is None or epoch < self.epochs:
            yield epoch
            epoch += 1

    def _draw_exactly(self) -> Iterator[tuple[Position, Callable[[], Item]]]:
        taken = self._position.taken
        for epoch in self._epochs():
            share = self._share(epoch)
            for place in range(taken, len(share)):
                yield Position(epoch, place + 1), partial(self._make, int(share[place]), epoch)
            taken = 0

    def _share(self, epoch: int) -> Order:
        order = epoch_order(self.count, self.seed, epoch, bool(self.shuffle))
        for taken in self._before.get(epoch, ()):
            order = without_taken(order, taken)
        return share_of(order, self.consumer, self.consumers, self.tail)

    def _make(self, index: int, epoch: int) -> Item:
        number = int(np.searchsorted(self._ends, index, "right"))
        source = self._indexed[number]
        return self.load(source[index - int(self._ends[number]) + len(source)], epoch)

    def _draw_windows(self) -> Iterator[tuple[Position, Callable[[], Item]]]:
        begin = self._position
        for epoch in self._epochs():
            order = epoch_order(int(self._part_ends[-1]), self.seed, epoch, bool(self.shuffle))
            parts, slot, slots = divide_parts(order.tolist(), self.consumer, self.consumers)
            windows: Iterator[Window] = read_windows(
                self._read_part,
                parts,
                self.window,
                slot=slot,
                slots=slots,
                number=begin.window,
                part=begin.part,
                row=begin.row,
            )
            is_filled = begin.part or begin.row or begin.taken
            for window in one_ahead(windows) if self._threads else windows:
                items = window.shuffled(self.seed, epoch, self.consumer) if self.shuffle else window.items
                for place in range(begin.taken, len(items)):
                    is_filled = True
                    position = Position(epoch, place + 1, window.number, window.part, window.row)
                    yield position, partial(self._make_item, items[place], epoch)
                begin = Position()
            if not is_filled and self.epochs is None:
                raise DataError(f"{self.sources[0].identity}: an epoch has passed without a single sample")
            begin = Position()

    def _read_part(self, part: int, start: int) -> Iterator[Sample | SampleError]:
        number = int(np.searchsorted(self._part_ends, part, "right"))
        source = self.sources[number]
        return source.read(part - int(self._part_ends[number]) + source.parts, start)

    def _make_item(self, item: Sample | SampleError, epoch: int) -> Item:
        if isinstance(item, SampleError):
            raise item
        return self.load(item, epoch)


def merge_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge the states of all consumers of an exact stream, so that other numbers of ranks and workers can continue.

    Samples of the epoch that no consumer had taken are divided among the new ones; consumers may have taken different
    numbers.

    Raises:
        UsageError: If one is missing, or the stream has windows.
    """
    states = sorted(states, key=lambda state: state["consumer"] or 0)
    count = states[0]["consumers"] if states else 0
    if not count or [state["consumer"] for state in states] != list(range(count)):
        raise UsageError(f"the states of all {count or 'of a run'} ranks and workers are needed, each once")
    # Consumers forget finished epochs, so the slowest one knows all that matter.
    known = min(states, key=lambda state: int(state["position"]["epoch"]))["before"]
    if any(state["of"] != states[0]["of"] or not state["before"].items() <= known.items() for state in states):
        raise UsageError("the states belong to different runs")
    if isinstance(states[0]["of"]["shuffle"], list):
        raise UsageError("a windowed stream goes on with the same number of ranks and workers only")
    places = [state["position"] for state in states]
    first, last = min(place["epoch"] for place in places), max(place["epoch"] for place in places)
    before = {epoch: list(taken) for epoch, taken in known.items()}
    for epoch in range(first, last + 1):
        taken = [
            place["taken"] if place["epoch"] == epoch else (-1 if place["epoch"] > epoch else 0) for place in places
        ]
        before.setdefault(str(epoch), []).append(taken)
    health = [state["health"] for state in states]
    sums = {name: sum(counts[name] for counts in health) for name in ("seen", "bad", "broken_parts")}
    examples = [example for counts in health for example in counts["examples"]][:3]
    return {
        "version": STATE_VERSION,
        "of": states[0]["of"],
        "consumer": None,
        "consumers": None,
        "position": asdict(Position(epoch=first)),
        "before": before,
        "health": {**sums, "epoch": first, "examples": examples},
    }
