"""Write evaluations as JSON, CSV, and Markdown in the papers' layout with published figures beside."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path

from anytag.evaluation.evaluation import Evaluation
from anytag.evaluation.published_figures import published_maps, published_sets
from anytag.foundations.atomic_files import write_text

_MISSING = "✗"

#: Marks figures that leave out classes which the system lacks, as in RAM's table 2.
_FEWER = " +"

_METEOR_NOTE = "of 2005, as NLTK computes it; the papers print the later Java program's"


def percent(value: float) -> str:
    """Format a share in per cent, with one decimal."""
    return f"{100 * value:.1f}"


def write_tables(evaluations: Sequence[Evaluation], folder: Path, refused: Sequence[str] = ()) -> list[Path]:
    """Write ``results.json``, ``results.csv``, ``tables.md`` and a CSV of classes for each evaluation.

    Args:
        refused: Why other cells are empty, for the notes.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        "results.json": json.dumps([one.to_json() for one in evaluations], indent=1, ensure_ascii=False) + "\n",
        "results.csv": _flat(evaluations),
        "tables.md": markdown(evaluations, refused),
    }
    for one in evaluations:
        if one.classes:
            written[f"classes-{_slug(one.system)}-{_slug(one.paradigm)}-{_slug(one.benchmark)}.csv"] = _classes(one)
    for name, text in written.items():
        write_text(folder / name, text)
    return [folder / name for name in written]


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() or c in "+." else " " for c in text.lower()).split())


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([head, *([f"{c:.6g}" if isinstance(c, float) else c for c in row] for row in rows)])
    return out.getvalue()


def _flat(evaluations: Sequence[Evaluation]) -> str:
    return _csv(
        ("system", "paradigm", "benchmark", "figure", "value", "note"),
        ((one.system, one.paradigm, one.benchmark, *row) for one in evaluations for row in _figures(one)),
    )


def _figures(one: Evaluation) -> list[tuple[str, float, str]]:
    rows: list[tuple[str, float, str]] = []
    tagging = one.tagging
    if tagging is not None:
        rows += [("map_papers", tagging.map_papers, ""), ("map_distinct", tagging.map_distinct, "")]
        if tagging.map_interval:
            rows += [
                (f"map_{end}", value, "95 % of map_distinct")
                for end, value in zip(("low", "high"), tagging.map_interval, strict=True)
            ]
        record = tagging.to_json()
        for part, note in (("found", tagging.thresholds or ""), ("best", ""), ("own", "")):
            figures = record[part]
            for name, value in (figures or {}).items():
                if name != "note":
                    rows.append((f"{part}_{name}", value, note or figures.get("note", "")))
        if tagging.calibration_error is not None:
            rows.append(("calibration_error", tagging.calibration_error, ""))
    if one.captions is not None:
        rows += [(f"bleu_{order}", value, "") for order, value in enumerate(one.captions.bleu, 1)]
        rows += [("rouge_l", one.captions.rouge_l, ""), ("cider_d", one.captions.cider, "")]
        if one.captions.meteor is not None:
            rows.append(("meteor_nltk", one.captions.meteor, _METEOR_NOTE))
    if one.caption_tags is not None:
        rows += [
            ("tag_coverage", one.caption_tags.coverage, ""),
            ("hallucinated_tags", one.caption_tags.hallucinated, "an upper bound where annotations are incomplete"),
        ]
    if one.retrieval is not None:
        rows += [(f"text_recall_{k}", value, "") for k, value in one.retrieval.text.items()]
        rows += [(f"picture_recall_{k}", value, "") for k, value in one.retrieval.picture.items()]
    if one.median_rank is not None:
        rows += [("text_median_rank", one.median_rank[0], ""), ("picture_median_rank", one.median_rank[1], "")]
    rows += [("failed_pictures", float(len(one.failures)), ""), ("unscored_classes", float(len(one.unscored)), "")]
    return rows


def _classes(one: Evaluation) -> str:
    head = ("class", "positives", "average_precision", "precision", "recall", "f1", "threshold")
    return _csv(head, (astuple(row) for row in one.classes))


def markdown(evaluations: Sequence[Evaluation], refused: Sequence[str] = ()) -> str:
    """Format the papers' tables: recognition (F1, precision, recall), mean average precision, captions, retrieval.

    In the first two a published figure, if there is one, follows the measured one in brackets.
    """
    parts: list[str] = []
    if tagging := [one for one in evaluations if one.tagging is not None]:
        parts += ["## Recognition", _recognition(tagging), "## Mean average precision", _precision(tagging)]
        if any(one.unscored for one in tagging):
            parts.append(f"\\{_FEWER.strip()} classes that it lacks are left out; the notes name them.")
    if captioned := [one for one in evaluations if one.captions is not None]:
        parts += ["## Captions", _captions(captioned)]
    if retrieved := [one for one in evaluations if one.retrieval is not None]:
        parts += ["## Retrieval", _retrieval(retrieved)]
    if notes := [*_notes(evaluations), *(f"- {reason}." for reason in refused)]:
        parts += ["## Notes", "\n".join(notes)]
    return "\n\n".join(parts) + "\n"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _captions(evaluations: Sequence[Evaluation]) -> str:
    with_meteor = any(one.captions is not None and one.captions.meteor is not None for one in evaluations)
    rows = []
    for one in evaluations:
        assert one.captions is not None
        tags, meteor = one.caption_tags, one.captions.meteor
        cells = [percent(one.captions.bleu[3]), percent(one.captions.rouge_l), percent(one.captions.cider)]
        cells += [_MISSING if meteor is None else percent(meteor)] if with_meteor else []
        cells += [percent(tags.coverage), percent(tags.hallucinated)] if tags else [_MISSING, _MISSING]
        rows.append([one.system, one.title, *cells])
    metrics = ["BLEU-4", "ROUGE-L", "CIDEr-D", *(["METEOR (NLTK)"] if with_meteor else [])]
    return markdown_table(["System", "Benchmark", *metrics, "true tags named", "tags made up"], rows)


def _retrieval(evaluations: Sequence[Evaluation]) -> str:
    rows = []
    for one in evaluations:
        assert one.retrieval is not None
        recalls = ["/".join(map(percent, recall.values())) for recall in (one.retrieval.text, one.retrieval.picture)]
        rows.append([one.system, one.title, *recalls, "/".join(f"{rank:g}" for rank in one.median_rank or ())])
    return markdown_table(["System", "Benchmark", "text R@1/5/10", "picture R@1/5/10", "median rank"], rows)


def _notes(evaluations: Sequence[Evaluation]) -> list[str]:
    """List notes once if they hold for all systems on a benchmark, else with the systems' names."""
    on: dict[str, set[str]] = {}
    of: dict[tuple[str, str], dict[str, None]] = {}
    for one in evaluations:
        on.setdefault(one.title, set()).add(one.system)
        for note in one.notes:
            of.setdefault((one.title, note), {})[one.system] = None
    return [
        f"- {title}: {note}." if len(systems) == len(on[title]) > 1 else f"- {title}, {', '.join(systems)}: {note}."
        for (title, note), systems in of.items()
    ]


class _Grid:
    """Evaluations by row (system and paradigm) and column (benchmark)."""

    def __init__(self, evaluations: Sequence[Evaluation], columns: Sequence[Evaluation]):
        self.benchmarks = list(dict.fromkeys((one.benchmark, one.title) for one in columns))
        self.rows = list(dict.fromkeys((one.system, one.paradigm) for one in evaluations))
        self._cells = {(one.system, one.paradigm, one.benchmark): one for one in reversed(evaluations)}

    def __getitem__(self, cell: tuple[str, str, str]) -> Evaluation | None:
        return self._cells.get(cell)


def _beside(measured: str, published: Iterable[tuple[str, float]]) -> str:
    figures = ", ".join(f"{name}: {figure}" for name, figure in published)
    return f"{measured} ({figures})" if figures else measured


def _recognition(evaluations: Sequence[Evaluation]) -> str:
    grid = _Grid(evaluations, evaluations)
    rows = []
    for system, paradigm in grid.rows:
        cells: list[str] = []
        origins: list[str] = []
        for key, _ in grid.benchmarks:
            one = grid[system, paradigm, key]
            measured = [_MISSING] * 3
            if one is not None and one.tagging is not None and (found := one.tagging.found) is not None:
                mark = _FEWER if one.unscored else ""
                measured = [percent(value) + mark for value in (found.f1, found.precision, found.recall)]
                origins.append(one.tagging.thresholds or "")
            published = published_sets(system, paradigm, key)
            for place, cell in enumerate(measured):
                cells.append(_beside(cell, [(name, figures[place]) for name, figures in published]))
        rows.append([system, paradigm, "; ".join(dict.fromkeys(origins)) or "none", *cells])
    names = [name for _, title in grid.benchmarks for name in (f"{title} F1", "P", "R")]
    return markdown_table(["Method", "Paradigm", "Thresholds", *names], rows)


def _precision(evaluations: Sequence[Evaluation]) -> str:
    grid = _Grid([one for one in evaluations if one.paradigm != "captioning"], evaluations)
    rows = []
    for system, paradigm in grid.rows:
        cells = []
        for key, _ in grid.benchmarks:
            one = grid[system, paradigm, key]
            cell = _MISSING
            if one is not None and one.tagging is not None:
                papers, distinct = percent(one.tagging.map_papers), percent(one.tagging.map_distinct)
                cell = papers + (_FEWER if one.unscored else "")
                if one.tagging.map_interval:
                    low, high = one.tagging.map_interval
                    # The interval is of the mean over distinct classes with positives, which is often another figure.
                    cell += "" if distinct == papers else f"; classes with positives {distinct}"
                    cell += f" [{percent(low)}, {percent(high)}]"
            cells.append(_beside(cell, published_maps(system, key)))
        rows.append([system, *cells])
    return markdown_table(["Method", *(title for _, title in grid.benchmarks)], rows)
