"""Training tasks: a recognition model with its objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from anytag.errors import UsageError
from anytag.language.tokenizers.bert_tokenizer import OfficialTokenizer
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.model import RecognitionModel
from anytag.nn.momentum import MomentumConfig, MomentumContrast
from anytag.training.engine.config import LoopConfig
from anytag.training.engine.parameters import parameter_groups
from anytag.training.engine.task import Shared, Task
from anytag.training.families.batch import Batch
from anytag.training.families.objectives import (
    FamilyObjective,
    Objective,
    RamObjective,
    RamPlusObjective,
    Tag2TextObjective,
)
from anytag.training.recipes.config import AnyObjectiveConfig, RamConfig, RamPlusConfig, Tag2TextConfig, TrainingStage

#: This many batches in a row without loss components are an error: the data lack what the objective needs.
MOST_EMPTY = 100


class RecognitionTask(Task):
    """Base of the tasks of all families, whose models have label queries that are bound to tags.

    Attributes:
        settings: Settings of the objective, one per stage.
        encoder_weight_decay: Weight decay of the image encoder's matrices; ``None``: as for all others.
        writes_captions: Whether validation evaluates captions.
    """

    writes_captions = False

    def __init__(
        self,
        model: RecognitionModel,
        objective: Objective,
        settings: Sequence[AnyObjectiveConfig] = (),
        encoder_weight_decay: float | None = None,
    ):
        super().__init__()
        self.model, self.objective, self.settings = model, objective, tuple(settings)
        self.encoder_weight_decay = encoder_weight_decay

    def groups(self, config: LoopConfig) -> list[dict[str, Any]]:
        return parameter_groups(self, config, self.encoder_weight_decay)

    def enter(self, index: int, stage: TrainingStage, average: Callable[[], Any]) -> None:
        """Apply the stage's settings of the objective and of the image encoder."""
        if self.settings:
            self.objective.config = self.settings[index]
        if stage.drop_path is not None:
            if not hasattr(self.model.image_encoder, "set_drop_path"):
                raise UsageError(
                    f"stages.{index}.drop_path: this image encoder learns with the drop_path of its config; set the "
                    "run's drop_path"
                )
            self.model.image_encoder.set_drop_path(stage.drop_path)

    def losses(self, batch: Batch) -> dict[str, float]:
        """Loss components on validation data; none by default."""
        return {}

    def captions(self, features: Tensor, found: Sequence[Sequence[int]]) -> list[str]:
        """Caption features ``[B, 1 + N, F]``, guided by the recognized tags of each, most likely first."""
        raise NotImplementedError

    @property
    def encoder(self) -> AlignmentEncoder | None:
        """The alignment encoder of texts and pictures, if the objective has one."""
        return self.objective.encoder if isinstance(self.objective, Tag2TextObjective) else None


class RecognizedGuides(Shared):
    """Guides a share of the captions by tags that the model recognizes, with scores from ``threshold``, not their own.

    Tag2Text's caption fine-tuning mixes tags parsed from the caption with tags recognized by the model (appendix D);
    the paper does not give the proportion.
    """

    def __init__(self, share: float, threshold: float, vocabulary: TagVocabulary, tokenizer: OfficialTokenizer):
        self.share, self.vocabulary, self.tokenizer = share, vocabulary, tokenizer
        self._limit = float(torch.logit(torch.tensor(threshold, dtype=torch.float64), eps=1e-6))

    @torch.no_grad()
    def __call__(self, model: RecognitionModel, batch: Batch) -> Batch:
        """Replace the tags of captions chosen by PyTorch's global generator."""
        if batch.captions is None or batch.tag_tokens is None:
            return batch
        chosen = (torch.rand(len(batch.captions)).to(batch.captions.device) < self.share) & (batch.captions[:, 0] != 0)
        rows = chosen.nonzero().flatten()
        if not len(rows):
            return batch
        was_training = model.training
        model.eval()
        features, _ = model.encode(batch.pictures[rows])
        found = model.recognize(features) >= self._limit
        model.train(was_training)
        tokens = batch.tag_tokens.clone()
        for row, tags in zip(rows.tolist(), found, strict=True):
            names = [self.vocabulary[id].name for id in tags.nonzero().flatten().tolist()]
            tokens[row] = torch.tensor(self.tokenizer.encode_tags(names), device=tokens.device)
        return replace(batch, tag_tokens=tokens)


class FamilyTask(RecognitionTask):
    """Trains Tag2Text, RAM and RAM++, and new tags of any model; ``guides`` replaces the tags of captions."""

    summed_parts = ("tagging",)

    def __init__(
        self,
        model: RecognitionModel,
        objective: FamilyObjective,
        settings: Sequence[AnyObjectiveConfig] = (),
        encoder_weight_decay: float | None = None,
        guides: RecognizedGuides | None = None,
    ):
        super().__init__(model, objective, settings, encoder_weight_decay)
        self.guides = guides
        self._empty = 0

    def forward(self, batch: Batch, stage: TrainingStage | None = None) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of a batch and its components.

        Raises:
            UsageError: If :data:`MOST_EMPTY` batches in a row have no components.
        """
        if self.guides is not None and self.training:
            batch = self.guides(self.model, batch)
        total, parts = self.objective(self.model, batch)
        if self.training:
            self._empty = 0 if parts else self._empty + 1
        if self._empty >= MOST_EMPTY:
            raise UsageError(
                f"{self._empty} batches in a row had nothing that this objective learns from (tags, captions or "
                "texts). Do the sources hold it, and is its weight above 0?"
            )
        return total, parts

    def losses(self, batch: Batch) -> dict[str, float]:
        """Loss components, without contrast and matching."""
        # Contrast waits for other processes, which do not validate; retrieval evaluates it instead.
        return self(replace(batch, texts=None))[1]


def make_objective(
    config: AnyObjectiveConfig,
    model: RecognitionModel,
    tokenizer: OfficialTokenizer | None,
    momentum: MomentumConfig,
    width: int,
    steps_per_epoch: int,
) -> FamilyObjective:
    """Build the objective that the class of the settings selects.

    Without a tokenizer, the model has no official captioner. Momentum, width of the unit vectors, and steps per epoch,
    for its ramp, are those of Tag2Text's contrast.

    Raises:
        UsageError: If the model lacks a part that the objective trains.
    """
    if isinstance(config, RamPlusConfig):
        if config.alignment and model.config.labels.kind == "learned":
            raise UsageError("this model has learned queries and reads no texts; set objective.alignment=0")
        return RamPlusObjective(config)
    if tokenizer is None:
        raise UsageError(
            f"a {model.config.family} model has no captioner that {type(config).__name__} could train; use "
            "RamPlusConfig, with alignment or distillation 0 if there is nothing to align with"
        )
    if isinstance(config, RamConfig):
        return RamObjective(config, tokenizer)
    assert isinstance(config, Tag2TextConfig)
    if not (config.contrast or config.matching):
        return Tag2TextObjective(config, tokenizer)
    encoder = AlignmentEncoder(model.text_decoder, model.config.features, width, tokenizer.tags_id)
    return Tag2TextObjective(config, tokenizer, encoder, MomentumContrast(model, encoder, momentum, steps_per_epoch))
