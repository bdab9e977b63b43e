"""The training objective of one batch: tagging, captioning, alignment."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anytag.nn.losses import asymmetric_loss, language_modelling_loss, rescaled
from anytag.nn.model import RecognitionModel
from anytag.training.lite.cached_recognition import RememberedPictures
from anytag.training.lite.config import LossConfig
from anytag.training.lite.consensus import ConsensusReward, consensus_loss, draw_captions
from anytag.training.lite.multi_crop import CornerTargets
from anytag.training.lite.pairs import Batch, TagPrompts, pad


def hide_tokens(features: Tensor, share: float) -> Tensor:
    """Features ``[B, 1 + N, W]`` without a random share of their N tokens, drawn for each picture; the first stays."""
    count = features.shape[1] - 1
    kept = max(1, round(count * (1 - share)))
    if kept == count:
        return features
    chosen = torch.rand(len(features), count).argsort(1)[:, :kept] + 1
    chosen = torch.cat([chosen.new_zeros(len(features), 1), chosen], 1)
    return features.gather(1, chosen[..., None].expand(-1, -1, features.shape[2]))


def _divergence(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of tags' probabilities from a teacher's, summed."""
    target = target_logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(target_logits, target, reduction="sum")
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") - entropy


class Objective:
    """Losses of a :class:`Batch`.

    Tagging: asymmetric loss on the tags parsed from captions (Tag2Text section 3.3). Captioning: language modelling
    guided by tags, which are those of the caption (``given``), those that the model itself finds (``found``, the mix
    of Tag2Text's appendix D), or none. Alignment: the recognition decoder scores whole captions of the batch, the
    picture's own is the true one (RAM++ section 3.2). Tagging and alignment are rescaled to the caption loss.
    Corners: agreement with what a teacher saw in the picture's corners (:mod:`anytag.training.lite.multi_crop`).

    Args:
        config: Weights and constants.
        label_embeddings: ``[tags, D]`` text embeddings of the vocabulary.
        prompts: Tag ids to tag lists.
        reward: Scores drawn captions; needed if ``config.consensus`` is not 0.
    """

    def __init__(
        self,
        config: LossConfig,
        label_embeddings: Tensor,
        prompts: TagPrompts,
        reward: ConsensusReward | None = None,
    ):
        self.config, self.label_embeddings, self.prompts = config, label_embeddings, prompts
        self.reward = reward

    def __call__(
        self,
        model: RecognitionModel,
        batch: Batch,
        tokens: Tensor,
        teacher: Tensor | None = None,
        corners: CornerTargets | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """The total loss and its parts.

        Args:
            model: In train mode.
            batch: The batch.
            tokens: Image tokens ``[B, N, C]`` of the batch's pictures.
            teacher: ``[B, classes]``, logits of the untouched image encoder, while the encoder is trained.
            corners: What the pictures' corners showed; needed if ``config.corners`` is not 0.
        """
        config = self.config
        features = hide_tokens(model.features(tokens), config.token_dropout)
        queries = model.label_queries(self.label_embeddings[batch.tag_ids], batch.tag_ids)
        if config.alignment:
            queries = torch.cat([queries, model.label_queries(batch.text_embeddings)])
        logits = model.recognition_decoder(features, queries).float()
        tags = len(batch.tag_ids)
        size = len(batch.indices)
        parts = {}
        if config.tagging:
            found, weights = logits[:, :tags], None
            if config.corners and corners is not None:
                taught, known = corners.of(batch.indices, batch.tag_ids)
                parts["corners"] = _divergence(found[:, known], taught) / size
                # What captions leave out of a picture is judged by its corners, where they were asked.
                weights = (batch.targets | ~known).float()
            loss = asymmetric_loss(
                found, batch.targets, config.gamma_negative, config.gamma_positive, config.clip, weights
            )
            parts["tagging"] = loss / size
        if config.alignment:
            target = torch.eye(size, dtype=torch.bool)
            parts["alignment"] = (
                asymmetric_loss(logits[:, tags:], target, config.alignment_gamma_negative, 0.0, config.clip) / size
            )
        parts |= self._caption_parts(model, batch, features, self._best(batch, logits[:, :tags].detach()))
        if teacher is not None and config.distillation:
            student = model.classifier(tokens).float().log_softmax(-1)
            parts["distillation"] = F.kl_div(student, teacher.float().softmax(-1), reduction="batchmean")
        return self._total(parts)

    def captioner(
        self, model: RecognitionModel, batch: Batch, pictures: RememberedPictures
    ) -> tuple[Tensor, dict[str, float]]:
        """The losses of the captioner alone, where what it reads of the pictures is known already."""
        features = hide_tokens(pictures.features_of(batch.indices, batch.views), self.config.token_dropout)
        chosen = zip(batch.indices[batch.rows], batch.found_shifts, strict=True)
        found = [pictures.list_of(int(picture), shift) for picture, shift in chosen]
        return self._total(self._caption_parts(model, batch, features, found))

    def _total(self, parts: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        total, config = torch.zeros(()), self.config
        caption = parts.get("captioning")
        for name, loss in parts.items():
            if name in ("tagging", "alignment") and caption is not None:
                loss = rescaled(loss, caption)
            total = total + getattr(config, name) * loss
        return total, {name: float(loss.detach()) for name, loss in parts.items()}

    def _caption_parts(
        self, model: RecognitionModel, batch: Batch, features: Tensor, found: list[list[int]]
    ) -> dict[str, Tensor]:
        parts, config = {}, self.config
        if config.captioning:
            lists = self._guidance(batch, found)
            seen = features if len(batch.rows) == len(features) else features[batch.rows]
            parts["captioning"] = self._caption_loss(model, batch.captions, lists, seen)
            if config.consensus and (drawn := self._consensus(model, batch, lists, features)) is not None:
                parts["consensus"] = drawn
        if config.texts and len(batch.texts):
            lists = [self.prompts.join(t, given=True) for t in batch.text_tags]
            nothing = model.no_picture.expand(len(lists), 1, -1)
            parts["texts"] = self._caption_loss(model, batch.texts, lists, nothing)
        return parts

    @staticmethod
    def _best(batch: Batch, logits: Tensor) -> list[list[int]]:
        """Per caption the tags that score best of those asked for: scores are comparable only once calibrated."""
        found = []
        for row, kind, count in zip(batch.rows.tolist(), batch.guidance, batch.found_counts, strict=True):
            best = logits[row].topk(min(count, logits.shape[1]) if kind == "found" else 0).indices
            found.append(batch.tag_ids[best].tolist())
        return found

    def _guidance(self, batch: Batch, found: list[list[int]]) -> list[list[int]]:
        lists = []
        for kind, own, seen in zip(batch.guidance, batch.caption_tags, found, strict=True):
            if kind == "given":
                lists.append(self.prompts.join(own, given=True))
            else:
                lists.append(self.prompts.join(self.prompts.leaves(seen) if kind == "found" else (), given=False))
        return lists

    def _consensus(
        self, model: RecognitionModel, batch: Batch, lists: list[list[int]], features: Tensor
    ) -> Tensor | None:
        assert self.reward is not None
        first = {row: place for place, row in reversed(list(enumerate(batch.rows.tolist())))}
        rows = [row for row in first if self.reward.scorable(int(batch.indices[row]))]
        if not rows:
            return None
        tokenizer, samples = self.prompts.tokenizer, self.config.samples
        memory, mask = model.fuse(pad([lists[first[row]] for row in rows]), features[rows])
        model.eval()  # Draws come from the model as it will be used; dropout returns for the loss.
        captions = draw_captions(
            model,
            memory.detach(),
            mask,
            start_id=tokenizer.start_id,
            end_id=tokenizer.end_id,
            banned=tokenizer.special_ids,
            limit=batch.captions.shape[1],
            samples=samples,
        )
        model.train()
        advantages = self.reward.advantages([int(batch.indices[row]) for row in rows], captions, samples)
        return consensus_loss(model, memory, mask, captions, advantages)

    def _caption_loss(
        self, model: RecognitionModel, captions: Tensor, lists: list[list[int]], features: Tensor
    ) -> Tensor:
        memory, mask = model.fuse(pad(lists), features)
        hidden = model.text_decoder(captions[:, :-1], model.text_decoder.memory(memory), mask)
        targets = captions[:, 1:]
        counted = targets != 0
        # Logits only where a token counts: half of a padded batch is padding.
        logits = model.text_decoder.logits(hidden[counted]).float()
        return language_modelling_loss(logits, targets[counted], self.config.label_smoothing)
