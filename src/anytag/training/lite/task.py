"""The task of the ``lite`` objective: what a stage looks at, from pixels or from what is cached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytag.foundations.report import Report
from anytag.inference.generation import DecodingOptions
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


class Teachers(Shared):
    """What stages learn from beside their batches: the encoder as it was, and what the model found before the stage.

    Args:
        config: The recipe.
        data: What the run reads.
        untouched: The image encoder as it was before training, teacher of the one that is trained.
        folder: The run folder: what is computed once a stage is kept there, for runs that are taken up again.
        report: Receives progress.

    Attributes:
        corners: What the model found in corners, for a stage that learns it.
        recognition: What it makes of the pictures, for a stage that reads that.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: LiteData,
        untouched: EfficientNetLite,
        folder: Path,
        report: Report,
    ):
        self.config, self.data, self.untouched, self.folder, self.report = config, data, untouched, folder, report
        self.corners: CornerTargets | None = None
        self.recognition: CachedRecognition | None = None
        self._recognized = -1

    def look(self, index: int, average: Callable[[], Any]) -> None:
        """Have the moving average look at the pictures as a stage needs it; what was kept is read.

        Args:
            index: The stage.
            average: Gives the moving average of the task.
        """
        stage, objective = self.config.stages[index], self.config.objectives[index]
        assert isinstance(objective, LiteConfig)
        if stage.cached == "recognition":
            self._recognize(index, objective, average)
        elif objective.corners:
            data, kept = self.data, self.folder / f"corners-{index}"
            taught = taught_tags(data.vocabulary, objective.corner_support)
            model = average().model
            with first_process_first():
                logits = corner_logits(model, data.shards, taught, kept, self.report)
            self.corners = CornerTargets(logits, taught, len(data.vocabulary))

    def _recognize(self, index: int, objective: LiteConfig, average: Callable[[], Any]) -> None:
        """The same for as long as the captioner alone is trained."""
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
    """Trains a ``lite`` model.

    Args:
        model: What is trained; its label queries hold its tags.
        objective: Gives the loss.
        settings: The objective's, one a stage.
        encoder_weight_decay: Of the image encoder's matrices.
        teachers: What stages learn from beside their batches.
    """

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
        """Take up the stage's settings, and have the model look at the pictures where the stage learns from that."""
        super().enter(index, stage, average)
        self.teachers.look(index, average)

    def forward(self, batch: LiteBatch, stage: TrainingStage) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(self.objective, LiteObjective)
        if stage.cached == "recognition":
            assert self.teachers.recognition is not None
            return self.objective.captioner(self.model, batch, self.teachers.recognition)
        tokens, teacher = self._tokens(batch, stage)
        found: tuple[Tensor, dict[str, float]] = self.objective(
            self.model, batch, tokens, teacher, self.teachers.corners
        )
        return found

    def _tokens(self, batch: LiteBatch, stage: TrainingStage) -> tuple[Tensor, Tensor | None]:
        """The encoder's tokens, and while it is trained what its classifier said before."""
        encoder, untouched = self.model.image_encoder, self.teachers.untouched
        maps = batch.maps
        if maps is None:
            # Sixteen pictures at a time: activations at full resolution fill the processor's cache soon.
            maps = torch.cat([encoder.lower_stages(piece) for piece in batch.pictures.split(16)])
        with torch.set_grad_enabled(stage.encoder_learning_rate > 0):
            tokens = encoder.upper_stages(maps)
        if not (stage.encoder_learning_rate and self.objective.config.distillation):
            return tokens, None
        with torch.no_grad():
            if batch.maps is None:
                # Without gradients four pictures at a time stay in the processor's cache.
                maps = torch.cat([untouched.lower_stages(piece) for piece in batch.pictures.split(4)])
            return tokens, self.model.classifier(untouched.upper_stages(maps))

    def captions(self, features: Tensor, found: Sequence[Sequence[int]]) -> list[str]:
        """Captions guided by the tags found; of those that imply each other, by the most specific."""
        prompts = self.teachers.data.prompts
        lists = [prompts.join(prompts.leaves(ids), given=False) for ids in found]
        options = DecodingOptions(num_beams=1, max_length=24, min_length=6)
        return caption_pictures(self.model, features, lists, prompts.tokenizer, options)
