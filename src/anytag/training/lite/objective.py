"""The training objective of the ``lite`` family."""

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
    """Drop a random share of the N tokens of each picture's features ``[B, 1 + N, W]``; the first is kept."""
    count = features.shape[1] - 1
    kept = max(1, round(count * (1 - share)))
    if kept == count:
        return features
    chosen = torch.rand(len(features), count).argsort(1)[:, :kept] + 1
    chosen = torch.cat([chosen.new_zeros(len(features), 1), chosen], 1)
    return features.gather(1, chosen[..., None].expand(-1, -1, features.shape[2]))


def _kl_divergence(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of tag probabilities from a teacher's, summed."""
    target = target_logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(target_logits, target, reduction="sum")
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") - entropy


class LiteObjective(Objective):
    """Losses of a :class:`~anytag.training.lite.batches.LiteBatch`.

    Tagging: asymmetric loss on the tags parsed from captions (Tag2Text section 3.3). Captioning: language modeling
    guided by the caption's own tags (``given``), by tags that the model recognizes (``found``, the mix of Tag2Text's
    appendix D), or by none. Alignment: the recognition decoder scores whole captions of the batch; the picture's own is
    the positive (RAM++ section 3.2). Tagging and alignment are rescaled to the caption loss.
    Corners: divergence from pseudo-labels of the picture's corners (:mod:`anytag.training.lite.multi_crop`).
    Distillation: divergence from the ImageNet classes that the original encoder predicts.
    Consensus: CIDEr-D of sampled captions (:mod:`anytag.training.lite.consensus`), which needs ``reward``.
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
        """Compute the total loss and its components.

        Args:
            model: In train mode; its label queries are bound to its tags.
            batch: The batch.
            tokens: Image tokens ``[B, N, C]``.
            teacher: Logits of the original image encoder, ``[B, classes]``, while the encoder is trained.
            corners: Pseudo-labels; required if ``config.corners`` is not 0.
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
                # Tags that captions do not mention are negatives only if they have no pseudo-labels.
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
        """Compute the losses of the captioner alone, from cached recognition."""
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
            own = features if len(batch.rows) == len(features) else features[batch.rows]
            parts["captioning"] = self._caption_loss(model, batch.captions, lists, own)
            if config.consensus and (drawn := self._consensus(model, batch, lists, features)) is not None:
                parts["consensus"] = drawn
        if config.texts and len(batch.lone_captions):
            lists = [self.prompts.join(t, given=True) for t in batch.lone_tags]
            nothing = model.no_picture.expand(len(lists), 1, -1)
            parts["texts"] = self._caption_loss(model, batch.lone_captions, lists, nothing)
        return parts

    @staticmethod
    def _best(batch: LiteBatch, logits: Tensor) -> list[list[int]]:
        """The top-scored tags per caption; there is no threshold, since scores are not calibrated yet."""
        found = []
        assert batch.tag_ids is not None
        for row, kind, count in zip(batch.rows.tolist(), batch.guidance, batch.found_counts, strict=True):
            best = logits[row].topk(min(count, logits.shape[1]) if kind == "found" else 0).indices
            found.append(batch.tag_ids[best].tolist())
        return found

    def _guidance(self, batch: LiteBatch, found: list[list[int]]) -> list[list[int]]:
        lists = []
        for kind, own, recognized in zip(batch.guidance, batch.caption_tags, found, strict=True):
            if kind == "given":
                lists.append(self.prompts.join(own, given=True))
            else:
                leaves = self.prompts.leaves(recognized) if kind == "found" else ()
                lists.append(self.prompts.join(leaves, given=False))
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
        model.eval()  # Samples are drawn without dropout, which is on again for the loss.
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
