"""Reports of steps: counts, examples, failures, time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anytag.foundations.atomic_files import write_text
from anytag.foundations.wording import counted

_FAILURES_SHOWN = 5


@dataclass
class StepReport:
    """The report of a step, or of several related ones.

    Attributes:
        kept: Units that were done before and are up to date.
        counts: By name: ``pictures_in``, ``pictures_out``, ``failed`` and the step's own.
        failures: The first skipped pictures: ``place``, ``kind``, ``reason``.
        work_seconds: Total time of all units, including earlier runs and all workers.
        wall_seconds: Duration of this run.
        pictures_now: Pictures processed in this run.
    """

    step: str
    settings: dict[str, Any]
    unit: str
    units: int
    kept: int
    counts: dict[str, int]
    examples: list[dict[str, Any]]
    failures: list[dict[str, str]]
    work_seconds: float
    wall_seconds: float
    pictures_now: int

    @property
    def failed(self) -> int:
        """Number of skipped pictures."""
        return self.counts.get("failed", 0)

    @property
    def per_second(self) -> float | None:
        """Pictures per second of this run; ``None`` if everything was done before."""
        return self.pictures_now / self.wall_seconds if self.pictures_now and self.wall_seconds else None

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``report.json``."""
        record = asdict(self)
        record["work_seconds"], record["wall_seconds"] = round(self.work_seconds, 3), round(self.wall_seconds, 3)
        rate = self.per_second
        return record | {"pictures_per_second": None if rate is None else round(rate, 2)}

    def to_text(self) -> str:
        """Format the report as text."""
        counts = dict(self.counts)
        into, out, failed = (counts.pop(name, 0) for name in ("pictures_in", "pictures_out", "failed"))
        done = counted(self.units, self.unit) + (f", {self.kept:,} of them done before" if self.kept else "")
        rate = self.per_second
        lines = [
            f"{self.step}: {counted(into, 'picture')} in, {out:,} out, {failed:,} failed ({done})",
            f"  time  {self.wall_seconds:,.1f} s" + (f", {rate:,.1f} pictures a second" if rate else ""),
        ]
        width = max((len(name) for name in counts), default=0)
        lines += [f"  {name.replace('_', ' '):<{width}}  {count:>12,}" for name, count in counts.items()]
        for failure in self.failures[:_FAILURES_SHOWN]:
            lines.append(f"  failed  {failure['place']}: {failure['reason']}")
        if failed > _FAILURES_SHOWN:
            lines.append(f"  failed  … and {failed - min(len(self.failures), _FAILURES_SHOWN):,} more")
        lines += [f"  example  {json.dumps(example, ensure_ascii=False)}" for example in self.examples]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path) -> None:
        """Write ``report.json`` and ``report.txt``."""
        write_text(folder / "report.json", json.dumps(self.to_json(), ensure_ascii=False, indent=1) + "\n")
        write_text(folder / "report.txt", self.to_text())


def join_reports(name: str, reports: Sequence[StepReport]) -> StepReport:
    """Join the reports of related steps: counts together, failures and times added up, the last examples."""
    counts: dict[str, int] = {}
    for report in reports:
        counts |= {name: count for name, count in report.counts.items() if name != "failed"}
    counts["failed"] = sum(report.failed for report in reports)
    return StepReport(
        step=name,
        settings={key: value for report in reports for key, value in report.settings.items()},
        unit=reports[-1].unit,
        units=reports[-1].units,
        kept=reports[-1].kept,
        counts=counts,
        examples=next((report.examples for report in reversed(reports) if report.examples), []),
        failures=[failure for report in reports for failure in report.failures],
        work_seconds=sum(report.work_seconds for report in reports),
        wall_seconds=sum(report.wall_seconds for report in reports),
        pictures_now=max(report.pictures_now for report in reports),
    )
