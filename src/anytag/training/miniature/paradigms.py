"""Model and objective of each paradigm, on the tokens of one frozen encoder.

Alignment compares pictures and sentences (CLIP, Radford et al., 2021). Captioning writes sentences (BLIP's decoder, Li
et al., 2022). Tagging predicts tags and writes sentences guided by them (Tag2Text, with RAM's textual queries, so that
hidden tags can be scored). The supervised head is trained on human labels (ML-Decoder); knowledge transfer continues
from the alignment model and ranks tags (MKT, He et al., 2023).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.evaluation.baselines.ml_decoder_head import MlDecoder
from anytag.inference.decoding_options import DecodingOptions
from anytag.model.config import (
    CaptionerConfig,
    DecodingConfig,
    ImageEncoderConfig,
    LabelQueryConfig,
    ModelConfig,
    RecognitionConfig,
)
from anytag.nn.losses import asymmetric_loss, language_modeling_loss, rescaled
from anytag.nn.model import RecognitionModel
from anytag.nn.transformer import TransformerLayer
from anytag.training.lite.batches import pad
from anytag.training.lite.captions import caption_pictures
from anytag.training.miniature.config import MiniatureConfig, Paradigm
from anytag.training.miniature.data import Hidden, MiniatureData

_DECODING = DecodingOptions(num_beams=1, max_length=20, min_length=6)

#: Share of the patches that knowledge transfer averages: MKT uses 18 of 196.
_BEST_PATCHES = 0.1

#: Maximum number of tags that guide a caption.
_GUIDES = 8


class Learner(ABC):
    """A paradigm: its model, loss and predictions.

    Attributes:
        rows: Rows of the training pictures.
    """

    model: nn.Module
    batch_size: int
    rows: NDArray[np.int64]

    @abstractmethod
    def loss(self, rows: NDArray[np.int64], tokens: Tensor, rng: np.random.Generator) -> Tensor:
        """Compute the loss of training pictures."""

    @abstractmethod
    def scores(self, tokens: Tensor, names: str) -> Tensor | None:
        """Score pictures for a set of names (``tags``, ``categories`` or ``world``), ``[B, N]``.

        ``None`` if the paradigm cannot score them.
        """

    def captions(self, tokens: Tensor) -> list[str]:
        """Caption pictures; empty if the paradigm writes no captions."""
        return []


def make_learner(
    paradigm: Paradigm, data: MiniatureData, hidden: Hidden, seed: int, aligned: nn.Module | None = None
) -> Learner:
    """Create an untrained learner; ``transfer`` needs the seed's trained alignment model."""
    torch.manual_seed(seed)
    if paradigm == "alignment":
        return AlignmentLearner(data, hidden)
    if paradigm == "supervised":
        return SupervisedLearner(data)
    if paradigm == "transfer":
        assert isinstance(aligned, AlignmentModel), "knowledge transfer continues from the alignment model"
        return TransferLearner(data, hidden, aligned)
    return CaptionLearner(data, hidden, tags=paradigm == "tagging")


class AlignmentModel(nn.Module):
    """Unit vectors of pictures and of sentence embeddings.

    Args:
        width: Width of the unit vectors.
        heads: Attention heads of the pooling.
        tokens: Width of the encoder's tokens.
        texts: Width of sentence embeddings.
    """

    def __init__(self, width: int, heads: int, tokens: int, texts: int):
        super().__init__()
        self.heads = heads
        self.projection, self.norm = nn.Linear(tokens, width), nn.LayerNorm(width)
        self.pool = TransformerLayer(width, 2 * width, self_attention=False, memory_width=width, dropout=0.0)
        self.picture = nn.Linear(width, width)
        self.text = nn.Sequential(nn.Linear(texts, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def pictures(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens ``[B, N, C]`` to unit vectors of pictures ``[B, W]`` and of their patches ``[B, N, W]``."""
        patches = self.norm(self.projection(tokens))
        whole = patches.mean(1, keepdim=True)
        memory = self.pool.cross_attention.keys_values(patches, self.heads)
        whole = self.pool.feed_forward(self.pool.cross_attention(whole, memory, self.heads))[:, 0]
        return F.normalize(self.picture(whole).float(), dim=-1), F.normalize(self.picture(patches).float(), dim=-1)

    def texts(self, embeddings: Tensor) -> Tensor:
        """Map sentence embeddings ``[T, D]`` to unit vectors ``[T, W]``."""
        return F.normalize(self.text(embeddings * embeddings.shape[-1] ** 0.5).float(), dim=-1)


def _prompt_embeddings(data: MiniatureData) -> dict[str, Tensor]:
    tags = data.prompt_embeddings([tag.name for tag in data.vocabulary])
    return {"tags": tags, "world": data.prompt_embeddings(data.world_classes), "categories": tags[data.categories]}


class AlignmentLearner(Learner):
    """Contrast of the pictures and captions of a batch; equal captions are not negatives of each other."""

    def __init__(self, data: MiniatureData, hidden: Hidden):
        config = data.config
        self.data, self.rows, self.batch_size = data, data.training_rows(hidden), config.contrast_size
        width = data.tokens(self.rows[:1]).shape[-1]
        self.model: AlignmentModel = AlignmentModel(config.width, config.heads, width, data.caption_embeddings.shape[1])

    @cached_property
    def _prompts(self) -> dict[str, Tensor]:
        return _prompt_embeddings(self.data)

    def loss(self, rows: NDArray[np.int64], tokens: Tensor, rng: np.random.Generator) -> Tensor:
        """Symmetric cross-entropy."""
        pictures, _ = self.model.pictures(tokens)
        texts = self.model.texts(self.data.caption_embeddings[torch.from_numpy(rows)])
        captions = np.array([hash(self.data.captions[row]) for row in rows.tolist()])
        same = torch.from_numpy(captions[:, None] == captions).float()
        targets = same / same.sum(1, keepdim=True)
        logits = pictures @ texts.T / self.model.temperature.clamp(0.01, 0.5)
        return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

    def scores(self, tokens: Tensor, names: str) -> Tensor | None:
        """Cosines with the names' prompts."""
        return self.model.pictures(tokens)[0] @ self.model.texts(self._prompts[names]).T


class TransferLearner(Learner):
    """Knowledge transfer from the alignment model (MKT section 3.3).

    A label's score is the mean of its similarity with the whole picture and with the best patches. The loss ranks every
    true label a margin above every other, and keeps the picture's vector near the teacher's.
    """

    def __init__(self, data: MiniatureData, hidden: Hidden, aligned: AlignmentModel):
        self.data, self.rows, self.batch_size = data, data.training_rows(hidden), data.config.batch_size
        self.model: AlignmentModel = copy.deepcopy(aligned).requires_grad_(True)
        self.teacher = aligned.eval().requires_grad_(False)
        self.tags = _TrainingTags(data, hidden)
        self._prompts = _prompt_embeddings(data)

    def _similarities(self, tokens: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        whole, patches = self.model.pictures(tokens)
        labels = self.model.texts(embeddings)
        similar = patches @ labels.T
        best = similar.topk(max(1, round(_BEST_PATCHES * similar.shape[1])), 1).values.mean(1)
        return (whole @ labels.T + best) / 2, whole

    def loss(self, rows: NDArray[np.int64], tokens: Tensor, rng: np.random.Generator) -> Tensor:
        """Ranking and distillation."""
        ids, targets = self.tags.draw(rows, rng)
        scores, whole = self._similarities(tokens, self._prompts["tags"][ids])
        scores = scores / 0.07
        truth = targets.float()
        gaps = F.relu(1 + scores[:, None] - scores[:, :, None]) * truth[:, :, None] * (1 - truth)[:, None]
        ranking = gaps.sum((1, 2)) / (truth.sum(1) * (1 - truth).sum(1)).clamp(min=1)
        with torch.no_grad():
            target, _ = self.teacher.pictures(tokens)
        return ranking.mean() + (whole - target).abs().sum(1).mean()

    def scores(self, tokens: Tensor, names: str) -> Tensor | None:
        """The mean of both similarities."""
        return self._similarities(tokens, self._prompts[names])[0]


class SupervisedLearner(Learner):
    """ML-Decoder trained on the 18 human categories of the COCO pictures."""

    def __init__(self, data: MiniatureData):
        config = data.config
        self.data, self.batch_size = data, config.batch_size
        self.rows = np.arange(len(data.coco), dtype=np.int64)
        width = data.tokens(self.rows[:1]).shape[-1]
        self.truth = torch.from_numpy(data.category_truth(data.coco))
        self.model = MlDecoder(
            self.truth.shape[1], width, self.truth.shape[1], config.width, config.heads, 2 * config.width
        )

    def loss(self, rows: NDArray[np.int64], tokens: Tensor, rng: np.random.Generator) -> Tensor:
        """Asymmetric loss with ML-Decoder's constants."""
        logits = self.model(tokens).float()
        return asymmetric_loss(logits, self.truth[torch.from_numpy(rows)], gamma_negative=4.0) / len(rows)

    def scores(self, tokens: Tensor, names: str) -> Tensor | None:
        """Probabilities of the categories."""
        return self.model(tokens).float().sigmoid() if names == "categories" else None


class CaptionLearner(Learner):
    """Captioning alone, or tagging with captions guided by tags: the same network, with and without tags."""

    def __init__(self, data: MiniatureData, hidden: Hidden, tags: bool):
        self.data, self.rows, self.batch_size = data, data.training_rows(hidden), data.config.batch_size
        example = data.tokens(self.rows[:1])
        self.model: RecognitionModel = _without_encoder(model_config(data.config, example, data))
        self.tags = _TrainingTags(data, hidden) if tags else None
        self._words = data.embed(list(data.world_classes)) if tags else None

    def loss(self, rows: NDArray[np.int64], tokens: Tensor, rng: np.random.Generator) -> Tensor:
        """Language modeling; with tags also the asymmetric loss, rescaled to the same magnitude (Tag2Text)."""
        features = self.model.features(tokens)
        tagging: Tensor | None = None
        guides: list[list[int]] = [[] for _ in rows]
        if self.tags is not None:
            ids, targets = self.tags.draw(rows, rng)
            queries = self.model.label_queries(self.data.label_embeddings[ids], None)
            logits = self.model.recognition_decoder(features, queries).float()
            tagging = asymmetric_loss(logits, targets) / len(rows)
            guides = [self.tags.guide(row, rng) for row in rows.tolist()]
        captions = pad([self.data.caption_ids[row] for row in rows.tolist()])
        lists = pad([self.data.prompts.join(ids, given=False) for ids in guides])
        memory, mask = self.model.fuse(lists, features)
        hidden = self.model.text_decoder(captions[:, :-1], self.model.text_decoder.memory(memory), mask)
        next_tokens = captions[:, 1:]
        mask = next_tokens != 0
        caption = language_modeling_loss(self.model.text_decoder.logits(hidden[mask]).float(), next_tokens[mask])
        return caption if tagging is None else caption + rescaled(tagging, caption)

    def scores(self, tokens: Tensor, names: str) -> Tensor | None:
        """Probabilities from the recognition decoder; ``None`` for captioning alone."""
        if self.tags is None:
            return None
        assert self._words is not None
        embeddings = {"tags": self.data.label_embeddings, "world": self._words}
        embeddings["categories"] = self.data.label_embeddings[self.data.categories]
        queries = self.model.label_queries(embeddings[names], None)
        return self.model.recognition_decoder(self.model.features(tokens), queries).float().sigmoid()

    def captions(self, tokens: Tensor) -> list[str]:
        """Captions, guided by the best tags where there are tags."""
        features = self.model.features(tokens).float()
        guides: list[list[int]] = [[] for _ in features]
        if self.tags is not None:
            scores = self.scores(tokens, "tags")
            assert scores is not None
            scores[:, self.tags.hidden] = 0
            best = scores.topk(_GUIDES, 1)
            guides = [
                self.data.prompts.leaves([int(i) for i, p in zip(ids, ps, strict=True) if p >= 0.5])
                for ids, ps in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ]
        lists = [self.data.prompts.join(ids, given=False) for ids in guides]
        return caption_pictures(self.model, features, lists, self.data.tokenizer, _DECODING)


class _TrainingTags:
    """Tags of training pictures, without the hidden ones."""

    def __init__(self, data: MiniatureData, hidden: Hidden):
        self.hidden = torch.from_numpy(hidden.tags)
        left_out = set(hidden.tags.tolist())
        self.of = [np.array([t for t in ids.tolist() if t not in left_out], np.int64) for ids in data.train_tags]
        self.known = np.array([t for t in range(len(data.vocabulary)) if t not in left_out], np.int64)
        self.negatives, self._data = data.config.negatives, data

    def draw(self, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Sample the tags to score in a step ``[T]``, and return which are true ``[B, T]``."""
        positives = np.unique(np.concatenate([self.of[row] for row in rows.tolist()]))
        negatives = rng.choice(self.known, min(self.negatives, len(self.known)), replace=False)
        ids = np.union1d(positives, negatives).astype(np.int64)
        targets = np.stack([np.isin(ids, self.of[row]) for row in rows.tolist()])
        return torch.from_numpy(ids), torch.from_numpy(targets)

    def guide(self, row: int, rng: np.random.Generator) -> list[int]:
        """Sample tags of a picture as a recognizer would predict them: most of the true ones, and a wrong one."""
        own = self._data.prompts.leaves(self.of[row].tolist())
        kept = [tag for tag in own if rng.random() < 0.7]
        if rng.random() < 0.5:
            kept.append(int(rng.choice(self.known)))
        rng.shuffle(kept)
        return kept[:_GUIDES]


def _without_encoder(config: ModelConfig) -> RecognitionModel:
    model = RecognitionModel(config)
    model.image_encoder = nn.Identity()
    return model


def model_config(config: MiniatureConfig, example: Tensor, data: MiniatureData) -> ModelConfig:
    """Return the config of the captioning network."""
    return ModelConfig(
        name="miniature",
        width=config.width,
        image_encoder=ImageEncoderConfig(tokens=example.shape[1] + 1, width=example.shape[2], classes=0),
        labels=LabelQueryConfig(width=data.label_embeddings.shape[1], inner=2 * config.width, offsets=False),
        recognition=RecognitionConfig(layers=2, heads=config.heads, inner=2 * config.width, dropout=0.0),
        captioner=CaptionerConfig(
            layers=2,
            heads=config.heads,
            inner=4 * config.width,
            vocabulary=len(data.tokenizer),
            attention_dropout=0.0,
        ),
        decoding=DecodingConfig(num_beams=1),
    )
