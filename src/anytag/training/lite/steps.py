"""The step of the `lite` recipe: from a step's number to its loss, as the stage has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor, nn

from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.nn.model import RecognitionModel
from anytag.training.engine.distributed import Share, first_process_first
from anytag.training.lite.cached_recognition import RememberedPictures, remember
from anytag.training.lite.config import StageConfig
from anytag.training.lite.multi_crop import CornerTargets, look_closer, taught_tags
from anytag.training.lite.objective import Objective
from anytag.training.lite.pairs import Batch, Batcher
from anytag.training.lite.pixels import PictureReader
from anytag.training.lite.prepare import Prepared


class LiteStep:
    """Gives the loss of any step.

    Args:
        prepared: What the run reads.
        batcher: Draws the batches.
        objectives: One a stage.
        untouched: The image encoder as it was before training, teacher of the one that is trained.
        pictures: Reads training pictures; needed by stages that train end to end.
        folder: The run folder: what is computed once a stage is kept there.
        report: Receives progress.
    """

    #: The run's moving average, of which stages begin by asking what it sees; set before the first step.
    average: RecognitionModel

    def __init__(
        self,
        prepared: Prepared,
        batcher: Batcher,
        objectives: Sequence[Objective],
        untouched: EfficientNetLite,
        pictures: PictureReader | None,
        folder: Path,
        report: Callable[[str], None],
    ):
        self.prepared, self.batcher, self.objectives = prepared, batcher, objectives
        self.untouched, self.pictures, self.folder, self.report = untouched, pictures, folder, report
        self._corners: dict[int, CornerTargets] = {}
        self._remembered: dict[int, RememberedPictures] = {}

    def __call__(
        self, model: nn.Module, number: int, stage: StageConfig, share: Share | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss and parts of a share of step ``number``, which is in ``stage``."""
        assert isinstance(model, RecognitionModel)
        index = self.prepared.config.stages.index(stage)
        objective = self.objectives[index]
        alone = stage.captioner_only and not stage.end_to_end
        batch = self.batcher.batch(
            number,
            with_maps=not (alone or stage.end_to_end),
            views=stage.views,
            captions=stage.captions,
            several=stage.several,
            loss=objective.config,
            share=share,
        )
        if alone:
            return objective.captioner(model, batch, self._remember(index))
        corners = self._look_closer(index) if objective.config.corners else None
        model.image_encoder.set_drop_path(stage.drop_path)
        tokens, teacher = self._tokens(model, batch, number, stage, bool(objective.config.distillation))
        return objective(model, batch, tokens, teacher, corners)

    def _tokens(
        self, model: RecognitionModel, batch: Batch, number: int, stage: StageConfig, distilled: bool
    ) -> tuple[Tensor, Tensor | None]:
        maps = batch.maps
        if stage.end_to_end:
            assert self.pictures is not None
            pixels = self.pictures.batch(batch.indices, number)
            # Sixteen pictures at a time: activations at full resolution fill the processor's cache soon.
            maps = torch.cat([model.image_encoder.trunk(piece) for piece in pixels.split(16)])
        with torch.set_grad_enabled(stage.encoder_learning_rate > 0):
            tokens = model.image_encoder.crown(maps)
        if not (stage.encoder_learning_rate and distilled):
            return tokens, None
        untouched = self.untouched
        with torch.no_grad():
            if stage.end_to_end:
                # Without gradients four pictures at a time stay in the processor's cache.
                maps = torch.cat([untouched.trunk(piece) for piece in pixels.split(4)])
            return tokens, model.classifier(untouched.crown(maps))

    def _look_closer(self, index: int) -> CornerTargets:
        """What the moving average finds when the stage begins; a resumed stage reads what was kept."""
        if index not in self._corners:
            prepared, kept = self.prepared, self.folder / f"corners-{index}"
            taught = taught_tags(prepared.vocabulary, prepared.config.data.corner_support)
            with first_process_first():
                logits = look_closer(
                    self.average, prepared.shards, prepared.label_embeddings, taught, kept, self.report
                )
            self._corners = {index: CornerTargets(logits, taught, len(prepared.vocabulary))}
        return self._corners[index]

    def _remember(self, index: int) -> RememberedPictures:
        """What the recogniser makes of the pictures: the same for as long as the captioner alone is trained."""
        config = self.prepared.config
        before = reversed(config.stages[:index])
        first = index - len(list(takewhile(lambda stage: stage.captioner_only and not stage.end_to_end, before)))
        if first not in self._remembered:
            prepared = self.prepared
            alike = [stage for stage in config.stages[first:] if stage.captioner_only]
            with first_process_first():
                self._remembered = {
                    first: remember(
                        self.average,
                        prepared.shards,
                        prepared.pairs.pictures,
                        prepared.vocabulary,
                        prepared.label_embeddings,
                        max(min(stage.views or config.data.views, config.data.views) for stage in alike),
                        config.data.guide_support,
                        self.folder / f"remembered-{first}",
                        self.report,
                    )
                }
        return self._remembered[first]
