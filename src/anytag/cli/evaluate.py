"""``anytag evaluate``: models and their rivals on the papers' benchmarks, or on labeled pictures of one's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anytag.cli._commands import refuse, refuse_all_but
from anytag.cli._output import say, tell, write_table
from anytag.cli._shared import progress, reporting
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
    typer.Option(help="Model directory or hub id; repeatable. DIR:captions scores it by what its captions name."),
]


def evaluate(
    model: _Models = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(help="A benchmark by name, or a folder, CSV, COCO JSON or shards with labels; repeatable."),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="A rival: NAME, NAME=PATH or NAME=hub:OWNER/NAME[,option=value]; repeatable."),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Name every benchmark and rival, what it needs, and whether it is there.")
    ] = False,
    annotations: Annotated[Path, typer.Option(help="Folder of the benchmarks' annotation files.")] = Path(),
    weights: Annotated[
        Path,
        typer.Option(help="Folder where --baseline NAME looks for weights, before it looks in the hub's cache."),
    ] = Path(),
    pictures: Annotated[
        list[str] | None,
        typer.Option(help="Folder of the benchmarks' pictures; NAME=FOLDER is that of one benchmark; repeatable."),
    ] = None,
    categories: Annotated[
        Path | None, typer.Option(help="Of your own pictures, only the labels in this file, one per line.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables, the report, and the scores that are kept.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="One threshold for all classes.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="Fit the threshold on these labeled pictures (as --benchmark), not reported.")
    ] = None,
    tune_on_test: Annotated[
        bool,
        typer.Option("--tune-on-test", help="Fit the threshold on the test set, as the papers did; the tables say so."),
    ] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="Fit a threshold for each class.")] = False,
    standardize: Annotated[
        bool,
        typer.Option(
            "--standardize", help="Add a row with scores standardized per class and picture (alignment only)."
        ),
    ] = False,
    bootstrap: Annotated[int, typer.Option(min=0, help="Samples for an interval of mean average precision.")] = 0,
    tags_from: Annotated[
        str | None, typer.Option(help="Of retrieval: a model whose tags count where picture and text share them.")
    ] = None,
    tag_weight: Annotated[float, typer.Option(help="Of --tags-from: what a shared tag counts.")] = 0.02,
    meteor: Annotated[
        bool, typer.Option("--meteor", help="Of captions: METEOR, too (by NLTK; needs WordNet on this machine).")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first pictures, for a quick look.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="mini: train and judge the papers' paradigms in miniature (hours).")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Of --suite: folder with coco20k, coco_report and world.")] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Of --suite: pictures that a run sees in training. (default: 36,000)")
    ] = None,
) -> None:
    """Measure models and their rivals: precision, recall, captions and retrieval, beside the papers' figures.

    Scores are kept, so that the same command goes on after a kill, and thresholds change without running anything.

    Example: anytag evaluate --model lite --benchmark my_labels.csv --out evaluation
    """
    with reporting("evaluate"):
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
        from anytag.evaluation.report import write_report
        from anytag.evaluation.tables import write_tables

        # What is missing is said before anything runs.
        metric = _open_meteor() if meteor else None
        wanted = None if categories is None else [name for name, _ in read_name_lines(categories, "categories")]
        benchmark = list(dict.fromkeys(benchmark))
        folders = _picture_folders(pictures or [], [*benchmark, *([validation] if validation else [])])

        opened = [open_benchmark(name, annotations, folders.get(name), wanted) for name in benchmark]
        keys = [one.key for one in opened]
        opened = [
            replace(one, key=name, title=name) if keys.count(one.key) > 1 else one
            for one, name in zip(opened, benchmark, strict=True)
        ]
        _refuse_what_nothing_measures(opened, named=all(name in BENCHMARKS for name in benchmark))
        if limit is not None:
            opened = [_first(one, limit) for one in opened]

        def thresholds_for(one: Benchmark) -> ThresholdChoice:
            held_out = None
            if validation is not None and one.task == "tagging":
                held_out = open_validation(validation, one, annotations, folders.get(validation))
                for note in held_out.notes:
                    say(f"validation: {note}")
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
            if titles.count((system.title, system.paradigm)) > 1:  # Tables tell rows apart by their names.
                system.title = f"{system.title}: {name}"
        for one in opened:
            for note in one.notes:
                say(f"{one.title}: {note}")
        parts: list[tuple[Evaluation, Detail | None, Benchmark]] = []
        refused: list[str] = []
        for system in systems:
            for one, choice in zip(opened, choices, strict=True):
                try:
                    made = _measure(system, one, folder, choice, bootstrap, standardize, tags, metric)
                except AnytagError as error:
                    if len(systems) * len(opened) == 1:
                        raise
                    # A cell that cannot be filled, such as captions of a detector, does not cost the other ones.
                    refused.append(f"{one.title}, {system.title} ({system.paradigm}): {error}")
                    say(refused[-1])
                    continue
                for part, _, _ in made:
                    _tell(part)
                parts += made
        if not parts:
            raise UsageError(f"none of {len(systems) * len(opened)} cells could be filled")
        written = write_tables([part[0] for part in parts], folder, refused)
        write_report(parts, folder / "report.html")
        tell(f"written: {', '.join(str(path) for path in (*written[:3], folder / 'report.html'))}")
        if refused:
            say(f"{len(refused)} of {len(systems) * len(opened)} cells could not be filled; the notes say why")
            raise typer.Exit(1)


def _refuse_what_nothing_measures(opened: Sequence[Benchmark], named: bool) -> None:
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
    """A benchmark's first pictures; tables say that these are not all."""
    count = len(benchmark.pictures)
    if limit >= count:
        return benchmark
    note = f"only the first {limit:,} of {count:,} pictures, so figures are not those of the benchmark"
    kept = benchmark.select(range(limit))
    return replace(kept, title=f"{benchmark.title}, first {limit:,}", notes=(*benchmark.notes, note))


def _picture_folders(given: list[str], wanted: Sequence[str]) -> dict[str, Path]:
    """Folders of pictures by benchmark.

    One without a name is that of all benchmarks that have none of their own; of files of the user's own only if there
    is no benchmark among them that the project knows, since such files mostly have their pictures beside them.

    Args:
        given: ``FOLDER`` or ``NAME=FOLDER``.
        wanted: The benchmarks that are opened.

    Raises:
        UsageError: If one is not there, or of a benchmark that is not wanted, or two are given for the same benchmarks.
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


def _open_meteor() -> Metric:
    from anytag.evaluation.meteor import Meteor

    return Meteor()


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


def _tell(one: Evaluation) -> None:
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
        tell(f"{what}: {', '.join(figures)}")
    if one.captions is not None:
        told = f"{what}: CIDEr-D {100 * one.captions.cider:.1f}, BLEU-4 {100 * one.captions.bleu[3]:.1f}"
        tell(told if one.captions.meteor is None else f"{told}, METEOR (NLTK) {100 * one.captions.meteor:.1f}")
    if one.retrieval is not None:
        text, picture = one.retrieval.text, one.retrieval.picture
        tell(f"{what}: text R@1 {100 * text[1]:.1f}, picture R@1 {100 * picture[1]:.1f}")
    if one.failures:
        say(f"{what}: {counted(len(one.failures), 'picture')} could not be read; the first: {one.failures[0].message}")


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
    tell("")
    rivals = []
    for key, rival in BASELINES.items():
        options = "".join(f",{option}=…" for option in rival.needs)
        found = find_weights(rival, weights)
        state = f"here: {found[0]}" if found else "not here"
        rivals.append([key, rival.paradigm, f"{key}=PATH{options}", state, rival.weights])
    write_table(rivals, ["baseline", "paradigm", "as", f"in {weights} or the hub's cache", "weights"])
    tell("")
    models = [["lite", "--model lite", "ships with the package"]]
    for name in OFFICIAL:
        pulled = pulled_model(name)
        state = f"here: {pulled}" if pulled.is_dir() else f"not here: anytag pull {name}"
        models.append([name, f"--model {name}, or the folder that anytag convert wrote", state])
    write_table(models, ["model", "as", "where"])
    tell("")
    tell("Captions are measured by BLEU, ROUGE-L and CIDEr-D; --meteor adds METEOR where NLTK and WordNet are there.")


def _own_folder(out: Path | None) -> Path:
    """The folder to write to, in which nobody else's files are written over.

    Raises:
        UsageError: If none was given, or files that no evaluation wrote are in the way.
    """
    if out is None:
        raise UsageError("--out is missing: the folder for tables and kept scores, such as --out evaluation")
    if os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"{out}: cannot be a folder, something else stands there; give another --out")
    if not any((out / kept).is_dir() for kept in ("scores", "captions")):
        for name in ("results.json", "results.csv", "tables.md", "report.html"):
            if os.path.lexists(out / name):
                raise UsageError(f"{out / name}: is there already, and no evaluation wrote it; give another --out")
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
    for line in markdown(run_suite(config, data, out, tell)).splitlines():
        tell(line)
