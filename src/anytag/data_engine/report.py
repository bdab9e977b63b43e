"""What a step reports: how much went in and out, examples, failures, time."""

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
    """The report of one step, or of several that belong together.

    Attributes:
        step: Its name.
        settings: What it was asked to do.
        unit: What a unit of work is called.
        units: How many there are.
        kept: How many of them were done before and still hold.
        counts: By name: ``pictures_in``, ``pictures_out``, ``failed`` and whatever the step counts.
        examples: A few records for people.
        failures: The first of what was skipped: ``place``, ``kind``, ``reason``.
        work_seconds: Time of all units, also of those done before, added up over workers.
        wall_seconds: Time of this run.
        pictures_now: Pictures that this run went through.
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
        """Pictures that were skipped."""
        return self.counts.get("failed", 0)

    @property
    def per_second(self) -> float | None:
        """Pictures a second of this run by the wall clock; ``None`` if nothing was left to do."""
        return self.pictures_now / self.wall_seconds if self.pictures_now and self.wall_seconds else None

    def to_json(self) -> dict[str, Any]:
        """The report as it stands in ``report.json``."""
        record = asdict(self)
        record["work_seconds"], record["wall_seconds"] = round(self.work_seconds, 3), round(self.wall_seconds, 3)
        rate = self.per_second
        return record | {"pictures_per_second": None if rate is None else round(rate, 2)}

    def to_text(self) -> str:
        """The report for people."""
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
    """One report of steps that belong together: counts side by side, failures and times added up.

    The examples are those of the last step that has any.
    """
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
