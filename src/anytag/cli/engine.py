"""``anytag engine``: RAM's data engine, step by step or as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ValidationError
from rich.progress import Progress, TimeRemainingColumn
from typer import Argument, Option

from anytag.cli._commands import add_command, new_group, refuse
from anytag.cli._inputs import CaptionsPerPicture, Kinds, ModelOptions, Parser
from anytag.cli._lists import read_kinds, read_names
from anytag.cli._output import echo, log, progress_bar, write_json
from anytag.cli._shared import finish
from anytag.data_engine.manifest import PartFormat
from anytag.errors import UsageError
from anytag.foundations.settings import first_error
from anytag.foundations.wording import counted

if TYPE_CHECKING:
    from anytag.data_engine.models import ModelSpec
    from anytag.data_engine.pipeline import Engine
    from anytag.data_engine.report import StepReport
    from anytag.data_engine.work import Executor, Marker
    from anytag.datasets.sources import SampleSource


Sources = Annotated[
    list[str],
    Argument(
        help="Pictures with captions: shards (tar), a folder, a table, JSON lines, Parquet; for parsing also text "
        "files with one caption per line. Give all steps the same sources.",
        show_default=False,
    ),
]
Work = Annotated[Path, Option("--work", "-w", help="Folder for the engine's outputs; created if missing.")]
BadShare = Annotated[float, Option(min=0, max=1, help="Share of pictures that may fail before a step stops.")]
Captions = Annotated[Literal["guided", "plain", "none"], Option(help="Captions guided by the tags, unguided, or none.")]
Threshold = Annotated[float | None, Option(min=0, max=1, help="One threshold for all tags, instead of each tag's own.")]


@dataclass(frozen=True)
class EngineOptions:
    """How steps run and report."""

    workers: Annotated[int, Option(min=1, help="Processes, or actors on a cluster; each loads its own model.")] = 1
    cluster: Annotated[
        str | None,
        Option(help="Run on a Ray cluster: its address, auto for the one of this machine, or local for a new one."),
    ] = None
    format: Annotated[PartFormat, Option("--format", help="How manifests are stored; parquet needs pyarrow.")] = "jsonl"
    redo: Annotated[bool, Option("--redo", help="Repeat steps that are done, too.")] = False
    json_: Annotated[bool, Option("--json", help="Write the report as JSON.")] = False

    @contextmanager
    def open(self, work: Path, bad_share: float = 1.0) -> Iterator[Engine]:
        """Start the engine, with a progress bar."""
        from anytag.data_engine.executors import LocalExecutor, RayExecutor
        from anytag.data_engine.pipeline import Engine

        executor: Executor = LocalExecutor(self.workers)
        if self.cluster is not None:
            executor = RayExecutor(self.workers, None if self.cluster == "local" else self.cluster)
            executor.connect()
        with progress_bar(TimeRemainingColumn()) as bar:
            yield Engine(work, executor, _Bar(None if bar.disable else bar), self.format, bad_share, self.redo)


@dataclass(frozen=True)
class EngineModelOptions(ModelOptions):
    """The model that every worker loads."""

    batch_size: Annotated[int, Option(min=1, help="Pictures that the model processes together.")] = 8

    def spec(self, workers: int) -> ModelSpec:
        """Return what a worker loads."""
        from anytag.data_engine.models import ModelSpec
        from anytag.foundations.cpu_count import available_processors

        # Processes that each use all processors slow each other down.
        threads = self.threads or (max(1, available_processors() // workers) if workers > 1 else None)
        model = self.model
        if model is not None and Path(model).exists():
            model = str(Path(model).resolve())  # Workers may have another current folder.
        return ModelSpec(model, self.backend, self.device, self.precision, threads, self.batch_size)


@dataclass(frozen=True)
class VocabularyOptions:
    """The vocabulary that captions are parsed into."""

    vocabulary: Annotated[Path | None, Option("--vocabulary", "-v", help="Vocabulary file. (default: build one)")] = (
        None
    )
    labels: Annotated[int | None, Option(min=1, help="Consider only this many names, the most frequent.")] = None
    size: Annotated[int | None, Option(min=1, help="Keep at most this many tags, those of the most pictures.")] = None
    min_support: Annotated[int, Option(min=1, help="Lowest number of pictures of a tag.")] = 8

    def read(self) -> Any:
        """Return the vocabulary's file, or how to build one.

        Raises:
            UsageError: If both are given.
        """
        from anytag.data_engine.label_system import LabelSystemConfig

        path = self.vocabulary
        if path is None:
            return LabelSystemConfig(labels=self.labels, size=self.size, min_support=self.min_support)
        building = ("--labels", "--size", "--min-support")
        refuse(building, "is about a vocabulary that is made; leave it out where --vocabulary gives one")
        return path / "vocabulary.json" if path.is_dir() else path


@dataclass(frozen=True)
class CleaningOptions:
    """How tags are cleaned."""

    regions: Annotated[
        Literal["attention", "cells", "grounding_dino"] | None,
        Option(help="Where regions come from. (default: attention)"),
    ] = None
    detector: Annotated[Path | None, Option(help="Folder of Grounding DINO's weights.")] = None
    outlier_share: Annotated[
        float | None, Option(min=0, max=0.999, help="Share of a tag's regions to remove it from. (default: 0.1)")
    ] = None
    settings: Annotated[Path | None, Option(help="JSON file with more settings of cleaning.")] = None

    def read(self, **more: Any) -> Any:
        """Return the settings.

        Raises:
            UsageError: If a setting is not valid.
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
    """Shows finished units: as a bar on a terminal, else as a line each."""

    bar: Progress | None

    def __call__(self, step: str, done: int, total: int, marker: Marker) -> None:
        if self.bar is None:
            pictures = marker.outcome.counts["pictures_in"]
            rate = f", {counted(pictures, 'picture')} in {marker.seconds:.1f} s" if pictures else ""
            log(f"{step}: {done} of {total}{rate}")
            return
        task = next((task for task in self.bar.tasks if task.description == step), None)
        number = task.id if task else self.bar.add_task(step, total=total)
        self.bar.update(number, completed=done)


def _open(sources: list[str], captions_per_picture: int = 1) -> SampleSource:
    from anytag.data_engine.inputs import open_input

    return open_input(sources, captions_per_picture)


def _settings(kind: type[BaseModel], path: Path | None, **given: Any) -> Any:
    """Read settings from a file and from options, which take precedence."""
    record: dict[str, Any] = {}
    try:
        if path is not None:
            record = json.loads(path.read_text(encoding="utf-8"))
        return kind.model_validate(record | {name: value for name, value in given.items() if value is not None})
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, ValidationError):
            where, complaint = first_error(error)
            raise UsageError(f"{'.'.join(map(str, where)) or path}: {complaint}") from None
        raise UsageError(f"{path}: cannot be read as settings ({error})") from None


def _show(reports: list[StepReport], as_json: bool) -> None:
    """Print the reports; exit with 1 if pictures failed."""
    for report in reports:
        if as_json:
            write_json(report.to_json())
        else:
            for line in report.to_text().split("\n"):
                echo(line)
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

    Sizes in the papers: --labels 5000 --size 3429 (Tag2Text), --labels 6449 --size 4585 (RAM).

    Example: anytag engine parse 'shards/*.tar' --work engine --size 4585 --workers 2
    """
    with how.open(work, bad_share) as engine:
        vocabulary = names.read()
        report = engine.parse(_open(sources, captions_per_picture), vocabulary, parser)
    _show([report], how.json_)


def generate(
    sources: Sources,
    *,
    work: Work,
    captions: Captions = "guided",
    threshold: Threshold = None,
    top: Annotated[int | None, Option(min=1, help="At most this many tags per picture.")] = None,
    kind: Kinds = None,
    num_beams: Annotated[int | None, Option(min=1, help="Number of beams.")] = None,
    runtime: EngineModelOptions,
    bad_share: BadShare = 0.5,
    how: EngineOptions,
) -> None:
    """Write captions and tags for every picture with a model; the originals are kept.

    Example: anytag engine generate 'shards/*.tar' --work engine --model runs/lite/model
    """
    from anytag.data_engine.generate import GenerateConfig

    with how.open(work, bad_share) as engine:
        if captions == "none":
            refuse(("--num-beams",), "is about captions, and --captions none writes none")
        kinds = read_kinds(kind)
        config = _settings(
            GenerateConfig, None, captions=captions, threshold=threshold, top=top, kinds=kinds, num_beams=num_beams
        )
        report = engine.generate(_open(sources), runtime.spec(how.workers), config)
    _show([report], how.json_)


def clean(
    sources: Sources,
    *,
    work: Work,
    cleaning: CleaningOptions,
    denial_threshold: Annotated[
        float | None,
        Option(
            min=0, max=1, help="Remove tags with a lower score on their region. (default: a tenth of the threshold)"
        ),
    ] = None,
    kind: Kinds = None,
    tags: Annotated[list[str] | None, Option("--tags", help="Clean only these tags, comma-separated.")] = None,
    tags_from: Annotated[Path | None, Option("--tags-from", help="Such tags from a file, one per line.")] = None,
    runtime: EngineModelOptions,
    bad_share: BadShare = 0.5,
    how: EngineOptions,
) -> None:
    """Remove tags whose regions look unlike the tag's other regions, or do not show the tag.

    Example: anytag engine clean 'shards/*.tar' --work engine --model runs/lite/model --outlier-share 0.1
    """
    with how.open(work, bad_share) as engine:
        config = cleaning.read(
            denial_threshold=denial_threshold, kinds=read_kinds(kind), tags=read_names(tags, tags_from, "--tags")
        )
        report = engine.clean(_open(sources), runtime.spec(how.workers), config)
    _show([report], how.json_)


def merge(
    work: Work,
    manifests: Annotated[
        list[Path] | None,
        Argument(help="Manifest folders. (default: parsed, generated and cleaned, in the work folder)"),
    ] = None,
    *,
    out: Annotated[Path | None, Option("--out", "-o", help="Folder to write. (default: merged in --work)")] = None,
    how: EngineOptions,
) -> None:
    """Merge original and generated captions and tags, without what was removed, into a manifest to train on.

    Example: anytag engine merge --work engine --out data/second-round
    """
    with how.open(work) as engine:
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
    runtime: EngineModelOptions,
    bad_share: BadShare = 0.5,
    how: EngineOptions,
) -> None:
    """Parse, generate, clean and merge; after a kill, the same command continues.

    Example: anytag engine run 'shards/*.tar' --work engine --model runs/lite/model --workers 2
    """
    from anytag.data_engine.generate import GenerateConfig

    with how.open(work, bad_share) as engine:
        vocabulary, config = names.read(), cleaning.read()
        source, spec = _open(sources), runtime.spec(how.workers)
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
