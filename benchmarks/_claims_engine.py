"""The data engine's three manifests: parsed, with generated captions and tags, and cleaned by the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from _claims_config import ClaimsConfig
from _claims_data import ClaimsData
from _first import First

from anytag.data_engine.generate import GenerateConfig
from anytag.data_engine.models import ModelSpec
from anytag.data_engine.pipeline import Engine
from anytag.data_engine.report import StepReport
from anytag.datasets.sources import IndexedSource, SampleSource
from anytag.datasets.webdataset import open_shards
from anytag.evaluation.calibration import calibrate
from anytag.evaluation.labeled_scores import score_pictures
from anytag.nn.model import RecognitionModel
from anytag.training.families.model_files import write_model

#: Maximum length of captions, as in the runs.
PARSER: Literal["auto"] = "auto"


def engine_source(data: Path, config: ClaimsConfig) -> SampleSource:
    """The data engine's pictures."""
    source = open_shards([data / pattern for pattern in config.engine])
    if config.limit is None:
        return source
    assert isinstance(source, IndexedSource)
    return First(source, config.limit)


def parse(data: ClaimsData, work: Path) -> StepReport:
    """Parse captions into tags of the runs' vocabulary: ``parsed``."""
    source = engine_source(data.data, data.config)
    return Engine(work).parse(source, data.vocabulary_file, PARSER)


def generate_and_clean(data: ClaimsData, model: RecognitionModel, work: Path) -> list[StepReport]:
    """Make ``generated`` and ``cleaned`` with a model trained on ``parsed``; finished parts are kept."""
    folder = work / "model"
    if not (folder / "config.json").exists():
        write_model(work / "raw", model, data.start, "The model of the claims' data engine.\n")
        spec = ModelSpec(str(work / "raw"), backend="torch")
        recognizer = spec.load()
        shards = [data.data / pattern for pattern in data.config.calibration]
        calibrate(recognizer, score_pictures(recognizer, shards, PARSER), "claims", data.report)
        (work / "raw").replace(folder)
    source, spec, engine = engine_source(data.data, data.config), ModelSpec(str(folder), backend="torch"), Engine(work)
    wanted = GenerateConfig(top=data.config.generated)
    return [engine.generate(source, spec, wanted), engine.clean(source, spec)]
