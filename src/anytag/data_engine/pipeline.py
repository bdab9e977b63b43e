"""The engine: four steps in one work folder, each resumable, each with a report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from anytag.data_engine.clean import ClustersStep, RemovalStep
from anytag.data_engine.clean_regions import RegionsStep
from anytag.data_engine.cleaning_config import CleaningConfig
from anytag.data_engine.executors import LocalExecutor
from anytag.data_engine.generate import GenerateConfig, GenerateStep
from anytag.data_engine.grounding_dino import check_detector
from anytag.data_engine.label_system import LabelSystemConfig
from anytag.data_engine.manifest import Manifest, PartFormat
from anytag.data_engine.merge import MergeStep
from anytag.data_engine.models import ModelSpec
from anytag.data_engine.parse import IdsStep, LabelsStep, NamesStep
from anytag.data_engine.report import StepReport, join_reports
from anytag.data_engine.training_source import check_source
from anytag.data_engine.work import Executor, Progress, Step, run_step
from anytag.datasets.sources import SampleSource
from anytag.errors import ModelError, UsageError
from anytag.foundations.atomic_files import whole_file
from anytag.foundations.folder_locks import only_writer
from anytag.language.parsing.parser import ParserName
from anytag.model.vocabulary import TagVocabulary


class Engine:
    """Runs the steps of the data engine.

    The work folder contains the manifests of all steps, ``parsed``, ``generated``, ``cleaned`` and ``merged``, each
    with ``report.json`` and ``report.txt``.

    Args:
        work: The folder, created if missing.
        executor: Performs the work; ``None``: this process.
        bad_share: Share of pictures that may fail before a step stops.
    """

    def __init__(
        self,
        work: str | Path,
        executor: Executor | None = None,
        progress: Progress | None = None,
        format: PartFormat = "jsonl",
        bad_share: float = 0.5,
        redo: bool = False,
    ):
        if not 0 <= bad_share <= 1:
            raise UsageError(f"bad_share is a share from 0 to 1, not {bad_share}")
        # Absolute, for workers on other machines.
        self.work = Path(work).resolve()
        self.executor = executor or LocalExecutor()
        self.progress, self.format, self.bad_share, self.redo = progress, format, bad_share, redo

    def check(
        self, model: ModelSpec, generating: GenerateConfig | None = None, cleaning: CleaningConfig | None = None
    ) -> None:
        """Check now what generating and cleaning would otherwise only notice hours later.

        Raises:
            ModelError: If there is no such model, it should write captions but has no captioner, or a detector's
                weights are missing.
            UsageError: If a detector is needed and not configured.
            MissingExtraError: If a detector's library is not installed.
        """
        config = model.directory().config
        if generating is not None and generating.captions != "none" and config.captioner is None:
            raise ModelError(
                f"generate: {config.name}: this model tags pictures but does not write captions; use another one, or "
                "ask for captions 'none'"
            )
        if cleaning is not None and cleaning.regions == "grounding_dino":
            check_detector(cleaning.detector)

    def parse(
        self,
        source: SampleSource,
        vocabulary: str | Path | LabelSystemConfig | None = None,
        parser: ParserName = "auto",
    ) -> StepReport:
        """Parse captions to tags, and map them to the ids of a vocabulary: makes ``parsed``.

        The vocabulary is a file, or built from the captions.
        """
        with self._alone():
            folder = self.work / "parsed"
            names = NamesStep(folder / "names", source, parser)
            reports = [self._run(names)]
            if isinstance(vocabulary, str | Path):
                _copy_vocabulary(Path(vocabulary), folder)
            else:
                reports.append(self._run(LabelsStep(folder, names, vocabulary or LabelSystemConfig())))
            reports.append(self._run(IdsStep(folder, names, folder / "vocabulary.json", self.format)))
            report = join_reports("parse", reports)
            for problem in source.problems:
                report.counts["failed"] += 1
                report.failures.append({"place": problem.source, "kind": problem.kind, "reason": problem.reason})
            return self._finish(report, Manifest(folder, source.identity, source.parts, self.format))

    def generate(self, source: SampleSource, model: ModelSpec, config: GenerateConfig | None = None) -> StepReport:
        """Add a model's captions and tags to ``parsed``: makes ``generated``."""
        config = config or GenerateConfig()
        before = self._manifest("parsed", source)
        with self._alone():
            folder = self.work / "generated"
            report = self._run(GenerateStep(folder, before, source, model, config, self.format))
            _copy_vocabulary(before.vocabulary_path, folder)
            return self._finish(report, Manifest(folder, before.source, before.parts, self.format))

    def clean(self, source: SampleSource, model: ModelSpec, config: CleaningConfig | None = None) -> StepReport:
        """Remove outliers and tags that the model denies from ``generated``, or else ``parsed``: makes ``cleaned``."""
        config = config or CleaningConfig()
        before = self._manifest("generated" if self._has("generated") else "parsed", source)
        with self._alone():
            folder = self.work / "cleaned"
            regions = RegionsStep(folder / "regions", before, source, model, config)
            clusters = ClustersStep(folder / "clusters", regions, config)
            removal = RemovalStep(folder, clusters, config, self.format)
            report = join_reports("clean", [self._run(step) for step in (regions, clusters, removal)])
            _copy_vocabulary(before.vocabulary_path, folder)
            return self._finish(report, Manifest(folder, before.source, before.parts, self.format))

    def merge(self, manifests: Sequence[str | Path] = (), out: str | Path | None = None) -> StepReport:
        """Merge original and generated captions and tags, without removed ones: makes ``merged``, or ``out``.

        Without ``manifests``, those of ``parsed``, ``generated`` and ``cleaned`` that exist are merged.
        """
        own = [self.work / name for name in ("parsed", "generated", "cleaned") if self._has(name)]
        found = tuple(Manifest.load(folder) for folder in (manifests or own))
        folder = Path(out).resolve() if out is not None else self.work / "merged"
        if any(manifest.folder.resolve() == folder for manifest in found):
            raise UsageError(f"{folder}: cannot be merged into itself; name another folder")
        with self._alone(self.work if folder.parent == self.work else folder):
            report = self._run(MergeStep(folder, found, self.format))
            _copy_vocabulary(found[0].vocabulary_path, folder)
            return self._finish(report, Manifest(folder, found[0].source, found[0].parts, self.format))

    def _alone(self, folder: Path | None = None) -> AbstractContextManager[None]:
        """Lock the work folder, or another one, against other engines."""
        return only_writer(folder or self.work, "another data engine works", "give another work folder")

    def _run(self, step: Step) -> StepReport:
        return run_step(step, self.executor, self.progress, self.bad_share, self.redo)

    def _has(self, name: str) -> bool:
        return (self.work / name / "manifest.json").is_file()

    def _manifest(self, name: str, source: SampleSource) -> Manifest:
        manifest = Manifest.load(self.work / name)
        check_source(manifest, source)
        return manifest

    @staticmethod
    def _finish(report: StepReport, manifest: Manifest) -> StepReport:
        report.save(manifest.folder)
        manifest.save()
        return report


def _copy_vocabulary(path: Path, folder: Path) -> None:
    """Copy a vocabulary to a manifest's folder, unless it is there already."""
    TagVocabulary.load(path)
    target = folder / "vocabulary.json"
    folder.mkdir(parents=True, exist_ok=True)
    if target.is_file() and target.read_bytes() == path.read_bytes():
        return
    with whole_file(target) as part:
        shutil.copyfile(path, part)
