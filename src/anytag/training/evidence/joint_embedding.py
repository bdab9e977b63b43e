"""Fit a joint embedding of sentences and pictures on captioned pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from anytag.backends.base import Encoded, FloatArray
from anytag.datasets.bad_samples import JsonLinesLog
from anytag.errors import UsageError
from anytag.foundations.atomic_files import save_array
from anytag.foundations.report import Report
from anytag.inference.embedding import picture_inputs
from anytag.inference.joint_embedding import JOINT_EMBEDDING_FILE
from anytag.inference.recognizer import Recognizer
from anytag.model.config import JointEmbeddingConfig
from anytag.model.directory import ModelDirectory, new_model, write_config
from anytag.training.evidence.optimization import quantize_int8, train_epochs
from anytag.training.evidence.predictions import PredictionCache
from anytag.training.families.data_sources import open_sources
from anytag.training.recipes.joint_embedding import JointEmbeddingTraining

#: Upper bound of the factor of similarities (CLIP: 100).
_MOST_SCALE = 60.0

#: Captions that are embedded at a time.
_CHUNK = 1000


class _Projections(nn.Module):
    """Linear maps of pictures and texts, trained by contrast.

    Args:
        inputs: Widths of the inputs of pictures and texts.
    """

    def __init__(self, inputs: tuple[int, int], width: int, dropout: float):
        super().__init__()
        self.picture, self.text = (nn.Linear(own, width) for own in inputs)
        self.dropout = nn.Dropout(dropout)
        self.log_scale = nn.Parameter(torch.tensor(3.0))

    def loss(self, pictures: Tensor, texts: Tensor) -> Tensor:
        """Symmetric cross-entropy of matching the pictures and texts of a batch."""
        pictures = functional.normalize(self.picture(self.dropout(pictures)), dim=-1)
        texts = functional.normalize(self.text(self.dropout(texts)), dim=-1)
        similar = pictures @ texts.T * self.log_scale.exp().clamp(max=_MOST_SCALE)
        matches = torch.arange(len(similar))
        both: Tensor = functional.cross_entropy(similar, matches) + functional.cross_entropy(similar.T, matches)
        return both / 2


def fit_joint_embedding(
    config: JointEmbeddingTraining, data: Path, folder: Path, cache: Path, recognizer: Recognizer, report: Report
) -> None:
    """Fit the joint embedding of a model; see :func:`~anytag.training.evidence.run.fit_recipe`."""
    directory = recognizer.directory
    if directory.config.labels.kind != "text":
        raise UsageError(
            f"{directory.path}: a {directory.config.family} model cannot embed sentences; start from a model like lite"
        )
    predict = PredictionCache(recognizer, cache, report, JsonLinesLog(folder / "bad-samples.jsonl"))
    pictures, texts, owners = _load_pairs(config, data, recognizer, predict, report)
    report(f"{len(pictures):,} pictures with {len(texts):,} captions")
    arrays = fit_projections(pictures, texts, owners, config, report)
    _write(folder / "model", directory, config, arrays)


def _load_pairs(
    config: JointEmbeddingTraining, data: Path, recognizer: Recognizer, predict: PredictionCache, report: Report
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Return inputs of pictures ``[N, I]`` and of captions ``[M, W]``, and the picture of each caption ``[M]``."""
    inputs: list[FloatArray] = []
    captions: list[str] = []
    owners: list[int] = []
    count = 0
    for group in config.groups:
        [source] = open_sources([group.source], data, None)
        predictions = predict(group, source)
        captions_of = [sample.captions[: config.captions] for sample in predictions.samples]
        rows = np.flatnonzero([len(own) > 0 for own in captions_of])
        inputs.append(
            picture_inputs(Encoded(predictions.means[rows][:, None], np.exp(predictions.classes[rows])), config.least)
        )
        for row in rows:
            captions += captions_of[row]
            owners += [count] * len(captions_of[row])
            count += 1
    if count < 2:
        raise UsageError("groups: fewer than two pictures have captions, so there is nothing to train on")
    vectors = _caption_vectors(captions, recognizer, predict.folder, report)
    return np.concatenate(inputs), vectors, np.array(owners, np.int64)


def _caption_vectors(captions: Sequence[str], recognizer: Recognizer, folder: Path, report: Report) -> FloatArray:
    """Return label queries ``[M, W]`` of captions, cached beside the predictions."""
    path = folder / f"captions-{hashlib.sha256(json.dumps(captions).encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        parts = []
        for start in range(0, len(captions), _CHUNK):
            queries = recognizer.questions.texts.sentences(captions[start : start + _CHUNK])
            parts.append(queries.vectors().astype(np.float16))
            report(f"captions: {min(start + _CHUNK, len(captions)):,} of {len(captions):,} embedded")
        save_array(path, np.concatenate(parts))
    return np.load(path).astype(np.float32)


def fit_projections(
    pictures: FloatArray,
    texts: FloatArray,
    owners: NDArray[np.int64],
    config: JointEmbeddingTraining,
    report: Report,
) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``joint_embedding.safetensors``.

    Args:
        pictures: ``[N, I]``.
        texts: ``[M, W]``.
        owners: ``[M]``, the picture of each text, in rising order.
    """
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    means = {"picture": pictures.mean(0), "text": texts.mean(0)}
    # One scale for all elements of a query keeps its direction.
    deviations = {"picture": pictures.std(0) + np.float32(1e-3), "text": np.full(texts.shape[1], texts.std() + 1e-6)}
    scaled_pictures = torch.from_numpy((pictures - means["picture"]) / deviations["picture"]).float()
    scaled_texts = torch.from_numpy((texts - means["text"]) / deviations["text"]).float()
    first = np.searchsorted(owners, np.arange(len(pictures)))
    counts = np.bincount(owners, minlength=len(pictures))
    projections = _Projections((pictures.shape[1], texts.shape[1]), config.width, config.dropout)
    optimizer = torch.optim.AdamW(projections.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)

    def loss(rows: NDArray[np.int64]) -> Tensor:
        return projections.loss(scaled_pictures[rows], scaled_texts[first[rows] + random.integers(counts[rows])])

    train_epochs("joint embedding", optimizer, loss, len(pictures), config, random, report)
    arrays: dict[str, NDArray[Any]] = {}
    for side, layer in (("picture", projections.picture), ("text", projections.text)):
        weight = layer.weight.detach().numpy() / deviations[side]
        arrays[f"{side}_bias"] = (layer.bias.detach().numpy() - weight @ means[side]).astype(np.float32)
        arrays[f"{side}_weight"], arrays[f"{side}_scale"] = quantize_int8(weight)
    return arrays


def _write(
    folder: Path, directory: ModelDirectory, config: JointEmbeddingTraining, arrays: dict[str, NDArray[Any]]
) -> None:
    with new_model(folder) as part:
        names = [name for name in directory.config.files if name != JOINT_EMBEDDING_FILE]
        directory.copy(names, part)
        save_file(arrays, part / JOINT_EMBEDDING_FILE)
        joint = JointEmbeddingConfig(least=config.least, tag_weight=config.tag_weight)
        changed = directory.config.model_copy(update={"joint_embedding": joint})
        write_config(part, changed, [*names, JOINT_EMBEDDING_FILE])
