"""Evaluations as files: JSON and CSV for programs, Markdown in the papers' layout with published figures beside."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from anytag.evaluation.evaluation import Evaluation
from anytag.evaluation.published_figures import published_maps, published_sets
from anytag.foundations.atomic_files import write_text

_MISSING = "✗"

#: Behind figures from which classes are left out that the system lacks, as in RAM's table 2.
_FEWER = " +"

_METEOR_NOTE = "of 2005, as NLTK computes it; the papers print the later Java program's"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def write_tables(evaluations: Sequence[Evaluation], folder: Path, refused: Sequence[str] = ()) -> list[Path]:
    """Write ``results.json``, ``results.csv``, ``tables.md`` and a CSV of classes for each evaluation.

    Args:
        evaluations: What stands in them.
        folder: Where to.
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


def _flat(evaluations: Sequence[Evaluation]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["system", "paradigm", "benchmark", "figure", "value", "note"])
    for one in evaluations:
        for name, value, note in _figures(one):
            writer.writerow([one.system, one.paradigm, one.benchmark, name, f"{value:.6g}", note])
    return out.getvalue()


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
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["class", "positives", "average_precision", "precision", "recall", "f1", "threshold"])
    for row in one.classes:
        numbers = (row.average_precision, row.precision, row.recall, row.f1, row.threshold)
        writer.writerow([row.name, row.positives, *(f"{number:.6g}" for number in numbers)])
    return out.getvalue()


def markdown(evaluations: Sequence[Evaluation], refused: Sequence[str] = ()) -> str:
    """The papers' tables: recognition (F1, precision, recall) and mean average precision; then captions and retrieval.

    In every cell of the first two the measured figure stands first and the published one, if there is one, behind it
    in brackets.
    """
    lines: list[str] = []
    tagging = [one for one in evaluations if one.tagging is not None]
    if tagging:
        lines += [*_recognition(tagging), "", *_precision(tagging), ""]
        if any(one.unscored for one in tagging):
            lines += [f"\\{_FEWER.strip()} classes that it lacks are left out; the notes name them.", ""]
    if captioned := [one for one in evaluations if one.captions is not None]:
        # One column more only where it was asked for.
        with_meteor = any(one.captions is not None and one.captions.meteor is not None for one in captioned)
        names = ["System", "Benchmark", "BLEU-4", "ROUGE-L", "CIDEr-D", *(["METEOR (NLTK)"] if with_meteor else [])]
        names += ["true tags named", "tags made up"]
        lines += ["## Captions", "", f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
        for one in captioned:
            assert one.captions is not None
            tags, meteor = one.caption_tags, one.captions.meteor
            cells = [_percent(one.captions.bleu[3]), _percent(one.captions.rouge_l), _percent(one.captions.cider)]
            cells += [_MISSING if meteor is None else _percent(meteor)] if with_meteor else []
            cells += [_percent(tags.coverage), _percent(tags.hallucinated)] if tags else [_MISSING, _MISSING]
            lines.append(f"| {one.system} | {one.title} | " + " | ".join(cells) + " |")
        lines.append("")
    if found := [one for one in evaluations if one.retrieval is not None]:
        lines += ["## Retrieval", "", "| System | Benchmark | text R@1/5/10 | picture R@1/5/10 | median rank |"]
        lines.append("|---|---|---|---|---|")
        for one in found:
            assert one.retrieval is not None
            text, picture = (
                "/".join(map(_percent, part.values())) for part in (one.retrieval.text, one.retrieval.picture)
            )
            rank = "/".join(f"{value:g}" for value in one.median_rank or ())
            lines.append(f"| {one.system} | {one.title} | {text} | {picture} | {rank} |")
        lines.append("")
    notes = [*_notes(evaluations), *(f"- {reason}." for reason in refused)]
    if notes:
        lines += ["## Notes", "", *notes, ""]
    return "\n".join(lines)


def _fewer(one: Evaluation | None) -> str:
    return _FEWER if one is not None and one.unscored else ""


def _notes(evaluations: Sequence[Evaluation]) -> list[str]:
    """What is true of a benchmark once, what is true of a system with its name."""
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


def _recognition(evaluations: Sequence[Evaluation]) -> list[str]:
    benchmarks = list(dict.fromkeys((one.benchmark, one.title) for one in evaluations))
    rows = list(dict.fromkeys((one.system, one.paradigm) for one in evaluations))
    head = "| Method | Paradigm | Thresholds | " + " | ".join(f"{t} F1 | P | R" for _, t in benchmarks) + " |"
    lines = ["## Recognition", "", head, "|---|---|---|" + "---|" * 3 * len(benchmarks)]
    for system, paradigm in rows:
        cells: list[str] = []
        origins: list[str] = []
        for key, _ in benchmarks:
            one = next((e for e in evaluations if (e.system, e.paradigm, e.benchmark) == (system, paradigm, key)), None)
            published = published_sets(system, paradigm, key)
            measured = None
            if one is not None and one.tagging is not None and one.tagging.found is not None:
                found = one.tagging.found
                measured = (found.f1, found.precision, found.recall)
                origins.append(one.tagging.thresholds or "")
            for place in range(3):
                shown = _MISSING if measured is None else _percent(measured[place]) + _fewer(one)
                beside = ", ".join(f"{name}: {figures[place]}" for name, figures in published)
                cells.append(f"{shown} ({beside})" if beside else shown)
        origin = "; ".join(dict.fromkeys(origins)) or "none"
        lines.append(f"| {system} | {paradigm} | {origin} | " + " | ".join(cells) + " |")
    return lines


def _precision(evaluations: Sequence[Evaluation]) -> list[str]:
    benchmarks = list(dict.fromkeys((one.benchmark, one.title) for one in evaluations))
    ranked = [one for one in evaluations if one.paradigm != "captioning"]
    rows = list(dict.fromkeys((one.system, one.paradigm) for one in ranked))
    lines = ["## Mean average precision", ""]
    lines += ["| Method | " + " | ".join(title for _, title in benchmarks) + " |", "|---|" + "---|" * len(benchmarks)]
    for system, paradigm in rows:
        cells = []
        for key, _ in benchmarks:
            one = next((e for e in ranked if (e.system, e.paradigm, e.benchmark) == (system, paradigm, key)), None)
            shown = _MISSING
            if one is not None and one.tagging is not None:
                papers, distinct = _percent(one.tagging.map_papers), _percent(one.tagging.map_distinct)
                shown = papers + _fewer(one)
                if one.tagging.map_interval:
                    low, high = one.tagging.map_interval
                    # The interval is of the mean over distinct classes with positives, which is often another figure.
                    shown += "" if distinct == papers else f"; classes with positives {distinct}"
                    shown += f" [{_percent(low)}, {_percent(high)}]"
            beside = ", ".join(f"{name}: {figure}" for name, figure in published_maps(system, key))
            cells.append(f"{shown} ({beside})" if beside else shown)
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return lines
