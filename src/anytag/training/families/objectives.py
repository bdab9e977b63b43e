"""The official models' training objectives, one class each.

- :class:`Tag2TextObjective`: tagging, captioning, image–text contrast and matching.
- :class:`RamObjective`: tagging, captioning, distillation from CLIP.
- :class:`RamPlusObjective`: tagging, whole captions scored by the recognition decoder, distillation from CLIP.

Each takes a model and a :class:`~anytag.training.families.batch.Batch` and gives the total and its parts.
Tags, captions and texts are independent of each other: what a batch lacks is skipped. Without any of them there are
no parts, and the total is 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from anytag.errors import UsageError
from anytag.language.tokenizers.bert_tokenizer import OfficialTokenizer
from anytag.nn.alignment import AlignmentEncoder, matching_loss
from anytag.nn.losses import asymmetric_loss, language_modeling_loss, rescaled
from anytag.nn.model import RecognitionModel
from anytag.nn.momentum import MomentumContrast
from anytag.training.families.batch import Batch, picture_features
from anytag.training.recipes.config import CaptioningConfig, RamConfig, RamPlusConfig, Tag2TextConfig

Parts = dict[str, Tensor]


def caption_loss(
    model: RecognitionModel, captions: Tensor, tag_tokens: Tensor, features: Tensor, learned: Tensor, smoothing: float
) -> Tensor:
    """Language modeling of captions, mean over the tokens that are learned.

    Args:
        model: With a captioner.
        captions: Ids ``[C, L]``.
        tag_tokens: The tags that guide each, ``[C, T]``.
        features: Of each caption's picture, ``[C, N, F]``.
        learned: ``[C, L - 1]``, true for the targets that count.
        smoothing: Label smoothing.
    """
    memory, mask = model.fuse(tag_tokens, features)
    hidden = model.text_decoder(captions[:, :-1], model.text_decoder.memory(memory), mask)
    # Logits only where a token counts: half of a padded batch is padding.
    logits = model.text_decoder.logits(hidden[learned]).float()
    return language_modeling_loss(logits, captions[:, 1:][learned], smoothing)


class _Captioning:
    """Learns captions guided by their own tags.

    Args:
        tokenizer: Says what the prompt is.
    """

    def __init__(self, tokenizer: OfficialTokenizer):
        self.tokenizer = tokenizer
        self.prompt = tokenizer.encode_prompt()

    def loss(self, model: RecognitionModel, features: Tensor, batch: Batch, config: CaptioningConfig) -> Tensor | None:
        """The caption loss, mean over the tokens that are learned; ``None`` if the batch has none."""
        captions, tag_tokens = batch.captions, batch.tag_tokens
        if captions is None or not config.captioning:
            return None
        if model.config.captioner is None:
            raise UsageError("this model writes no captions; set captioning to 0, or give its config a captioner")
        if tag_tokens is None:
            raise UsageError("the batch has captions without tag_tokens; for a caption without tags give [ENC] [SEP]")
        captioned = captions[:, 0] != 0
        if not captioned.any():
            return None
        captions, tag_tokens, features = captions[captioned], tag_tokens[captioned], features[captioned]
        if not config.official:
            self._check(captions)
        learned = captions[:, 1:] != self.tokenizer.pad_id
        learned[:, : len(self.prompt) - 1] = False
        if not learned.any():
            return None
        return caption_loss(model, captions, tag_tokens, features, learned, config.label_smoothing)

    def _check(self, captions: Tensor) -> None:
        start = captions.new_tensor(self.prompt)
        if captions.shape[1] < len(start) or not (captions[:, : len(start)] == start).all():
            raise UsageError(
                "a caption does not start with the prompt, so its first words would not be learned; encode captions "
                "with caption_tensors, or set official to learn as the official code does"
            )


class Objective(nn.Module):
    """What the objectives share. They are modules because some have parameters and state to train and keep.

    Attributes:
        config: Settings; a stage may bring others of the same class.
        sum_scale: Factor of the parts that are sums over pictures, for a step to be the same however many processes and
            micro-batches share its pictures: their losses are averaged.
    """

    config: Any
    #: Parts that are brought to the magnitude of captioning before they are weighted.
    rescaled_parts: tuple[str, ...] = ("tagging",)
    #: Parts that are sums over pictures.
    summed_parts = ("tagging", "alignment")
    sum_scale: float = 1.0

    def _tagging(self, model: RecognitionModel, features: Tensor, batch: Batch) -> Tensor | None:
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
        """The weighted sum, some parts at the magnitude of captioning, and the parts as they were before that.

        A batch that has nothing to learn from costs nothing: where some pictures have tags and others captions, chance
        makes such batches.
        """
        if not parts:
            return _nothing(model, features), {}
        summands = dict(parts)
        for name, loss in parts.items():
            if name in self.rescaled_parts and "captioning" in parts:
                summands[name] = rescaled(loss, parts["captioning"])
            elif name in self.summed_parts and self.sum_scale != 1:
                summands[name] = loss * self.sum_scale
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
    """A zero loss that gradients can flow back from.

    It touches a parameter that learns: where all gradients of a process are missing, DDP exchanges none, and the others
    wait for them. With the image encoder frozen, its features are no such touch.
    """
    nothing = features.sum() * 0.0
    if nothing.requires_grad or not torch.is_grad_enabled():
        return nothing
    whole = (p for p in model.parameters() if p.requires_grad and not isinstance(p, DTensor))
    learned = next(whole, None)
    return nothing.requires_grad_() if learned is None else nothing + learned.sum() * 0.0


def present(**parts: Tensor | None) -> Parts:
    return {name: loss for name, loss in parts.items() if loss is not None}


class Tag2TextObjective(Objective):
    """Tag2Text (section 3.3): tagging, captioning guided by tags, image–text contrast and matching.

    Total: captioning + tagging rescaled to captioning + contrast + matching.

    Args:
        config: Settings.
        tokenizer: That of the captions.
        encoder: Reads texts for contrast and matching; ``None`` leaves both out, as the official code does.
        contrast: Its momentum copies and queue; comes with the encoder.

    Raises:
        UsageError: If one of the last two is given without the other.
    """

    def __init__(
        self,
        config: Tag2TextConfig,
        tokenizer: OfficialTokenizer,
        encoder: AlignmentEncoder | None = None,
        contrast: MomentumContrast | None = None,
    ):
        super().__init__()
        if (encoder is None) != (contrast is None):
            raise UsageError("an alignment encoder and its momentum contrast come together: give both or neither")
        self.config = config
        self.captioning = _Captioning(tokenizer)
        self.encoder, self.contrast = encoder, contrast

    def forward(
        self, model: RecognitionModel, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """The total loss and its parts, before rescaling and weights.

        Args:
            model: Gives features, scores and captions.
            batch: The batch.
            generator: Draws hard negatives; ``None``: PyTorch's global one.

        Raises:
            UsageError: If the batch lacks something that goes with what it has.
        """
        features = picture_features(model, batch)
        parts = present(
            captioning=self.captioning.loss(model, features, batch, self.config),
            tagging=self._tagging(model, features, batch),
        )
        return self._total(model, features, parts | self._alignment(model, features, batch, generator))

    def _alignment(
        self, model: RecognitionModel, features: Tensor, batch: Batch, generator: torch.Generator | None
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
        contrast, keys = self.contrast(model, self.encoder, batch.pictures[rows], features, texts, numbers)
        if not len(texts):
            return {}
        parts = {"contrast": contrast.loss} if config.contrast else {}
        if config.matching:
            same = None if numbers is None else (numbers[:, None] == numbers) & (numbers >= 0)
            parts["matching"] = matching_loss(
                self.encoder, texts, features, contrast, keys.first, same_picture=same, generator=generator
            )
        return parts


class RamObjective(Objective):
    """RAM (section 3.2): tagging, captioning guided by the caption's own tags, distillation from CLIP.

    Total: captioning + tagging rescaled to captioning + distillation.

    Args:
        config: Settings.
        tokenizer: That of the captions.
    """

    def __init__(self, config: RamConfig, tokenizer: OfficialTokenizer):
        super().__init__()
        self.config = config
        self.captioning = _Captioning(tokenizer)

    def forward(self, model: RecognitionModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The total loss and its parts, before rescaling and weights.

        Raises:
            UsageError: If the batch lacks something that goes with what it has.
        """
        features = picture_features(model, batch)
        parts = present(
            captioning=self.captioning.loss(model, features, batch, self.config),
            tagging=self._tagging(model, features, batch),
            distillation=_distillation(features, batch.teacher) if self.config.distillation else None,
        )
        return self._total(model, features, parts)


class RamPlusObjective(Objective):
    """RAM++ (section 3): tagging by re-weighted descriptions, whole captions scored by the same decoder, distillation.

    Total: the plain sum. The recognition decoder scores every caption of the batch against every picture; a picture's
    own is the right one.

    Args:
        config: Settings.
    """

    def __init__(self, config: RamPlusConfig):
        super().__init__()
        self.config = config

    def forward(self, model: RecognitionModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The total loss and its parts, before weights.

        Raises:
            UsageError: If the batch lacks something that goes with what it has.
        """
        features = picture_features(model, batch)
        parts = present(
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
