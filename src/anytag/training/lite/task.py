"""The training task of the ``lite`` family, on pixels or cached features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytag.foundations.report import Report
from anytag.inference.decoding_options import DecodingOptions
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.nn.model import RecognitionModel
from anytag.training.engine.distributed import first_process_first
from anytag.training.engine.task import Shared
from anytag.training.families.task import RecognitionTask
from anytag.training.lite.batches import LiteBatch
from anytag.training.lite.cached_recognition import CachedRecognition, cache_recognition
from anytag.training.lite.captions import caption_pictures
from anytag.training.lite.data import LiteData
from anytag.training.lite.multi_crop import CornerTargets, corner_logits, taught_tags
from anytag.training.lite.objective import LiteObjective
from anytag.training.recipes.config import AnyObjectiveConfig, LiteConfig, TrainingConfig, TrainingStage


@dataclass(eq=False)
class Teachers(Shared):
    """Teachers of a run: the original image encoder, and predictions of the model before a stage.

    The run folder stores the predictions for resumed runs.

    Attributes:
        untouched: The original image encoder.
        corners: Pseudo-labels, for a stage that trains on them.
        recognition: Cached recognition, for a stage that reads it.
    """

    config: TrainingConfig
    data: LiteData
    untouched: EfficientNetLite
    folder: Path
    report: Report
    corners: CornerTargets | None = None
    recognition: CachedRecognition | None = None
    _recognized: int = -1

    def prepare(self, index: int, average: Callable[[], Any]) -> None:
        """Compute, with the moving average, or load the predictions that a stage needs."""
        stage, objective = self.config.stages[index], self.config.objectives[index]
        assert isinstance(objective, LiteConfig)
        if stage.cached == "recognition":
            self._recognize(index, objective, average)
        elif objective.corners:
            data = self.data
            taught = taught_tags(data.vocabulary, objective.corner_support)
            model = average().model
            with first_process_first():
                logits = corner_logits(model, data.shards, taught, self.folder / f"corners-{index}", self.report)
            self.corners = CornerTargets(logits, taught, len(data.vocabulary))

    def _recognize(self, index: int, objective: LiteConfig, average: Callable[[], Any]) -> None:
        """Compute recognition once for consecutive stages that train the captioner alone."""
        config = self.config
        before = reversed(config.stages[:index])
        first = index - len(list(takewhile(lambda stage: stage.cached == "recognition", before)))
        if first == self._recognized:
            return
        alike = [stage for stage in config.stages[first:] if stage.cached == "recognition"]
        model, data = average().model, self.data
        with first_process_first():
            self.recognition = cache_recognition(
                model,
                data.shards,
                data.pairs.pictures,
                data.vocabulary,
                max(min(stage.views or config.views, config.views) for stage in alike),
                objective.guide_support,
                self.folder / f"recognition-{first}",
                self.report,
            )
        self._recognized = first


class LiteTask(RecognitionTask):
    """Trains a ``lite`` model; see :class:`~anytag.training.families.task.RecognitionTask`."""

    writes_captions = True

    def __init__(
        self,
        model: RecognitionModel,
        objective: LiteObjective,
        settings: Sequence[AnyObjectiveConfig],
        encoder_weight_decay: float | None,
        teachers: Teachers,
    ):
        super().__init__(model, objective, settings, encoder_weight_decay)
        self.teachers = teachers

    def enter(self, index: int, stage: TrainingStage, average: Callable[[], Any]) -> None:
        super().enter(index, stage, average)
        self.teachers.prepare(index, average)

    def forward(self, batch: LiteBatch, stage: TrainingStage) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(self.objective, LiteObjective)
        if stage.cached == "recognition":
            assert self.teachers.recognition is not None
            return self.objective.captioner(self.model, batch, self.teachers.recognition)
        tokens, teacher = self._tokens(batch, stage)
        losses: tuple[Tensor, dict[str, float]] = self.objective(
            self.model, batch, tokens, teacher, self.teachers.corners
        )
        return losses

    def _tokens(self, batch: LiteBatch, stage: TrainingStage) -> tuple[Tensor, Tensor | None]:
        """The encoder's tokens, and while it is trained the logits of the original encoder."""
        encoder, untouched = self.model.image_encoder, self.teachers.untouched
        maps = batch.maps
        if maps is None:
            # Sixteen pictures at a time: activations at full resolution soon exceed the CPU's cache.
            maps = torch.cat([encoder.lower_stages(piece) for piece in batch.pictures.split(16)])
        with torch.set_grad_enabled(stage.encoder_learning_rate > 0):
            tokens = encoder.upper_stages(maps)
        if not (stage.encoder_learning_rate and self.objective.config.distillation):
            return tokens, None
        with torch.no_grad():
            if batch.maps is None:
                # Without gradients, four pictures at a time stay in the CPU's cache.
                maps = torch.cat([untouched.lower_stages(piece) for piece in batch.pictures.split(4)])
            return tokens, self.model.classifier(untouched.upper_stages(maps))

    def captions(self, features: Tensor, found: Sequence[Sequence[int]]) -> list[str]:
        """Caption features, guided by the recognized tags, except those that others imply."""
        prompts = self.teachers.data.prompts
        lists = [prompts.join(prompts.leaves(ids), given=False) for ids in found]
        options = DecodingOptions(num_beams=1, max_length=24, min_length=6)
        return caption_pictures(self.model, features, lists, prompts.tokenizer, options)
