"""``anytag engine``: RAM's data engine, step by step or as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel, ValidationError
from rich.progress import Progress, TimeRemainingColumn

from anytag.cli._commands import add_command, new_group, refuse
from anytag.cli._inputs import CaptionsPerPicture, Kinds, ModelOptions, Parser
from anytag.cli._lists import read_kinds, read_names
from anytag.cli._output import progress_bar, say, tell, write_json
from anytag.cli._shared import finish, reporting
from anytag.data_engine.manifest import PartFormat
from anytag.errors import UsageError
from anytag.foundations.settings import complaint_of
from anytag.foundations.wording import counted

if TYPE_CHECKING:
    from anytag.data_engine.models import ModelSpec
    from anytag.data_engine.pipeline import Engine
    from anytag.data_engine.report import StepReport
    from anytag.data_engine.work import Marker
    from anytag.datasets.sources import SampleSource


Sources = Annotated[
    list[str],
    typer.Argument(
        help="Pictures with captions: shards (tar), a folder, a table, JSON lines, Parquet; for parsing also text "
        "files with one caption per line. Give every step the same.",
        show_default=False,
    ),
]
Work = Annotated[Path, typer.Option("--work", "-w", help="Folder for the engine's outputs; created if missing.")]
BadShare = Annotated[float, typer.Option(min=0, max=1, help="Share of pictures that may fail; more stop a step.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures that a model is given together.")]
Captions = Annotated[
    Literal["guided", "plain", "none"],
    typer.Option(help="Captions guided by the tags found, by none, or no captions."),
]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="One score for all tags of the model, instead of each tag's own.")
]


@dataclass(frozen=True)
class EngineOptions:
    """How steps run, and how they report."""

    workers: Annotated[
        int, typer.Option(min=1, help="Processes, or actors on a cluster; each loads its own model.")
    ] = 1
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Run on a Ray cluster: its address, auto for the one of this machine, or local for a new one."
        ),
    ] = None
    format: Annotated[PartFormat, typer.Option("--format", help="How manifests are stored; parquet needs pyarrow.")] = (
        "jsonl"
    )
    redo: Annotated[bool, typer.Option("--redo", help="Also redo what is done and has not changed.")] = False
    json_: Annotated[bool, typer.Option("--json", help="Write the report as JSON.")] = False


@dataclass(frozen=True)
class VocabularyOptions:
    """The vocabulary that captions are parsed into."""

    vocabulary: Annotated[
        Path | None, typer.Option("--vocabulary", "-v", help="Vocabulary file. (default: one is made of the captions)")
    ] = None
    labels: Annotated[int | None, typer.Option(min=1, help="Look at only this many names, the most frequent.")] = None
    size: Annotated[
        int | None, typer.Option(min=1, help="Keep at most this many tags, those true in most pictures.")
    ] = None
    min_support: Annotated[int, typer.Option(min=1, help="Pictures that a tag needs.")] = 8

    def read(self) -> Any:
        """The file of a vocabulary, or how one is made.

        Raises:
            UsageError: If both are given.
        """
        from anytag.data_engine.label_system import LabelSystemConfig

        path = self.vocabulary
        if path is None:
            return LabelSystemConfig(labels=self.labels, size=self.size, min_support=self.min_support)
        making = ("--labels", "--size", "--min-support")
        refuse(making, "is about a vocabulary that is made; leave it out where --vocabulary gives one")
        return path / "vocabulary.json" if path.is_dir() else path


@dataclass(frozen=True)
class CleaningOptions:
    """How tags are cleaned."""

    regions: Annotated[
        Literal["attention", "cells", "grounding_dino"] | None,
        typer.Option(help="Where regions come from. (default: attention)"),
    ] = None
    detector: Annotated[Path | None, typer.Option(help="Folder of Grounding DINO's weights.")] = None
    outlier_share: Annotated[
        float | None, typer.Option(min=0, max=0.999, help="Share of a tag's regions that lose it. (default: 0.1)")
    ] = None
    settings: Annotated[Path | None, typer.Option(help="JSON file with further settings of cleaning.")] = None

    def read(self, **more: Any) -> Any:
        """The settings that the options make, with more of them.

        Raises:
            UsageError: If there are no such settings.
        """
        from anytag.data_engine.cleaning_config import CleaningConfig

        config: CleaningConfig = _settings(
            CleaningConfig,
            self.settings,
            regions=self.regions,
            detector=str(self.detector) if self.detector else None,
            outlier_share=self.outlier_share,
            **more,
        )
        if config.regions != "grounding_dino":
            refuse(("--detector",), "goes with --regions grounding_dino")
        return config


@dataclass
class _Bar:
    """Shows units as they are done: a bar on a terminal, else a line each."""

    bar: Progress | None

    def __call__(self, step: str, done: int, total: int, marker: Marker) -> None:
        if self.bar is None:
            pictures = marker.outcome.counts["pictures_in"]
            rate = f", {counted(pictures, 'picture')} in {marker.seconds:.1f} s" if pictures else ""
            say(f"{step}: {done} of {total}{rate}")
            return
        task = next((task for task in self.bar.tasks if task.description == step), None)
        number = task.id if task else self.bar.add_task(step, total=total)
        self.bar.update(number, completed=done)


@contextmanager
def _engine(work: Path, how: EngineOptions, bad_share: float = 1.0) -> Iterator[Engine]:
    from anytag.data_engine.executors import Executor, LocalExecutor, RayExecutor
    from anytag.data_engine.pipeline import Engine

    executor: Executor = LocalExecutor(how.workers)
    if how.cluster is not None:
        executor = RayExecutor(how.workers, None if how.cluster == "local" else how.cluster)
        executor.connect()
    with progress_bar(TimeRemainingColumn()) as bar:
        yield Engine(work, executor, _Bar(None if bar.disable else bar), how.format, bad_share, how.redo)


def _open(sources: list[str], captions_per_picture: int = 1) -> SampleSource:
    from anytag.data_engine.inputs import open_input

    return open_input(sources, captions_per_picture)


def _model(runtime: ModelOptions, workers: int, batch_size: int) -> ModelSpec:
    from anytag.data_engine.models import ModelSpec
    from anytag.foundations.cpu_count import available_processors

    # Processes that each take all processors get in each other's way.
    share = runtime.threads or (max(1, available_processors() // workers) if workers > 1 else None)
    model = runtime.model
    if model is not None and Path(model).exists():
        model = str(Path(model).resolve())  # Workers may stand in another folder.
    return ModelSpec(model, runtime.backend, runtime.device, runtime.precision, share, batch_size)


def _settings(kind: type[BaseModel], path: Path | None, **given: Any) -> Any:
    """Settings from a file and from options; options win."""
    record: dict[str, Any] = {}
    try:
        if path is not None:
            record = json.loads(path.read_text(encoding="utf-8"))
        return kind.model_validate(record | {name: value for name, value in given.items() if value is not None})
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, ValidationError):
            where, complaint = complaint_of(error)
            raise UsageError(f"{'.'.join(map(str, where)) or path}: {complaint}") from None
        raise UsageError(f"{path}: cannot be read as settings ({error})") from None


def _show(reports: list[StepReport], as_json: bool) -> None:
    """Print the reports, and exit with 1 if pictures failed."""
    for report in reports:
        if as_json:
            write_json(report.to_json())
        else:
            for line in report.to_text().split("\n"):
                tell(line)
    failed = max(report.failed for report in reports)
    finish(reports[-1].counts.get("pictures_out", 0), failed)


def parse(
    sources: Sources,
    *,
    work: Work,
    names: VocabularyOptions,
    parser: Parser = "auto",
    captions_per_picture: CaptionsPerPicture = 1,
    bad_share: BadShare = 0.5,
    how: EngineOptions,
) -> None:
    """Turn captions into tags, and tags into the ids of a vocabulary; the first step.

    The papers' sizes: --labels 5000 --size 3429 (Tag2Text), --labels 6449 --size 4585 (RAM).

    Example: anytag engine parse 'shards/*.tar' --work engine --size 4585 --workers 2
    """
    with reporting("engine parse"), _engine(work, how, bad_share) as engine:
        vocabulary = names.read()
        report = engine.parse(_open(sources, captions_per_picture), vocabulary, parser)
    _show([report], how.json_)


def generate(
    sources: Sources,
    *,
    work: Work,
    captions: Captions = "guided",
    threshold: Threshold = None,
    top: Annotated[int | None, typer.Option(min=1, help="At most this many tags per picture.")] = None,
    kind: Kinds = None,
    num_beams: Annotated[int | None, typer.Option(min=1, help="Width of the beam search.")] = None,
    runtime: ModelOptions,
    batch_size: BatchSize = 8,
    bad_share: BadShare = 0.5,
    how: EngineOptions,
) -> None:
    """Write captions and tags for every picture with a model; the originals are kept.

    Example: anytag engine generate 'shards/*.tar' --work engine --model runs/lite/model
    """
    from anytag.data_engine.generate import GenerateConfig

    with reporting("engine generate"), _engine(work, how, bad_share) as engine:
        if captions == "none":
            refuse(("--num-beams",), "is about captions, and --captions none writes none")
        spec = _model(runtime, how.workers, batch_size)
        kinds = read_kinds(kind)
        config = _settings(
            GenerateConfig,
            None,
            captions=captions,
            threshold=threshold,
            top=top,
            kinds=kinds,
            num_beams=num_beams,
        )
        report = engine.generate(_open(sources), spec, config)
    _show([report], how.json_)


def clean(
    sources: Sources,
    *,
    work: Work,
    cleaning: CleaningOptions,
    denial_threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Score on its region below which a tag goes. (default: a tenth of its threshold)"
        ),
    ] = None,
    kind: Kinds = None,
    tags: Annotated[list[str] | None, typer.Option("--tags", help="Judge only these tags, comma-separated.")] = None,
    tags_from: Annotated[Path | None, typer.Option("--tags-from", help="The same from a file, one per line.")] = None,
    runtime: ModelOptions,
    batch_size: BatchSize = 8,
    bad_share: BadShare = 0.5,
    how: EngineOptions,
) -> None:
    """Remove tags whose regions look unlike the tag's other regions, or do not show the tag.

    Example: anytag engine clean 'shards/*.tar' --work engine --model runs/lite/model --outlier-share 0.1
    """
    with reporting("engine clean"), _engine(work, how, bad_share) as engine:
        spec = _model(runtime, how.workers, batch_size)
        config = cleaning.read(
            denial_threshold=denial_threshold,
            kinds=read_kinds(kind),
            tags=read_names(tags, tags_from, "--tags"),
        )
        report = engine.clean(_open(sources), spec, config)
    _show([report], how.json_)


def merge(
    work: Work,
    manifests: Annotated[
        list[Path] | None,
        typer.Argument(help="Manifest folders. (default: parsed, generated and cleaned of the work folder)"),
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to. (default: merged in the work folder)")
    ] = None,
    how: EngineOptions,
) -> None:
    """Merge originals and generated, without what was removed: the manifest to train on next.

    Example: anytag engine merge --work engine --out data/second-round
    """
    with reporting("engine merge"), _engine(work, how) as engine:
        report = engine.merge(manifests or (), out)
    _show([report], how.json_)


def run(
    sources: Sources,
    *,
    work: Work,
    names: VocabularyOptions,
    captions: Captions = "guided",
    threshold: Threshold = None,
    cleaning: CleaningOptions,
    runtime: ModelOptions,
    batch_size: BatchSize = 8,
    bad_share: BadShare = 0.5,
    how: EngineOptions,
) -> None:
    """Parse, generate, clean and merge; after a kill, the same command continues.

    Example: anytag engine run 'shards/*.tar' --work engine --model runs/lite/model --workers 2
    """
    from anytag.data_engine.generate import GenerateConfig

    with reporting("engine run"), _engine(work, how, bad_share) as engine:
        vocabulary, config = names.read(), cleaning.read()
        source = _open(sources)
        spec = _model(runtime, how.workers, batch_size)
        generating = _settings(GenerateConfig, None, captions=captions, threshold=threshold)
        engine.check(spec, generating, config)
        reports = [
            engine.parse(source, vocabulary),
            engine.generate(source, spec, generating),
            engine.clean(source, spec, config),
            engine.merge(),
        ]
    _show(reports, how.json_)


app = new_group("Make better training data: parse captions, generate captions and tags, clean tags, merge.")
for command in (parse, generate, clean, merge, run):
    add_command(app, command)
