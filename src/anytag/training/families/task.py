"""The tasks of the families: a recognition model, its objective, and all that these learn and remember themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

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
from anytag.training.families.batch import Batch, picture_features
from anytag.training.families.objectives import Objective, RamObjective, RamPlusObjective, Tag2TextObjective
from anytag.training.recipes.config import AnyObjectiveConfig, RamConfig, RamPlusConfig, Tag2TextConfig, TrainingStage

#: So many batches in a row without anything to learn from are no chance: the data lack what the objective needs.
MOST_EMPTY = 100


class RecognitionTask(Task):
    """What the tasks of all families have in common.

    Args:
        model: What is trained; its label queries hold its tags.
        objective: Gives the loss.
        settings: The objective's, one a stage.
        encoder_weight_decay: Of the image encoder's matrices; ``None``: as of all others.

    Attributes:
        writes_captions: Whether validation may ask it for captions.
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
        """Take up the stage's settings of the objective and of the image encoder."""
        if self.settings:
            self.objective.config = self.settings[index]
        if stage.drop_path is not None:
            if not hasattr(self.model.image_encoder, "set_drop_path"):
                raise UsageError(
                    f"stages.{index}.drop_path: this image encoder learns with the drop_path of its config; set the "
                    "run's drop_path"
                )
            self.model.image_encoder.set_drop_path(stage.drop_path)

    def features(self, batch: Batch) -> Tensor:
        """Features ``[B, 1 + N, F]`` of a batch's pictures."""
        return picture_features(self.model, batch)

    def losses(self, batch: Batch) -> dict[str, float]:
        """Parts of the loss on validation data; none by default."""
        return {}

    def captions(self, features: Tensor, found: Sequence[Sequence[int]]) -> list[str]:
        """Captions of features ``[B, 1 + N, F]``, guided by the tags found in each, likeliest first."""
        raise NotImplementedError

    @property
    def encoder(self) -> AlignmentEncoder | None:
        """What compares texts with pictures, if the objective has it."""
        return self.objective.encoder if isinstance(self.objective, Tag2TextObjective) else None


class RecognizedGuides(Shared):
    """Replaces the tags that guide some captions by those that the model itself finds in the pictures.

    Tag2Text's caption fine-tuning mixes tags parsed from the caption with tags recognized by the model (appendix D);
    the share of each is not given.

    Args:
        share: Of the captions whose guides are replaced.
        threshold: Score from which on a tag is found.
        vocabulary: Names of tags.
        tokenizer: Of tag lists.
    """

    def __init__(self, share: float, threshold: float, vocabulary: TagVocabulary, tokenizer: OfficialTokenizer):
        self.share, self.vocabulary, self.tokenizer = share, vocabulary, tokenizer
        self._limit = float(torch.logit(torch.tensor(threshold, dtype=torch.float64), eps=1e-6))

    @torch.no_grad()
    def __call__(self, model: RecognitionModel, batch: Batch) -> Batch:
        """The batch with other guides; which captions are chosen is drawn from PyTorch's own generator."""
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
    """Trains Tag2Text, RAM and RAM++, and teaches any model new tags.

    Args:
        model: What is trained; its label queries hold its tags.
        objective: Gives the loss.
        settings: The objective's, one a stage.
        encoder_weight_decay: Of the image encoder's matrices; ``None``: as of all others.
        guides: Replaces guides of captions; ``None``: they stay.
    """

    summed_parts = ("tagging",)

    def __init__(
        self,
        model: RecognitionModel,
        objective: Tag2TextObjective | RamObjective | RamPlusObjective,
        settings: Sequence[AnyObjectiveConfig] = (),
        encoder_weight_decay: float | None = None,
        guides: RecognizedGuides | None = None,
    ):
        super().__init__(model, objective, settings, encoder_weight_decay)
        self.guides = guides
        self._empty = 0

    def forward(self, batch: Batch, stage: TrainingStage | None = None) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts.

        Raises:
            UsageError: If too many batches in a row have nothing that the objective learns from.
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
        return cast(Tensor, total), cast(dict[str, float], parts)

    def losses(self, batch: Batch) -> dict[str, float]:
        """Parts of the loss, contrast left out."""
        # Contrast waits for other processes, which do not validate; retrieval shows what it is worth.
        return self(replace(batch, texts=None))[1]


def make_objective(
    config: AnyObjectiveConfig,
    model: RecognitionModel,
    tokenizer: OfficialTokenizer | None,
    momentum: MomentumConfig,
    width: int,
    steps_per_epoch: int,
) -> Tag2TextObjective | RamObjective | RamPlusObjective:
    """The objective of a recipe for a model.

    Args:
        config: Settings; their class says which objective.
        model: What is trained.
        tokenizer: Of captions; ``None``: the model has no captioner of the official kind.
        momentum: Of Tag2Text's contrast.
        width: Of its unit vectors.
        steps_per_epoch: Its ramp is in epochs.

    Raises:
        UsageError: If the model lacks what the objective learns.
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
