"""Training objectives of the official models.

Each takes a model and a :class:`~anytag.training.families.batch.Batch`, and returns the total loss and its components.
Tags, captions and texts are independent: components that a batch lacks are skipped. Without any, the total is 0.
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
from anytag.training.recipes.config import CaptioningConfig, RamPlusConfig, Tag2TextConfig

Parts = dict[str, Tensor]


def caption_loss(
    model: RecognitionModel, captions: Tensor, tag_tokens: Tensor, features: Tensor, learned: Tensor, smoothing: float
) -> Tensor:
    """Language modeling loss of captions, mean over the target tokens.

    Args:
        model: With a captioner.
        captions: Ids ``[C, L]``.
        tag_tokens: Tags that guide each caption, ``[C, T]``.
        features: Features of each caption's picture, ``[C, N, F]``.
        learned: ``[C, L - 1]``, true for target tokens.
        smoothing: Label smoothing.
    """
    memory, mask = model.fuse(tag_tokens, features)
    hidden = model.text_decoder(captions[:, :-1], model.text_decoder.memory(memory), mask)
    # Logits of target tokens only: half of a padded batch is padding.
    logits = model.text_decoder.logits(hidden[learned]).float()
    return language_modeling_loss(logits, captions[:, 1:][learned], smoothing)


class Objective(nn.Module):
    """Base of the objectives, which are modules since some have parameters and state of their own.

    Attributes:
        config: Settings; stages may replace them.
        sum_scale: Factor of the components that are sums over pictures. Losses are averaged over processes and
            micro-batches; with it a step does not depend on how many share its pictures.
    """

    config: Any
    #: Components that are rescaled to the caption loss before they are weighted.
    rescaled_parts: tuple[str, ...] = ("tagging",)
    #: Components that are sums over pictures.
    summed_parts = ("tagging", "alignment")
    sum_scale: float = 1.0

    def _tagging(self, model: RecognitionModel, features: Tensor, batch: Batch) -> Tensor | None:
        """Asymmetric loss, summed over pictures and tags as in the papers."""
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
        """Return the weighted sum of the components, some of them rescaled, and the components before that.

        If some pictures have tags and others captions, a batch may have no component by chance: its loss is 0.
        """
        if not parts:
            return _zero_loss(model, features), {}
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
    """Mean absolute distance of the global picture feature to CLIP's embedding (RAM section 3.2)."""
    if teacher is None:
        raise UsageError(
            "the batch has no teacher, CLIP's embeddings of its pictures; give them, or set distillation 0"
        )
    known = teacher.any(1)
    return F.l1_loss(features[known, 0].float(), teacher[known].float()) if known.any() else None


def _zero_loss(model: RecognitionModel, features: Tensor) -> Tensor:
    """A zero loss with gradients.

    It depends on a trained parameter: if a process has no gradients at all, DDP synchronizes none, and the others wait
    for them. The features alone do not suffice if the image encoder is frozen.
    """
    zero = features.sum() * 0.0
    if zero.requires_grad or not torch.is_grad_enabled():
        return zero
    whole = (p for p in model.parameters() if p.requires_grad and not isinstance(p, DTensor))
    trained = next(whole, None)
    return zero.requires_grad_() if trained is None else zero + trained.sum() * 0.0


class FamilyObjective(Objective):
    """Base of the official objectives."""

    def forward(self, model: RecognitionModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the total loss and its components, before rescaling and weights.

        Raises:
            UsageError: If the batch is inconsistent.
        """
        features = picture_features(model, batch)
        parts = self._parts(model, features, batch)
        return self._total(model, features, {name: loss for name, loss in parts.items() if loss is not None})

    def _parts(self, model: RecognitionModel, features: Tensor, batch: Batch) -> dict[str, Tensor | None]:
        raise NotImplementedError


class _CaptioningObjective(FamilyObjective):
    """Base of the objectives with captions guided by their own tags."""

    def __init__(self, config: CaptioningConfig, tokenizer: OfficialTokenizer):
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.prompt = tokenizer.encode_prompt()

    def _captioning(self, model: RecognitionModel, features: Tensor, batch: Batch) -> Tensor | None:
        """Return the caption loss; ``None`` if the batch has no captions."""
        config, captions, tag_tokens = self.config, batch.captions, batch.tag_tokens
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
            self._check_prompt(captions)
        learned = captions[:, 1:] != self.tokenizer.pad_id
        learned[:, : len(self.prompt) - 1] = False
        if not learned.any():
            return None
        return caption_loss(model, captions, tag_tokens, features, learned, config.label_smoothing)

    def _check_prompt(self, captions: Tensor) -> None:
        start = captions.new_tensor(self.prompt)
        if captions.shape[1] < len(start) or not (captions[:, : len(start)] == start).all():
            raise UsageError(
                "a caption does not start with the prompt, so its first words would not be learned; encode captions "
                "with caption_tensors, or set official to learn as the official code does"
            )


class Tag2TextObjective(_CaptioningObjective):
    """Tag2Text (section 3.3): tagging, captioning guided by tags, image–text contrast and matching.

    Total: captioning + tagging rescaled to captioning + contrast + matching.

    Without the text encoder and the momentum contrast, contrast and matching are left out, as in the official code.

    Raises:
        UsageError: If only one of the last two is given.
    """

    def __init__(
        self,
        config: Tag2TextConfig,
        tokenizer: OfficialTokenizer,
        encoder: AlignmentEncoder | None = None,
        contrast: MomentumContrast | None = None,
    ):
        super().__init__(config, tokenizer)
        if (encoder is None) != (contrast is None):
            raise UsageError("an alignment encoder and its momentum contrast come together: give both or neither")
        self.encoder, self.contrast = encoder, contrast

    def _parts(self, model: RecognitionModel, features: Tensor, batch: Batch) -> dict[str, Tensor | None]:
        return {
            "captioning": self._captioning(model, features, batch),
            "tagging": self._tagging(model, features, batch),
            **self._alignment(model, features, batch),
        }

    def _alignment(self, model: RecognitionModel, features: Tensor, batch: Batch) -> Parts:
        config = self.config
        if self.encoder is None or self.contrast is None or batch.texts is None:
            return {}
        if not (config.contrast or config.matching):
            return {}
        rows = batch.texts[:, 0] != 0
        numbers = None if batch.picture_numbers is None else batch.picture_numbers[rows]
        features, texts = features[rows], batch.texts[rows]
        # Even without any text: other processes may wait to exchange theirs.
        contrast, keys = self.contrast(model, self.encoder, batch.pictures[rows], features, texts, numbers)
        if not len(texts):
            return {}
        parts = {"contrast": contrast.loss} if config.contrast else {}
        if config.matching:
            same = None if numbers is None else (numbers[:, None] == numbers) & (numbers >= 0)
            parts["matching"] = matching_loss(self.encoder, texts, features, contrast, keys.first, same_picture=same)
        return parts


class RamObjective(_CaptioningObjective):
    """RAM (section 3.2): tagging, captioning guided by the caption's own tags, distillation from CLIP.

    Total: captioning + tagging rescaled to captioning + distillation.
    """

    def _parts(self, model: RecognitionModel, features: Tensor, batch: Batch) -> dict[str, Tensor | None]:
        return {
            "captioning": self._captioning(model, features, batch),
            "tagging": self._tagging(model, features, batch),
            "distillation": _distillation(features, batch.teacher) if self.config.distillation else None,
        }


class RamPlusObjective(FamilyObjective):
    """RAM++ (section 3): tagging by re-weighted descriptions, whole captions scored by the same decoder, distillation.

    Total: the plain sum. The recognition decoder scores every caption of the batch for every picture; a picture's own
    caption is the positive.
    """

    def __init__(self, config: RamPlusConfig):
        super().__init__()
        self.config = config

    def _parts(self, model: RecognitionModel, features: Tensor, batch: Batch) -> dict[str, Tensor | None]:
        return {
            "tagging": self._tagging(model, features, batch),
            "distillation": _distillation(features, batch.teacher) if self.config.distillation else None,
            "alignment": self._alignment(model, features, batch.text_embeddings),
        }

    def _alignment(self, model: RecognitionModel, features: Tensor, embeddings: Tensor | None) -> Tensor | None:
        config = self.config
        if embeddings is None or not config.alignment or not (rows := embeddings.any(1)).any():
            return None
        queries = model.label_queries.project(embeddings[rows])
        logits = model.recognition_decoder(features, queries).float()
        own = torch.eye(len(features), dtype=torch.bool, device=features.device)[:, rows]
        return asymmetric_loss(logits, own, config.alignment_gamma_negative, 0.0, config.clip)
