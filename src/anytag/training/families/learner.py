"""What a pre-training run trains: a model, and the objective with all that it learns and remembers itself."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from anytag.errors import UsageError
from anytag.language.tokenizers.bert_tokenizer import PublishedTokenizer
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.model import RecognitionModel
from anytag.nn.momentum import MomentumConfig, MomentumContrast
from anytag.training.families.objectives import (
    RamConfig,
    RamObjective,
    RamPlusConfig,
    RamPlusObjective,
    Tag2TextConfig,
    Tag2TextObjective,
)
from anytag.training.families.pair_batch import PairBatch

ObjectiveConfig = Tag2TextConfig | RamConfig | RamPlusConfig

#: So many batches in a row without anything to learn from are no chance: the data lack what the objective needs.
MOST_EMPTY = 100


class RecognisedGuides:
    """Replaces the tags that guide some captions by those that the model itself finds in the pictures.

    Tag2Text's caption fine-tuning mixes tags parsed from the caption with tags recognised by the model (appendix D);
    the share of each is not given.

    Args:
        share: Of the captions whose guides are replaced.
        threshold: Score from which on a tag is found.
        vocabulary: Names of tags.
        tokenizer: Of tag lists.
    """

    def __init__(self, share: float, threshold: float, vocabulary: TagVocabulary, tokenizer: PublishedTokenizer):
        self.share, self.vocabulary, self.tokenizer = share, vocabulary, tokenizer
        self._limit = float(torch.logit(torch.tensor(threshold, dtype=torch.float64), eps=1e-6))

    @torch.no_grad()
    def __call__(self, model: RecognitionModel, batch: PairBatch) -> PairBatch:
        """The batch with other guides; which captions are chosen is drawn from PyTorch's own generator."""
        if batch.captions is None or batch.tag_tokens is None:
            return batch
        chosen = (torch.rand(len(batch.captions)).to(batch.captions.device) < self.share) & (batch.captions[:, 0] != 0)
        rows = chosen.nonzero().flatten()
        if not len(rows):
            return batch
        was_training = model.training
        model.eval()
        features, _ = model.encode(batch.pixels[rows])
        found = model.recognize(features) >= self._limit
        model.train(was_training)
        tokens = batch.tag_tokens.clone()
        for row, tags in zip(rows.tolist(), found, strict=True):
            names = [self.vocabulary[id].name for id in tags.nonzero().flatten().tolist()]
            tokens[row] = torch.tensor(self.tokenizer.encode_tags(names), device=tokens.device)
        return replace(batch, tag_tokens=tokens)


class Learner(nn.Module):
    """A model together with its objective, so that one module holds all that is trained, averaged and kept.

    Args:
        model: What is trained.
        objective: Gives the loss.
        guides: Replaces guides of captions; ``None``: they stay.
    """

    def __init__(
        self,
        model: RecognitionModel,
        objective: Tag2TextObjective | RamObjective | RamPlusObjective,
        guides: RecognisedGuides | None = None,
    ):
        super().__init__()
        self.model, self.objective, self.guides = model, objective, guides
        self._empty = 0

    def forward(self, batch: PairBatch) -> tuple[Tensor, dict[str, float]]:
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

    @property
    def encoder(self) -> AlignmentEncoder | None:
        """What compares texts with pictures, if the objective has it."""
        return self.objective.encoder if isinstance(self.objective, Tag2TextObjective) else None


def make_objective(
    config: ObjectiveConfig,
    model: RecognitionModel,
    tokenizer: PublishedTokenizer | None,
    momentum: MomentumConfig,
    width: int,
    steps_per_epoch: int,
) -> Tag2TextObjective | RamObjective | RamPlusObjective:
    """The objective of a recipe for a model.

    Args:
        config: Settings; their class says which objective.
        model: What is trained.
        tokenizer: Of captions; ``None``: the model has no captioner of the published kind.
        momentum: Of Tag2Text's contrast.
        width: Of its unit vectors.
        steps_per_epoch: That its ramp is told in.

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
    if not (config.contrast or config.matching):
        return Tag2TextObjective(config, tokenizer)
    encoder = AlignmentEncoder(model.text_decoder, model.config.features, width, tokenizer.tags_id)
    return Tag2TextObjective(config, tokenizer, encoder, MomentumContrast(model, encoder, momentum, steps_per_epoch))
