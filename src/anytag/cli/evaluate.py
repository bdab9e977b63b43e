"""``anytag evaluate``: evaluate models and baselines on the papers' benchmarks, or on your labeled pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Exit, Option

from anytag.cli._commands import refuse, refuse_all_but
from anytag.cli._output import echo, log, write_table
from anytag.cli._shared import progress
from anytag.errors import AnytagError, UsageError, needs_extra
from anytag.foundations.wording import counted
from anytag.language.tags.name_files import read_name_lines

if TYPE_CHECKING:
    from anytag.evaluation.benchmarks.benchmark import Benchmark
    from anytag.evaluation.captioning import Metric
    from anytag.evaluation.evaluation import Detail, Evaluation, TagIndicators, ThresholdChoice
    from anytag.evaluation.systems import ModelSystem, System

_Models = Annotated[
    list[str] | None,
    Option(help="Model directory or hub id; repeatable. DIR:captions evaluates the tags in its captions."),
]


def evaluate(
    model: _Models = None,
    benchmark: Annotated[
        list[str] | None,
        Option(help="Name of a benchmark, or a folder, CSV, COCO JSON or shards with labels; repeatable."),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        Option(help="Model to compare with: NAME, NAME=PATH or NAME=hub:OWNER/NAME[,option=value]; repeatable."),
    ] = None,
    list_: Annotated[bool, Option("--list", help="List benchmarks and baselines, and what is missing.")] = False,
    annotations: Annotated[Path, Option(help="Folder of the benchmarks' annotation files.")] = Path(),
    weights: Annotated[Path, Option(help="Folder of weights for --baseline, before the hub's cache.")] = Path(),
    pictures: Annotated[
        list[str] | None,
        Option(help="Folder of the benchmarks' pictures, or NAME=FOLDER for one benchmark; repeatable."),
    ] = None,
    categories: Annotated[
        Path | None, Option(help="Your pictures: only the labels in this file, one per line.")
    ] = None,
    out: Annotated[Path | None, Option(help="Folder for tables, the report, and stored scores.")] = None,
    threshold: Annotated[float | None, Option(help="One threshold for all classes.")] = None,
    validation: Annotated[
        str | None, Option(help="Fit the threshold on these labeled pictures (as --benchmark).")
    ] = None,
    tune_on_test: Annotated[
        bool,
        Option("--tune-on-test", help="Fit the threshold on the test set, as the papers did; noted in the tables."),
    ] = False,
    per_class: Annotated[bool, Option("--per-class", help="Fit a threshold for each class.")] = False,
    standardize: Annotated[
        bool,
        Option("--standardize", help="Add a row with scores standardized per class and picture (alignment models)."),
    ] = False,
    bootstrap: Annotated[int, Option(min=0, help="Bootstrap samples for a confidence interval of mAP.")] = 0,
    tags_from: Annotated[
        str | None, Option(help="For retrieval: a model whose tags raise scores if picture and text share them.")
    ] = None,
    tag_weight: Annotated[float, Option(help="--tags-from: weight of a shared tag.")] = 0.02,
    meteor: Annotated[bool, Option("--meteor", help="Captions: METEOR, too (needs NLTK and WordNet).")] = False,
    limit: Annotated[int | None, Option(min=1, help="Only the first pictures, for a quick test.")] = None,
    suite: Annotated[str | None, Option(help="mini: train and compare the paradigms in miniature (hours).")] = None,
    data: Annotated[Path | None, Option(help="--suite: folder with coco20k, coco_report and world.")] = None,
    budget: Annotated[int | None, Option(min=1, help="--suite: pictures per training run. (default: 36,000)")] = None,
) -> None:
    """Evaluate models and baselines: precision, recall, captions and retrieval, next to the papers' figures.

    Scores are stored, so that the same command continues after a kill, and thresholds change without running a model.

    Example: anytag evaluate --model lite --benchmark my_labels.csv --out evaluation
    """
    if list_:
        refuse_all_but(("--list", "--annotations", "--weights"), "has no effect on --list; leave it out")
        _list(annotations, weights)
        return
    if suite is not None:
        refuse_all_but(("--suite", "--data", "--out", "--budget"), "has no effect on --suite; leave it out")
        _run_suite(suite, data, out, budget)
        return
    refuse(("--data", "--budget"), "goes with --suite")
    if not benchmark or not (model or baseline):
        raise UsageError("give --benchmark and --model or --baseline; --list names what there is")
    if not baseline:
        refuse(("--weights",), "is where --baseline looks for weights; leave it out")
    if tags_from is None:
        refuse(("--tag-weight",), "is about the model that --tags-from names")
    if validation is None and not tune_on_test:
        refuse(("--per-class",), "is about thresholds that are fitted; add --validation or --tune-on-test")
    folder = _own_folder(out)
    from anytag.evaluation.baselines.registry import open_baseline
    from anytag.evaluation.benchmarks.registry import BENCHMARKS, open_benchmark, open_validation
    from anytag.evaluation.evaluation import TagIndicators, ThresholdChoice
    from anytag.evaluation.meteor import Meteor
    from anytag.evaluation.report import write_report
    from anytag.evaluation.tables import write_tables

    # Report what is missing before anything runs.
    metric = Meteor() if meteor else None
    wanted = None if categories is None else [name for name, _ in read_name_lines(categories, "categories")]
    benchmark = list(dict.fromkeys(benchmark))
    folders = _picture_folders(pictures or [], [*benchmark, *([validation] if validation else [])])

    opened = [open_benchmark(name, annotations, folders.get(name), wanted) for name in benchmark]
    keys = [one.key for one in opened]
    opened = [
        replace(one, key=name, title=name) if keys.count(one.key) > 1 else one
        for one, name in zip(opened, benchmark, strict=True)
    ]
    _refuse_unmeasured(opened, named=all(name in BENCHMARKS for name in benchmark))
    if limit is not None:
        opened = [_first(one, limit) for one in opened]

    def thresholds_for(one: Benchmark) -> ThresholdChoice:
        held_out = None
        if validation is not None and one.task == "tagging":
            held_out = open_validation(validation, one, annotations, folders.get(validation))
            for note in held_out.notes:
                log(f"validation: {note}")
        return ThresholdChoice(threshold, held_out, tune_on_test, per_class)

    choices = [thresholds_for(one) for one in opened]
    tags = None if tags_from is None else TagIndicators(_open_model(tags_from), tag_weight)
    models, rivals = list(dict.fromkeys(model or ())), list(dict.fromkeys(baseline or ()))
    systems: list[System] = [_open_model(name) for name in models]
    systems += [open_baseline(spec, weights) for spec in rivals]
    if not any(system.paradigm == "alignment" for system in systems):
        refuse(("--standardize",), "is for alignment models such as CLIP; give one as --baseline")
    titles = [(system.title, system.paradigm) for system in systems]
    for system, name in zip(systems, (*models, *rivals), strict=True):
        if titles.count((system.title, system.paradigm)) > 1:  # Tables identify rows by their names.
            system.title = f"{system.title}: {name}"
    for one in opened:
        for note in one.notes:
            log(f"{one.title}: {note}")
    parts: list[tuple[Evaluation, Detail | None, Benchmark]] = []
    refused: list[str] = []
    for system in systems:
        for one, choice in zip(opened, choices, strict=True):
            try:
                made = _measure(system, one, folder, choice, bootstrap, standardize, tags, metric)
            except AnytagError as error:
                if len(systems) * len(opened) == 1:
                    raise
                # One cell that cannot be filled, such as captions of a detector, does not stop the others.
                refused.append(f"{one.title}, {system.title} ({system.paradigm}): {error}")
                log(refused[-1])
                continue
            for part, _, _ in made:
                _print_evaluation(part)
            parts += made
    if not parts:
        raise UsageError(f"none of {len(systems) * len(opened)} cells could be filled")
    written = write_tables([part[0] for part in parts], folder, refused)
    write_report(parts, folder / "report.html")
    echo(f"written: {', '.join(str(path) for path in (*written[:3], folder / 'report.html'))}")
    if refused:
        log(f"{len(refused)} of {len(systems) * len(opened)} cells could not be filled; the notes say why")
        raise Exit(1)


def _refuse_unmeasured(opened: Sequence[Benchmark], named: bool) -> None:
    tasks = {one.task for one in opened}
    if "tagging" not in tasks:
        options = ("--threshold", "--validation", "--tune-on-test", "--per-class", "--standardize", "--bootstrap")
        refuse(options, "is about tagging, and no --benchmark measures that")
    if "retrieval" not in tasks:
        refuse(("--tags-from",), "is about retrieval, and no --benchmark measures that")
    if not any(one.captions for one in opened) or tasks == {"retrieval"}:
        refuse(("--meteor",), "is about captions, and no --benchmark has any to compare with")
    if named:
        refuse(("--categories",), "is about pictures of your own; named benchmarks have their classes")


def _first(benchmark: Benchmark, limit: int) -> Benchmark:
    """Return a benchmark's first pictures, with a note for the tables."""
    count = len(benchmark.pictures)
    if limit >= count:
        return benchmark
    note = f"only the first {limit:,} of {count:,} pictures, so figures are not those of the benchmark"
    kept = benchmark.select(range(limit))
    return replace(kept, title=f"{benchmark.title}, first {limit:,}", notes=(*benchmark.notes, note))


def _picture_folders(given: list[str], wanted: Sequence[str]) -> dict[str, Path]:
    """Return folders of pictures by benchmark.

    A folder without a name applies to all benchmarks that have none of their own. It applies to the user's own files
    only if no known benchmark is among them, since such files usually have their pictures beside them.

    Args:
        given: ``FOLDER`` or ``NAME=FOLDER``.
        wanted: The benchmarks to open.

    Raises:
        UsageError: If a folder is missing, given twice, or for a benchmark that is not wanted.
    """
    from anytag.evaluation.benchmarks.registry import BENCHMARKS

    folders: dict[str, Path] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        key, folder = (name, Path(rest)) if equals and name in {*BENCHMARKS, *wanted} else ("", Path(text))
        if key and key not in wanted:
            raise UsageError(f"--pictures {text} has no effect: {key} is not among the benchmarks")
        if not folder.is_dir():
            raise UsageError(f"--pictures {text}: there is no such folder")
        if key in folders:
            raise UsageError(
                f"--pictures {text}: {folders[key]} was given before; write NAME=FOLDER for each benchmark"
            )
        folders[key] = folder
    if "" in folders:
        others = [name for name in wanted if name in BENCHMARKS] or wanted
        folders = dict.fromkeys(others, folders.pop("")) | folders
    return folders


def _open_model(name: str) -> ModelSystem:
    from anytag.evaluation.systems import ModelSystem
    from anytag.inference.recognizer import load

    where, colon, kind = name.rpartition(":")
    as_captioner = bool(colon) and kind == "captions"
    place = where if as_captioner else name
    return ModelSystem(load(None if place == "lite" else place), as_captioner=as_captioner)


def _measure(
    system: System,
    benchmark: Benchmark,
    out: Path,
    choice: ThresholdChoice,
    rounds: int,
    standardize: bool,
    tags: TagIndicators | None,
    meteor: Metric | None,
) -> list[tuple[Evaluation, Detail | None, Benchmark]]:
    from anytag.evaluation.evaluation import evaluate_captioning, evaluate_retrieval, evaluate_tagging

    with progress(len(benchmark.pictures)) as advance:
        if benchmark.task == "captioning":
            return [(evaluate_captioning(system, benchmark, out, advance, meteor), None, benchmark)]
        if benchmark.task == "retrieval":
            found = [(evaluate_retrieval(system, benchmark, out, advance), None, benchmark)]
            if tags is not None:
                found.append((evaluate_retrieval(system, benchmark, out, tags=tags), None, benchmark))
            return [*found]
        made: list[tuple[Evaluation, Detail | None, Benchmark]] = [
            (*evaluate_tagging(system, benchmark, out, choice, rounds=rounds, advance=advance), benchmark)
        ]
    if standardize and system.paradigm == "alignment":
        made.append((*evaluate_tagging(system, benchmark, out, choice, rounds=rounds, standardize=True), benchmark))
    if system.paradigm == "captioning" and benchmark.captions:
        with progress(len(benchmark.pictures)) as advance:
            made.append((evaluate_captioning(system, benchmark, out, advance, meteor), None, benchmark))
    return made


def _print_evaluation(one: Evaluation) -> None:
    what = f"{one.system} ({one.paradigm}) on {one.title}"
    if one.tagging is not None:
        figures = []
        if one.paradigm != "captioning":  # What a caption names has no order.
            papers, distinct = (f"{100 * value:.1f}" for value in (one.tagging.map_papers, one.tagging.map_distinct))
            beside = "" if papers == distinct else f" as the papers define it, {distinct} of classes with positives"
            figures.append(f"mAP {papers}{beside}")
        if one.tagging.found is not None:
            found = one.tagging.found
            figures.append(
                f"F1 {100 * found.f1:.1f} (P {100 * found.precision:.1f}, R {100 * found.recall:.1f}; "
                f"{one.tagging.thresholds})"
            )
        if one.unscored:
            wanted = one.tagging.classes + len(one.unscored)
            figures.append(f"without {len(one.unscored)} of {wanted} classes, which it lacks")
        echo(f"{what}: {', '.join(figures)}")
    if one.captions is not None:
        scores = f"{what}: CIDEr-D {100 * one.captions.cider:.1f}, BLEU-4 {100 * one.captions.bleu[3]:.1f}"
        echo(scores if one.captions.meteor is None else f"{scores}, METEOR (NLTK) {100 * one.captions.meteor:.1f}")
    if one.retrieval is not None:
        text, picture = one.retrieval.text, one.retrieval.picture
        echo(f"{what}: text R@1 {100 * text[1]:.1f}, picture R@1 {100 * picture[1]:.1f}")
    if one.failures:
        log(f"{what}: {counted(len(one.failures), 'picture')} could not be read; the first: {one.failures[0].message}")


def _list(annotations: Path, weights: Path) -> None:
    from anytag.evaluation.baselines.registry import BASELINES, find_weights
    from anytag.evaluation.benchmarks.registry import BENCHMARKS, missing_files
    from anytag.model.directory import pulled_model
    from anytag.model.families import THRESHOLDS as OFFICIAL

    rows = []
    for key, entry in BENCHMARKS.items():
        missing = missing_files(entry, annotations)
        size = f"{entry.pictures:,}" if entry.pictures else ""
        state = f"lacks {', '.join(missing)}" if missing else "annotations are here"
        rows.append([key, entry.task, size, str(entry.classes or ""), state, entry.needs])
    write_table(rows, ["benchmark", "task", "pictures", "classes", f"in {annotations}", "needs"], right=(2, 3))
    echo("")
    rivals = []
    for key, rival in BASELINES.items():
        options = "".join(f",{option}=…" for option in rival.needs)
        found = find_weights(rival, weights)
        state = f"here: {found[0]}" if found else "not here"
        rivals.append([key, rival.paradigm, f"{key}=PATH{options}", state, rival.weights])
    write_table(rivals, ["baseline", "paradigm", "as", f"in {weights} or the hub's cache", "weights"])
    echo("")
    models = [["lite", "--model lite", "ships with the package"]]
    for name in OFFICIAL:
        pulled = pulled_model(name)
        state = f"here: {pulled}" if pulled.is_dir() else f"not here: anytag pull {name}"
        models.append([name, f"--model {name}, or the folder that anytag convert wrote", state])
    write_table(models, ["model", "as", "where"])
    echo("")
    echo("Captions are measured by BLEU, ROUGE-L and CIDEr-D; --meteor adds METEOR where NLTK and WordNet are there.")


def _own_folder(out: Path | None) -> Path:
    """Return the folder to write to, after checking that no other files are overwritten.

    Raises:
        UsageError: If none is given, or files that no evaluation wrote are in the way.
    """
    if out is None:
        raise UsageError("--out is missing: the folder for tables and kept scores, such as --out evaluation")
    if os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"{out}: exists and is not a folder; give another --out")
    if not any((out / kept).is_dir() for kept in ("scores", "captions")):
        for name in ("results.json", "results.csv", "tables.md", "report.html"):
            if os.path.lexists(out / name):
                raise UsageError(
                    f"{out / name}: already exists and was not written by an evaluation; give another --out"
                )
    return out


def _run_suite(suite: str, data: Path | None, out: Path | None, budget: float | None) -> None:
    if suite != "mini":
        raise UsageError(f"there is no suite {suite!r}; there is: mini")
    if data is None:
        raise UsageError("--suite mini needs --data, the folder with coco20k, coco_report and world")
    if out is None:
        raise UsageError("--suite needs --out, the folder for caches, runs and tables")
    with needs_extra("The miniature", "train"):
        from anytag.training.miniature.config import MiniatureConfig
        from anytag.training.miniature.suite import markdown, run_suite
    config = MiniatureConfig.model_validate({} if budget is None else {"budget": budget})
    for line in markdown(run_suite(config, data, out, echo)).splitlines():
        echo(line)
