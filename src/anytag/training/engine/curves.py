"""The curves of a run as a picture: a chart for each loss and each figure of validation, over its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anytag.evaluation.charts import chart_grid, measured_chart
from anytag.foundations.atomic_files import write_text

#: Of a record, what says where the run is.
PLACE = ("time", "step", "stage", "final", "epoch")

#: What a step costs; the charts leave it out.
COST = ("seconds", "pictures_per_second", "memory")


def draw_curves(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write an SVG of a log's curves, whole or not at all; nothing while there are none.

    Args:
        records: Of the log, in order. Figures of training are means since the record before; those of a final
            validation, which is more thorough, are not part of the curve.
        path: The file.
    """
    if curves := find_curves(records):
        write_text(path, chart_grid([measured_chart([(name, *curve)], "step", name) for name, curve in curves.items()]))


def find_curves(records: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values of every figure by name, losses first: ``tagging``, ``validation map``."""
    losses: dict[str, tuple[list[int], list[float]]] = {}
    figures: dict[str, tuple[list[int], list[float]]] = {}
    for record in records:
        if record.get("final"):
            continue
        validation = record.get("validation")
        named = {name: value for name, value in record.items() if name not in PLACE and name not in COST}
        if validation:
            named = {f"validation {name}": value for name, value in validation.items()}
        for name, value in named.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                steps, values = (figures if validation else losses).setdefault(name, ([], []))
                steps.append(record["step"])
                values.append(float(value))
    return losses | figures
