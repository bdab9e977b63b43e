"""The published models' training objectives, one class each.

- :class:`Tag2TextObjective`: tagging, captioning, image–text contrast and matching.
- :class:`RamObjective`: tagging, captioning, distillation from CLIP.
- :class:`RamPlusObjective`: tagging, whole captions scored by the recognition decoder, distillation from CLIP.

Each takes a model and a :class:`~anytag.training.families.pair_batch.PairBatch` and gives the total and its parts.
Tags, captions and texts are independent of each other: what a batch lacks is skipped. Without any of them there are
no parts, and the total is 0.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from anytag.errors import UsageError
from anytag.foundations.settings import Settings
from anytag.language.tokenizers.bert_tokenizer import PublishedTokenizer
from anytag.nn.alignment import AlignmentEncoder, matching_loss
from anytag.nn.losses import asymmetric_loss, language_modelling_loss, rescaled
from anytag.nn.model import RecognitionModel
from anytag.nn.momentum import MomentumContrast
from anytag.training.families.pair_batch import PairBatch

Parts = dict[str, Tensor]


class _ObjectiveConfig(Settings):
    """Settings that all objectives have. A weight of 0 switches a part off.

    Attributes:
        gamma_negative: Focusing of the tagging loss on negatives.
        gamma_positive: Focusing on positives.
        clip: Probability margin of negatives.
        tagging: Weight of tagging, after it was rescaled to the caption loss where there is one.
    """

    gamma_negative: float = Field(default=7.0, ge=0)
    gamma_positive: float = Field(default=0.0, ge=0)
    clip: float = Field(default=0.05, ge=0, lt=1)
    tagging: float = Field(default=1.0, ge=0)


class _CaptioningConfig(_ObjectiveConfig):
    """Settings of objectives that learn captions.

    Attributes:
        captioning: Weight of captioning.
        label_smoothing: Of the caption loss.
        released: Learn as the released code does: captions come without the prompt, and yet as many first tokens as
            the prompt has are not learnt, so that the first three word pieces of every caption never are.
    """

    captioning: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    released: bool = False


class Tag2TextConfig(_CaptioningConfig):
    """Settings of :class:`Tag2TextObjective`.

    Attributes:
        contrast: Weight of the image–text contrast (ITC).
        matching: Weight of image–text matching (ITM).
    """

    contrast: float = Field(default=1.0, ge=0)
    matching: float = Field(default=1.0, ge=0)


class RamConfig(_CaptioningConfig):
    """Settings of :class:`RamObjective`.

    Attributes:
        distillation: Weight of the distance to CLIP's picture embedding.
    """

    distillation: float = Field(default=1.0, ge=0)


class RamPlusConfig(_ObjectiveConfig):
    """Settings of :class:`RamPlusObjective`.

    Attributes:
        distillation: Weight of the distance to CLIP's picture embedding.
        alignment: Weight of the texts' scores.
        alignment_gamma_negative: Focusing of the alignment loss on texts of other pictures.
    """

    distillation: float = Field(default=1.0, ge=0)
    alignment: float = Field(default=1.0, ge=0)
    alignment_gamma_negative: float = Field(default=4.0, ge=0)


class _Captioning:
    """Learns captions guided by their own tags.

    Args:
        config: Settings.
        tokenizer: Says what the prompt is.
    """

    def __init__(self, config: _CaptioningConfig, tokenizer: PublishedTokenizer):
        self.config, self.tokenizer = config, tokenizer
        self.prompt = tokenizer.encode_prompt()

    def loss(self, model: RecognitionModel, features: Tensor, batch: PairBatch) -> Tensor | None:
        """The caption loss, mean over the tokens that are learnt; ``None`` if the batch has none."""
        captions, tag_tokens = batch.captions, batch.tag_tokens
        if captions is None or not self.config.captioning:
            return None
        if model.config.captioner is None:
            raise UsageError("this model writes no captions; set captioning to 0, or give its config a captioner")
        if tag_tokens is None:
            raise UsageError("the batch has captions without tag_tokens; for a caption without tags give [ENC] [SEP]")
        captioned = captions[:, 0] != 0
        if not captioned.any():
            return None
        captions, tag_tokens, features = captions[captioned], tag_tokens[captioned], features[captioned]
        self._check(captions)
        memory, mask = model.fuse(tag_tokens, features)
        hidden = model.text_decoder(captions[:, :-1], model.text_decoder.memory(memory), mask)
        targets = captions[:, 1:]
        learnt = targets != self.tokenizer.pad_id
        learnt[:, : len(self.prompt) - 1] = False
        if not learnt.any():
            return None
        # Logits only where a token counts: half of a padded batch is padding.
        logits = model.text_decoder.logits(hidden[learnt]).float()
        return language_modelling_loss(logits, targets[learnt], self.config.label_smoothing)

    def _check(self, captions: Tensor) -> None:
        if self.config.released:
            return
        start = captions.new_tensor(self.prompt)
        if captions.shape[1] < len(start) or not (captions[:, : len(start)] == start).all():
            raise UsageError(
                "a caption does not start with the prompt, so its first words would not be learnt; encode captions "
                "with caption_tensors, or set released to learn as the released code does"
            )


class _Objective(nn.Module):
    """What the objectives share. They are modules because some have parameters and state to train and keep."""

    config: _ObjectiveConfig

    def _tagging(self, model: RecognitionModel, features: Tensor, batch: PairBatch) -> Tensor | None:
        """The asymmetric loss of the tags, summed over pictures and tags as in the papers."""
        config = self.config
        if batch.tags is None or not config.tagging:
            return None
        weights = None if batch.tags_known is None else batch.tags_known[:, None].float()
        logits = model.recognize(features, batch.tag_ids).float()
        if logits.shape != batch.tags.shape:
            raise UsageError(f"tags have the shape {list(batch.tags.shape)}, the model's scores {list(logits.shape)}")
        return asymmetric_loss(
            logits, batch.tags, config.gamma_negative, config.gamma_positive, config.clip, weights=weights
        )

    def _total(self, model: RecognitionModel, features: Tensor, parts: Parts) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum, with tagging at the magnitude of captioning, and the parts as they were before that.

        A batch that has nothing to learn from costs nothing: where some pictures have tags and others captions, chance
        makes such batches.
        """
        if not parts:
            return _nothing(model, features), {}
        summands = dict(parts)
        if "tagging" in parts and "captioning" in parts:
            summands["tagging"] = rescaled(parts["tagging"], parts["captioning"])
        total = sum(getattr(self.config, name) * loss for name, loss in summands.items())
        assert isinstance(total, Tensor)
        return total, {name: float(loss.detach()) for name, loss in parts.items()}


def _distillation(features: Tensor, teacher: Tensor | None) -> Tensor | None:
    """Mean absolute distance of the whole picture's feature to CLIP's embedding (RAM section 3.2)."""
    if teacher is None:
        raise UsageError(
            "the batch has no teacher, CLIP's embeddings of its pictures; give them, or set distillation 0"
        )
    known = teacher.any(1)
    return F.l1_loss(features[known, 0].float(), teacher[known].float()) if known.any() else None


def _nothing(model: RecognitionModel, features: Tensor) -> Tensor:
    """A loss of nought that one can go backwards from.

    It touches a parameter that learns: where all gradients of a process are missing, DDP exchanges none, and the others
    wait for them. With the image encoder frozen, its features are no such touch.
    """
    nothing = features.sum() * 0.0
    if nothing.requires_grad or not torch.is_grad_enabled():
        return nothing
    whole = (p for p in model.parameters() if p.requires_grad and not isinstance(p, DTensor))
    learnt = next(whole, None)
    return nothing.requires_grad_() if learnt is None else nothing + learnt.sum() * 0.0


def _present(**parts: Tensor | None) -> Parts:
    return {name: loss for name, loss in parts.items() if loss is not None}


class Tag2TextObjective(_Objective):
    """Tag2Text (section 3.3): tagging, captioning guided by tags, image–text contrast and matching.

    Total: captioning + tagging rescaled to captioning + contrast + matching.

    Args:
        config: Settings.
        tokenizer: That of the captions.
        encoder: Reads texts for contrast and matching; ``None`` leaves both out, as the released code does.
        contrast: Its momentum copies and queue; comes with the encoder.

    Raises:
        UsageError: If one of the last two is given without the other.
    """

    def __init__(
        self,
        config: Tag2TextConfig,
        tokenizer: PublishedTokenizer,
        encoder: AlignmentEncoder | None = None,
        contrast: MomentumContrast | None = None,
    ):
        super().__init__()
        if (encoder is None) != (contrast is None):
            raise UsageError("an alignment encoder and its momentum contrast come together: give both or neither")
        self.config: Tag2TextConfig = config
        self.captioning = _Captioning(config, tokenizer)
        self.encoder, self.contrast = encoder, contrast

    def forward(
        self, model: RecognitionModel, batch: PairBatch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """The total loss and its parts, before rescaling and weights.

        Args:
            model: Gives features, scores and captions.
            batch: The batch.
            generator: Draws hard negatives; ``None``: PyTorch's global one.

        Raises:
            UsageError: If the batch lacks something that goes with what it has.
        """
        features, _ = model.encode(batch.pixels)
        parts = _present(
            captioning=self.captioning.loss(model, features, batch), tagging=self._tagging(model, features, batch)
        )
        return self._total(model, features, parts | self._alignment(model, features, batch, generator))

    def _alignment(
        self, model: RecognitionModel, features: Tensor, batch: PairBatch, generator: torch.Generator | None
    ) -> Parts:
        config = self.config
        if self.encoder is None or self.contrast is None or batch.texts is None:
            return {}
        if not (config.contrast or config.matching):
            return {}
        rows = batch.texts[:, 0] != 0
        numbers = None if batch.picture_numbers is None else batch.picture_numbers[rows]
        features, texts = features[rows], batch.texts[rows]
        # Without any text, too: other processes may wait to exchange theirs.
        contrast, keys = self.contrast(model, self.encoder, batch.pixels[rows], features, texts, numbers)
        if not len(texts):
            return {}
        parts = {"contrast": contrast.loss} if config.contrast else {}
        if config.matching:
            same = None if numbers is None else (numbers[:, None] == numbers) & (numbers >= 0)
            parts["matching"] = matching_loss(
                self.encoder, texts, features, contrast, keys.first, same_picture=same, generator=generator
            )
        return parts


class RamObjective(_Objective):
    """RAM (section 3.2): tagging, captioning guided by the caption's own tags, distillation from CLIP.

    Total: captioning + tagging rescaled to captioning + distillation.

    Args:
        config: Settings.
        tokenizer: That of the captions.
    """

    def __init__(self, config: RamConfig, tokenizer: PublishedTokenizer):
        super().__init__()
        self.config: RamConfig = config
        self.captioning = _Captioning(config, tokenizer)

    def forward(self, model: RecognitionModel, batch: PairBatch) -> tuple[Tensor, dict[str, float]]:
        """The total loss and its parts, before rescaling and weights.

        Raises:
            UsageError: If the batch lacks something that goes with what it has.
        """
        features, _ = model.encode(batch.pixels)
        parts = _present(
            captioning=self.captioning.loss(model, features, batch),
            tagging=self._tagging(model, features, batch),
            distillation=_distillation(features, batch.teacher) if self.config.distillation else None,
        )
        return self._total(model, features, parts)


class RamPlusObjective(_Objective):
    """RAM++ (section 3): tagging by re-weighted descriptions, whole captions scored by the same decoder, distillation.

    Total: the plain sum. The recognition decoder scores every caption of the batch against every picture; a picture's
    own is the right one.

    Args:
        config: Settings.
    """

    def __init__(self, config: RamPlusConfig):
        super().__init__()
        self.config: RamPlusConfig = config

    def forward(self, model: RecognitionModel, batch: PairBatch) -> tuple[Tensor, dict[str, float]]:
        """The total loss and its parts, before weights.

        Raises:
            UsageError: If the batch lacks something that goes with what it has.
        """
        features, _ = model.encode(batch.pixels)
        parts = _present(
            tagging=self._tagging(model, features, batch),
            distillation=_distillation(features, batch.teacher) if self.config.distillation else None,
            alignment=self._alignment(model, features, batch.text_embeddings),
        )
        return self._total(model, features, parts)

    def _alignment(self, model: RecognitionModel, features: Tensor, embeddings: Tensor | None) -> Tensor | None:
        config = self.config
        if embeddings is None or not config.alignment or not (rows := embeddings.any(1)).any():
            return None
        queries = model.label_queries.project(embeddings[rows])
        logits = model.recognition_decoder(features, queries).float()
        own = torch.eye(len(features), dtype=torch.bool, device=features.device)[:, rows]
        return asymmetric_loss(logits, own, config.alignment_gamma_negative, 0.0, config.clip)
