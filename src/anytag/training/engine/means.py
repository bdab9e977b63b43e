"""Means of a loss's parts over steps, micro-batches and processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from anytag.training.engine.distributed import Strategy


class Means:
    """Gathers the parts of the loss between two lines of the log.

    A part that some steps, micro-batches or processes do not have (no caption among their pictures) is the mean over
    those that do. A part that is a sum over pictures is added up over the pieces of a batch, so that it is the same
    however the batch is divided.

    Args:
        strategy: How processes share the run.
        summed: Names of parts that are sums over pictures.

    Attributes:
        steps: How many were added.
    """

    def __init__(self, strategy: Strategy, summed: Collection[str] = ()):
        self.strategy, self.summed = strategy, summed
        self._clear()

    def _clear(self) -> None:
        self.steps = 0
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, parts: Sequence[Mapping[str, float]]) -> None:
        """Take in a step: the parts of each of its micro-batches in this process."""
        self.steps += 1
        for name in dict.fromkeys(name for own in parts for name in own):
            values = [own[name] for own in parts if name in own]
            value = sum(values) if name in self.summed else sum(values) / len(values)
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, count + 1

    def take(self) -> dict[str, float]:
        """The means since the last call; all processes must ask together."""
        gathered = self.strategy.gathered(self._sums)
        self._clear()
        means: dict[str, float] = {}
        for name in dict.fromkeys(name for own in gathered for name in own):
            entries = [own[name] for own in gathered if name in own]
            own = [total / count for total, count in entries]
            means[name] = sum(own) if name in self.summed else sum(own) / len(own)
        return means
