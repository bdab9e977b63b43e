"""Results of the claims as Markdown: one table per claim, and its verdict in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import mean, stdev
from typing import Any

from _claims_config import CLAIMS, Claim, Comparison, default_config

Entry = dict[str, Any]
_SEEDS = 3  # Fewer are not enough for a verdict.


def render(record: dict[str, Any], steps: int | None = None) -> str:
    """Render all claims with results.

    Args:
        record: The JSON of the results.
        steps: Show the results of this budget. ``None``: for each claim the budget with results for the most
            arms, then the one with the most seeds (three are enough), then the largest.
    """
    parts = []
    for name, claim in CLAIMS.items():
        entries = [entry for entry in record["results"] if entry["claim"] == name]
        chosen = _fullest(entries) if steps is None else steps
        entries = [entry for entry in entries if entry["steps"] == chosen]
        if entries:
            parts.append(_claim(claim, entries, default_config().training.batch_size))
    return "\n\n".join(parts) + "\n" if parts else "No results yet.\n"


def _fullest(entries: Sequence[Entry]) -> int | None:
    """The default budget of :func:`render`; ``None`` if there are no results."""
    seeds: dict[int, Counter[str]] = {}
    for entry in entries:
        seeds.setdefault(entry["steps"], Counter())[entry["arm"]] += 1

    def fullness(steps: int) -> tuple[int, int, int]:
        # Three seeds are enough; a fourth should not take precedence over a larger budget.
        return len(seeds[steps]), sum(min(n, _SEEDS) for n in seeds[steps].values()), steps

    return max(seeds, key=fullness, default=None)


def _claim(claim: Claim, entries: Sequence[Entry], batch: int) -> str:
    arms = [arm for arm in claim.arms if any(entry["arm"] == arm for entry in entries)]
    columns = list(dict.fromkeys(column for arm in claim.arms.values() for column in arm.figures))
    columns = [c for c in columns if any(c in entry["figures"] for entry in entries)]
    lines = [f"### {claim.title}", ""]
    if claim.note:
        lines += [claim.note, ""]
    lines += ["| | seeds | steps | " + " | ".join(columns) + " |", "|---|---|---|" + "---|" * len(columns)]
    for arm in arms:
        own = [entry for entry in entries if entry["arm"] == arm]
        cells = [spread([entry["figures"][c] for entry in own if c in entry["figures"]]) for c in columns]
        lines.append(f"| {arm} | {len(own)} | {own[0]['trained_steps']} | " + " | ".join(cells) + " |")
    verdicts = [verdict(comparison, entries) for comparison in claim.comparisons]
    lines += ["", f"Mean and standard deviation over seeds; {batch} pictures per step.", ""]
    lines += [f"- {text}" for text in verdicts if text]
    return "\n".join(lines)


def spread(values: Sequence[float | None]) -> str:
    """Format ``mean ± standard deviation``, a single value without deviation, or an empty string for no values."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    shown = f"{mean(known):.3f}" if mean(known) < 10 else f"{mean(known):.1f}"
    return shown if len(known) < 2 else f"{shown} ± {stdev(known):.3f}"


def differences(comparison: Comparison, entries: Sequence[Entry]) -> list[float]:
    """Differences in favor of the arm that should be better, for each seed that both have."""
    values: dict[str, dict[int, float]] = {comparison.better: {}, comparison.worse: {}}
    for entry in entries:
        value = entry["figures"].get(comparison.column)
        if entry["arm"] in values and value is not None:
            values[entry["arm"]][entry["seed"]] = value
    better, worse = values.values()
    return [better[seed] - worse[seed] for seed in sorted(better.keys() & worse.keys())]


def verdict(comparison: Comparison, entries: Sequence[Entry]) -> str:
    """Return the verdict of a comparison in a sentence; empty if there is nothing to compare.

    Seeds are compared in pairs with the same initial weights and order of pictures. A claim holds if all of at
    least three seeds agree and the mean difference exceeds twice its standard error.
    """
    found = differences(comparison, entries)
    if not found:
        return ""
    what = f"{comparison.column}: {comparison.better} against {comparison.worse}, {mean(found):+.3f}"
    if len(found) < _SEEDS:
        return f"{what} ({len(found)} of three seeds: not decided)."
    error = stdev(found) / len(found) ** 0.5
    clear = abs(mean(found)) > 2 * error and len({value > 0 for value in found}) == 1
    if not clear:
        return f"{what} ± {error:.3f}: **not decided** at this scale (seeds differ by more than the arms)."
    if mean(found) > 0:
        return f"{what} ± {error:.3f}: holds."
    return f"{what} ± {error:.3f}: **does not hold at this scale**; the opposite was measured."


def missing(record: dict[str, Any], claim: str, steps: int, seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Arms and seeds of a claim without results, seed by seed."""
    done = {(e["arm"], e["seed"]) for e in record["results"] if e["claim"] == claim and e["steps"] == steps}
    for seed in seeds:
        for arm in CLAIMS[claim].arms:
            if (arm, seed) not in done:
                yield arm, seed
