"""What is wrong with a run and can be known before its data are read, which may take hours."""

from __future__ import annotations

from pathlib import Path

from anytag.errors import UsageError
from anytag.training.engine.loggers import open_logger
from anytag.training.families.data_sources import files_matching, find_path
from anytag.training.recipes.config import SENTENCE_ENCODER, LiteConfig, TrainingConfig

#: What only some objectives learn.
_PARTS = ("captioning", "contrast", "matching", "distillation", "alignment")

#: What gives a figure of validation that has another name.
_PART_OF = {
    "cider": "captioning",
    "text_recall_1": "contrast",
    "text_recall_5": "contrast",
    "picture_recall_1": "contrast",
    "picture_recall_5": "contrast",
}


def check_early(config: TrainingConfig, data: Path, folder: Path) -> None:
    """Look for what a run would miss later.

    Args:
        config: The recipe.
        data: Folder that its paths start at.
        folder: The run folder.

    Raises:
        UsageError: If a file is missing, or the recipe asks for what its objective does not give.
        MissingExtraError: If a logger is asked for and not installed.
    """
    teacher = config.teacher
    named = [teacher.clip, teacher.cached, teacher.texts, teacher.descriptions, config.image_weights]
    for path in (*named, config.text_weights, config.vocabulary.tags):
        if path is not None and path != SENTENCE_ENCODER:
            find_path(path, data)
    for pattern in config.texts:
        files_matching(pattern, data)
    for kind in config.loggers:
        open_logger(kind, folder)
    _check_best(config)
    looking = any(getattr(used, "distillation", 0.0) for used in config.objectives)
    if looking and not isinstance(config.objective, LiteConfig) and teacher.cached is None and teacher.clip is None:
        raise UsageError(
            "distillation needs a teacher; name a CLIP directory as teacher.clip, or set objective.distillation=0"
        )


def _check_best(config: TrainingConfig) -> None:
    metric = config.best_metric
    if metric is None:
        return
    if not config.validation:
        raise UsageError(f"best_metric={metric} is of validation pictures; name some as validation")
    part = _PART_OF.get(metric, metric)
    if part in _PARTS and not hasattr(config.objective, part):
        kind = type(config.objective).__name__
        raise UsageError(f"best_metric={metric}: {kind} has no {part}, so that validation has no such figure")
