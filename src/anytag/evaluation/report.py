"""The HTML report: one file with figures, plots, the worst classes, and pictures of the worst errors."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anytag.errors import PictureError
from anytag.evaluation.benchmarks.benchmark import Benchmark
from anytag.evaluation.charts import bar_chart, histogram, line_chart
from anytag.evaluation.evaluation import Detail, Evaluation
from anytag.evaluation.figures import TUNED_ON_TEST
from anytag.evaluation.published_figures import published_maps, published_sets
from anytag.evaluation.ranking import RankedScores
from anytag.evaluation.tables import percent
from anytag.foundations.atomic_files import write_text
from anytag.foundations.wording import counted, listed
from anytag.pictures import read_picture

#: Numbers of classes in the table of the worst, of curves in the plot, and of pictures of each kind of error.
_WORST, _CURVES, _ERRORS = 15, 4, 6

#: Annotations listed below a picture.
_TRUE = 6

#: Side of the small pictures, in pixels.
_SIDE = 143

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ccc; } h3 { font-size: 1em; }
table { border-collapse: collapse; margin: 1em 0; } th, td { padding: .25em .7em; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr:nth-child(even) td { background: #f6f6f6; }
.plots { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0; } figcaption { font-size: .85em; color: #555; }
.errors { display: flex; flex-wrap: wrap; gap: .8em; } .errors figure { width: 143px; }
img { display: block; margin-bottom: .3em; }
.note { color: #555; font-size: .9em; }
"""


def write_report(parts: Sequence[tuple[Evaluation, Detail | None, Benchmark]], path: Path) -> None:
    """Write the report of evaluations to an HTML file.

    Args:
        parts: Evaluations, with details of those of tagging, and their benchmarks, for the pictures.
        path: The file, which is written whole or not at all.
    """
    body = ["<h1>anytag evaluate</h1>", *_overview([one for one, _, _ in parts])]
    for number, (one, detail, benchmark) in enumerate(parts):
        body += _section(number, one, detail, benchmark)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>anytag evaluate</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
    write_text(path, page)


def _overview(evaluations: Sequence[Evaluation]) -> list[str]:
    rows = []
    for number, one in enumerate(evaluations):
        published = ", ".join(f"{name} {figure}" for name, figure in published_maps(one.system, one.benchmark))
        cells = ["–"] * 6
        if one.tagging is not None:
            found = one.tagging.found
            if one.paradigm != "captioning":  # The categories that a caption names have no order.
                cells[:2] = percent(one.tagging.map_papers), html.escape(published) or "–"
            if found is not None:
                cells[2:5] = map(percent, (found.f1, found.precision, found.recall))
        if one.captions is not None:
            cells[5] = f"CIDEr-D {percent(one.captions.cider)}"
        if one.retrieval is not None:
            cells[5] = f"R@1 {percent(one.retrieval.text[1])} (text), {percent(one.retrieval.picture[1])} (picture)"
        system = f'<a href="#part-{number}">{html.escape(one.system)}</a> ({one.paradigm})'
        rows.append([system, html.escape(one.title), *cells])
    head = ("system", "benchmark", "mAP", "published mAP", "F1", "P", "R", "captions, retrieval")
    return ["<h2>Overview</h2>", _table(head, rows)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"<td>{'</td><td>'.join(cells)}</td>" for cells in rows]
    return f"<table><tr><th>{'</th><th>'.join(head)}</th></tr><tr>{'</tr><tr>'.join(lines)}</tr></table>"


def _section(number: int, one: Evaluation, detail: Detail | None, benchmark: Benchmark) -> list[str]:
    what = "captions" if one.captions is not None else "retrieval" if one.retrieval is not None else one.paradigm
    body = [f'<h2 id="part-{number}">{html.escape(one.system)} ({what}) on {html.escape(one.title)}</h2>']
    body += [f'<p class="note">{html.escape(note)}.</p>' for note in one.notes]
    if one.captions is not None:
        bleu = ", ".join(map(percent, one.captions.bleu))
        meteor = "" if one.captions.meteor is None else f"; METEOR (NLTK) {percent(one.captions.meteor)}"
        body.append(
            f"<p>BLEU-1 to 4: {bleu}; ROUGE-L {percent(one.captions.rouge_l)}; "
            f"CIDEr-D {percent(one.captions.cider)}{meteor}.</p>"
        )
    if one.caption_tags is not None:
        body.append(
            f"<p>Captions name {percent(one.caption_tags.coverage)} % of the annotated tags; "
            f"{percent(one.caption_tags.hallucinated)} % of the tags that they name are not annotated.</p>"
        )
    if one.retrieval is not None:
        text, picture = (
            ", ".join(f"R@{k} {percent(value)}" for k, value in part.items())
            for part in (one.retrieval.text, one.retrieval.picture)
        )
        ranks = f" Median ranks {one.median_rank[0]:g} and {one.median_rank[1]:g}." if one.median_rank else ""
        body.append(f"<p>Texts for a picture: {text}. Pictures for a text: {picture}.{ranks}</p>")
    if one.tagging is not None and detail is not None:
        body += _tagging(one, detail, benchmark)
    return body


def _tagging(one: Evaluation, detail: Detail, benchmark: Benchmark) -> list[str]:
    tagging = one.tagging
    assert tagging is not None
    rows = []
    for name, figures, note in (
        ("reported", tagging.found, tagging.thresholds or ""),
        ("best common threshold", tagging.best, TUNED_ON_TEST),
        ("best threshold per class", tagging.own, TUNED_ON_TEST),
    ):
        if figures is not None:
            values = (figures.f1, figures.precision, figures.recall, figures.mean_f1, figures.micro_f1)
            rows.append([name, *map(percent, values), html.escape(note)])
    interval = ""
    if tagging.map_interval:
        interval = f" (95 % interval {percent(tagging.map_interval[0])} to {percent(tagging.map_interval[1])})"
    error = "" if tagging.calibration_error is None else f" Calibration error {tagging.calibration_error:.3f}."
    beside = ", ".join(
        f"{name}: F1 {f1}, P {p}, R {r}" for name, (f1, p, r) in published_sets(one.system, one.paradigm, one.benchmark)
    )
    ranked = (
        f" Mean average precision {percent(tagging.map_papers)} as the papers define it, "
        f"{percent(tagging.map_distinct)}{interval} over distinct classes with positives.{error}"
    )
    body = [
        f"<p>{counted(tagging.pictures, 'picture')}, {counted(tagging.classes, 'class')}, "
        f"{counted(tagging.positives, 'positive')}.{'' if one.paradigm == 'captioning' else ranked}</p>",
        f"<p>Published: {html.escape(beside)}.</p>" if beside else "",
        _table(("", "F1", "P", "R", "mean F1", "micro F1", "threshold"), rows),
        '<div class="plots">',
    ]
    if one.paradigm != "captioning":  # A caption names a category or does not: there is nothing to tune or draw.
        body.append(
            _figure(_curves(one, detail), "Precision and recall: all pairs together; classes from best to worst")
        )
        chart = histogram(detail.scores[detail.known], detail.targets[detail.known])
        body.append(_figure(chart, "Scores of true and untrue pairs"))
    if tagging.kinds:
        kinds = list(tagging.kinds)
        series = [
            (label, [tagging.kinds[kind][key] for kind in kinds])
            for label, key in (("AP", "map"), ("recall", "recall"), ("ever found", "covered"))
        ]
        body.append(_figure(bar_chart(kinds, series, "mean over classes"), "By kind of class"))
    body.append("</div>")
    wrong = (row for row in one.classes if row.positives and row.average_precision + row.recall < 2)
    worst = sorted(wrong, key=lambda row: (row.average_precision, row.f1))[:_WORST]
    if worst:
        rows = [
            [
                html.escape(row.name),
                f"{row.positives:,}",
                *map(percent, (row.average_precision, row.precision, row.recall)),
            ]
            for row in worst
        ]
        body.append(f"<h3>Worst classes</h3>{_table(('class', 'positives', 'AP', 'P', 'R'), rows)}")
    body += _errors(one, detail, benchmark)
    return body


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _curves(one: Evaluation, detail: Detail) -> str:
    """Draw curves of all checked pairs together, and of classes from the best to the worst."""
    known = detail.known
    place = {name: column for column, name in enumerate(detail.names)}
    classes = [row for row in one.classes if detail.targets[known[:, place[row.name]], place[row.name]].any()]
    order = [row.name for row in sorted(classes, key=lambda row: -row.average_precision)]
    chosen = [
        order[number] for number in np.unique(np.linspace(0, len(order) - 1, min(_CURVES, len(order))).astype(int))
    ]
    parts = [("all pairs", detail.scores[known], detail.targets[known])]
    for name in chosen:
        column, rows = place[name], known[:, place[name]]
        parts.append((name, detail.scores[rows, column], detail.targets[rows, column]))
    lines = []
    for name, scores, targets in parts:
        ranked = RankedScores(scores[:, None], targets[:, None])
        _, predicted, correct = ranked.curve(0)
        lines.append((name, correct / ranked.positives[0], correct / predicted))
    return line_chart(lines, "recall", "precision")


def _errors(one: Evaluation, detail: Detail, benchmark: Benchmark) -> list[str]:
    """Show the most confident errors of both kinds, each class and picture once."""
    body = []
    limits = {row.name: row.threshold for row in one.classes}
    margins = detail.scores - np.array([limits.get(name, np.inf) for name in detail.names], np.float32)
    margins = np.where(np.isfinite(margins) & detail.known, margins, 0)  # Others may not be errors.

    def describe(row: int, column: int) -> str:
        name = detail.names[column]
        true = [detail.names[place] for place in np.flatnonzero(detail.targets[row])]
        score = "" if one.paradigm == "captioning" else f" {detail.scores[row, column]:.3f}, limit {limits[name]:.3f}"
        where = html.escape(Path(benchmark.pictures.name(int(detail.rows[row]))).name)
        annotated = html.escape(listed(true, _TRUE)) or "nothing"
        return f"<b>{html.escape(name)}</b>{score}<br>annotated: {annotated}<br>{where}"

    for title, pairs in (
        ("Found, but not annotated (annotations may be incomplete)", np.where(detail.targets, -np.inf, margins)),
        ("Annotated, but missed", np.where(detail.targets, -margins, -np.inf)),
    ):
        examples: list[str] = []
        used: set[tuple[str, int]] = set()
        for flat in np.argsort(-pairs, axis=None)[: 50 * _ERRORS]:
            row, column = divmod(int(flat), pairs.shape[1])
            if pairs[row, column] <= 0 or len(examples) == _ERRORS:
                break
            if ("picture", row) in used or ("class", column) in used:
                continue
            picture = _thumbnail(benchmark, int(detail.rows[row]))
            if picture is None:
                continue
            used |= {("picture", row), ("class", column)}
            examples.append(
                f'<figure><img src="{picture}" alt=""><figcaption>{describe(row, column)}</figcaption></figure>'
            )
        if examples:
            body.append(f'<h3>{html.escape(title)}</h3><div class="errors">{"".join(examples)}</div>')
    return body


def _thumbnail(benchmark: Benchmark, row: int) -> str | None:
    try:
        picture = read_picture(benchmark.pictures.source(row), label=benchmark.pictures.name(row))
    except PictureError:
        return None
    picture.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
