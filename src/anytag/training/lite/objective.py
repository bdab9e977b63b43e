"""The objective of the ``lite`` family: tagging, captioning, alignment, and what its stages add."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anytag.nn.losses import asymmetric_loss
from anytag.nn.model import RecognitionModel
from anytag.training.families.objectives import Objective, Parts, caption_loss
from anytag.training.lite.batches import LiteBatch, TagPrompts, pad
from anytag.training.lite.cached_recognition import CachedRecognition
from anytag.training.lite.consensus import ConsensusReward, consensus_loss, draw_captions
from anytag.training.lite.multi_crop import CornerTargets
from anytag.training.recipes.config import LiteConfig


def hide_tokens(features: Tensor, share: float) -> Tensor:
    """Features ``[B, 1 + N, W]`` without a random share of their N tokens, drawn for each picture; the first stays."""
    count = features.shape[1] - 1
    kept = max(1, round(count * (1 - share)))
    if kept == count:
        return features
    chosen = torch.rand(len(features), count).argsort(1)[:, :kept] + 1
    chosen = torch.cat([chosen.new_zeros(len(features), 1), chosen], 1)
    return features.gather(1, chosen[..., None].expand(-1, -1, features.shape[2]))


def _kl_divergence(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of tags' probabilities from a teacher's, summed."""
    target = target_logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(target_logits, target, reduction="sum")
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") - entropy


class LiteObjective(Objective):
    """Losses of a :class:`~anytag.training.lite.batches.LiteBatch`.

    Tagging: asymmetric loss on the tags parsed from captions (Tag2Text section 3.3). Captioning: language modeling
    guided by tags, which are those of the caption (``given``), those that the model itself finds (``found``, the mix
    of Tag2Text's appendix D), or none. Alignment: the recognition decoder scores whole captions of the batch, the
    picture's own is the true one (RAM++ section 3.2). Tagging and alignment are rescaled to the caption loss.
    Corners: agreement with what a teacher saw in the picture's corners (:mod:`anytag.training.lite.multi_crop`).
    Distillation: agreement with what the classifier said of the encoder as it was.

    Args:
        config: Weights and constants.
        prompts: Tag ids to tag lists.
        reward: Scores drawn captions; needed if ``config.consensus`` is not 0.
    """

    rescaled_parts = ("tagging", "alignment")

    def __init__(self, config: LiteConfig, prompts: TagPrompts, reward: ConsensusReward | None = None):
        super().__init__()
        self.config, self.prompts, self.reward = config, prompts, reward

    def forward(
        self,
        model: RecognitionModel,
        batch: LiteBatch,
        tokens: Tensor,
        teacher: Tensor | None = None,
        corners: CornerTargets | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """The total loss and its parts.

        Args:
            model: In train mode; its label queries hold its tags.
            batch: The batch.
            tokens: Image tokens ``[B, N, C]`` of the batch's pictures.
            teacher: ``[B, classes]``, logits of the untouched image encoder, while the encoder is trained.
            corners: What the pictures' corners showed; needed if ``config.corners`` is not 0.
        """
        config: LiteConfig = self.config
        assert batch.tag_ids is not None
        assert batch.tags is not None
        features = hide_tokens(model.features(tokens), config.token_dropout)
        queries = model.label_queries(batch.tag_ids)
        if config.alignment:
            queries = torch.cat([queries, model.label_queries.project(batch.text_embeddings)])
        logits = model.recognition_decoder(features, queries).float()
        tags = len(batch.tag_ids)
        size = len(batch.indices)
        parts: Parts = {}
        if config.tagging:
            found, weights = logits[:, :tags], None
            if config.corners and corners is not None:
                taught, known = corners.of(batch.indices, batch.tag_ids)
                parts["corners"] = _kl_divergence(found[:, known], taught) / size
                # What captions leave out of a picture is judged by its corners, where they were asked.
                weights = (batch.tags | ~known).float()
            loss = asymmetric_loss(
                found, batch.tags, config.gamma_negative, config.gamma_positive, config.clip, weights
            )
            parts["tagging"] = loss / size
        if config.alignment:
            own = torch.eye(size, dtype=torch.bool)
            loss = asymmetric_loss(logits[:, tags:], own, config.alignment_gamma_negative, 0.0, config.clip)
            parts["alignment"] = loss / size
        parts |= self._caption_parts(model, batch, features, self._best(batch, logits[:, :tags].detach()))
        if teacher is not None and config.distillation:
            student = model.classifier(tokens).float().log_softmax(-1)
            parts["distillation"] = F.kl_div(student, teacher.float().softmax(-1), reduction="batchmean")
        return self._total(model, features, parts)

    def captioner(
        self, model: RecognitionModel, batch: LiteBatch, pictures: CachedRecognition
    ) -> tuple[Tensor, dict[str, float]]:
        """The losses of the captioner alone, where what it reads of the pictures is known already."""
        features = hide_tokens(pictures.features_of(batch.indices, batch.views), self.config.token_dropout)
        chosen = zip(batch.indices[batch.rows], batch.found_shifts, strict=True)
        found = [pictures.list_of(int(picture), shift) for picture, shift in chosen]
        return self._total(model, features, self._caption_parts(model, batch, features, found))

    def _caption_parts(
        self, model: RecognitionModel, batch: LiteBatch, features: Tensor, found: list[list[int]]
    ) -> Parts:
        parts: Parts = {}
        config: LiteConfig = self.config
        if config.captioning:
            assert batch.captions is not None
            lists = self._guidance(batch, found)
            seen = features if len(batch.rows) == len(features) else features[batch.rows]
            parts["captioning"] = self._caption_loss(model, batch.captions, lists, seen)
            if config.consensus and (drawn := self._consensus(model, batch, lists, features)) is not None:
                parts["consensus"] = drawn
        if config.texts and len(batch.lone_captions):
            lists = [self.prompts.join(t, given=True) for t in batch.lone_tags]
            nothing = model.no_picture.expand(len(lists), 1, -1)
            parts["texts"] = self._caption_loss(model, batch.lone_captions, lists, nothing)
        return parts

    @staticmethod
    def _best(batch: LiteBatch, logits: Tensor) -> list[list[int]]:
        """Per caption the tags that score best of those asked for: scores are comparable only once calibrated."""
        found = []
        assert batch.tag_ids is not None
        for row, kind, count in zip(batch.rows.tolist(), batch.guidance, batch.found_counts, strict=True):
            best = logits[row].topk(min(count, logits.shape[1]) if kind == "found" else 0).indices
            found.append(batch.tag_ids[best].tolist())
        return found

    def _guidance(self, batch: LiteBatch, found: list[list[int]]) -> list[list[int]]:
        lists = []
        for kind, own, seen in zip(batch.guidance, batch.caption_tags, found, strict=True):
            if kind == "given":
                lists.append(self.prompts.join(own, given=True))
            else:
                lists.append(self.prompts.join(self.prompts.leaves(seen) if kind == "found" else (), given=False))
        return lists

    def _consensus(
        self, model: RecognitionModel, batch: LiteBatch, lists: list[list[int]], features: Tensor
    ) -> Tensor | None:
        assert self.reward is not None
        assert batch.captions is not None
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
        learned = captions[:, 1:] != 0
        return caption_loss(model, captions, pad(lists), features, learned, self.config.label_smoothing)
