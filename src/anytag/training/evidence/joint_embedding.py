"""From captioned pictures to a space that sentences and pictures share."""

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
from anytag.training.evidence.eight_bits import in_eight_bits
from anytag.training.evidence.predictions import PredictionCache
from anytag.training.families.data_sources import open_sources
from anytag.training.recipes.joint_embedding import JointEmbeddingTraining

#: The similarity of a picture and its caption is multiplied by at most that much (CLIP: 100).
_MOST_SCALE = 60.0

#: Captions that are embedded at a time.
_CHUNK = 1000


class TwoMaps(nn.Module):
    """A linear map of each side, trained so that pairs find each other.

    Args:
        inputs: Widths of what pictures and texts are read from.
        width: Of the space.
        dropout: Share of inputs left out.
    """

    def __init__(self, inputs: tuple[int, int], width: int, dropout: float):
        super().__init__()
        self.picture, self.text = (nn.Linear(own, width) for own in inputs)
        self.dropout = nn.Dropout(dropout)
        self.log_scale = nn.Parameter(torch.tensor(3.0))

    def loss(self, pictures: Tensor, texts: Tensor) -> Tensor:
        """Cross-entropy of finding each picture's text and each text's picture among those of the batch."""
        ours = functional.normalize(self.picture(self.dropout(pictures)), dim=-1)
        theirs = functional.normalize(self.text(self.dropout(texts)), dim=-1)
        similar = ours @ theirs.T * self.log_scale.exp().clamp(max=_MOST_SCALE)
        right = torch.arange(len(similar))
        both: Tensor = functional.cross_entropy(similar, right) + functional.cross_entropy(similar.T, right)
        return both / 2


def fit_joint_embedding(
    config: JointEmbeddingTraining, data: Path, folder: Path, cache: Path, recognizer: Recognizer, report: Report
) -> None:
    """Fit the joint embedding of a model; see :func:`~anytag.training.evidence.run.fit_recipe`."""
    directory = recognizer.directory
    if directory.config.labels.kind != "text":
        raise UsageError(
            f"{directory.path}: a {directory.config.family} model has no label query of a sentence to start from; "
            "only models like lite have"
        )
    predict = PredictionCache(recognizer, cache, report, JsonLinesLog(folder / "bad-samples.jsonl"))
    pictures, texts, owners = _material(config, data, recognizer, predict, report)
    report(f"{len(pictures):,} pictures with {len(texts):,} captions")
    arrays = fit_maps(pictures, texts, owners, config, report)
    _write(folder / "model", directory, config, arrays)


def _material(
    config: JointEmbeddingTraining, data: Path, recognizer: Recognizer, predict: PredictionCache, report: Report
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Inputs of pictures ``[N, I]`` and of their captions ``[M, W]``, and whose each caption is ``[M]``."""
    inputs: list[FloatArray] = []
    captions: list[str] = []
    owners: list[int] = []
    count = 0
    for group in config.groups:
        [source] = open_sources([group.source], data, None)
        predictions = predict(group, source)
        named = [sample.captions[: config.captions] for sample in predictions.samples]
        rows = np.flatnonzero([len(own) > 0 for own in named])
        inputs.append(
            picture_inputs(Encoded(predictions.means[rows][:, None], np.exp(predictions.classes[rows])), config.least)
        )
        for row in rows:
            captions += named[row]
            owners += [count] * len(named[row])
            count += 1
    if count < 2:
        raise UsageError("groups: fewer than two pictures have captions, so there is nothing to tell apart")
    vectors = _caption_vectors(captions, recognizer, predict.place, report)
    return np.concatenate(inputs), vectors, np.array(owners, np.int64)


def _caption_vectors(captions: Sequence[str], recognizer: Recognizer, place: Path, report: Report) -> FloatArray:
    """Label queries ``[M, W]`` of captions, kept beside what was said of their pictures."""
    path = place / f"captions-{hashlib.sha256(json.dumps(captions).encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        parts = []
        for start in range(0, len(captions), _CHUNK):
            queries = recognizer.questions.texts.sentences(captions[start : start + _CHUNK])
            parts.append(queries.vectors().astype(np.float16))
            report(f"captions: {min(start + _CHUNK, len(captions)):,} of {len(captions):,} embedded")
        save_array(path, np.concatenate(parts))
    return np.load(path).astype(np.float32)


def fit_maps(
    pictures: FloatArray,
    texts: FloatArray,
    owners: NDArray[np.int64],
    config: JointEmbeddingTraining,
    report: Report,
) -> dict[str, NDArray[Any]]:
    """The arrays of ``joint_embedding.safetensors``.

    Args:
        pictures: ``[N, I]``.
        texts: ``[M, W]``.
        owners: ``[M]``, the picture of each text, in rising order.
        config: How.
        report: Receives a line after each epoch.
    """
    torch.manual_seed(config.seed)
    order = np.random.default_rng(config.seed)
    means = {"picture": pictures.mean(0), "text": texts.mean(0)}
    # Features vary alike, queries by what they say: one scale for all of a query keeps its shape.
    deviations = {"picture": pictures.std(0) + np.float32(1e-3), "text": np.full(texts.shape[1], texts.std() + 1e-6)}
    ours = torch.from_numpy((pictures - means["picture"]) / deviations["picture"]).float()
    theirs = torch.from_numpy((texts - means["text"]) / deviations["text"]).float()
    first = np.searchsorted(owners, np.arange(len(pictures)))
    several = np.bincount(owners, minlength=len(pictures))
    maps = TwoMaps((pictures.shape[1], texts.shape[1]), config.width, config.dropout)
    optimizer = torch.optim.AdamW(maps.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    size = min(config.batch_size, len(pictures))
    steps = len(pictures) // size
    course = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.epochs * steps + 1, pct_start=0.1
    )
    for epoch in range(config.epochs):
        total, shuffled = 0.0, order.permutation(len(pictures))
        for step in range(steps):
            rows = shuffled[step * size : (step + 1) * size]
            loss = maps.loss(ours[rows], theirs[first[rows] + order.integers(several[rows])])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            course.step()
            total += loss.item()
        report(f"joint embedding: epoch {epoch + 1}/{config.epochs}, loss {total / steps:.3f}")
    arrays: dict[str, NDArray[Any]] = {}
    for side, layer in (("picture", maps.picture), ("text", maps.text)):
        weight = layer.weight.detach().numpy() / deviations[side]
        arrays[f"{side}_bias"] = (layer.bias.detach().numpy() - weight @ means[side]).astype(np.float32)
        arrays[f"{side}_weight"], arrays[f"{side}_scale"] = in_eight_bits(weight)
    return arrays


def _write(
    folder: Path, directory: ModelDirectory, config: JointEmbeddingTraining, arrays: dict[str, NDArray[Any]]
) -> None:
    with new_model(folder) as part:
        names = [name for name in directory.config.files if name != JOINT_EMBEDDING_FILE]
        directory.copy(names, part)
        save_file(arrays, part / JOINT_EMBEDDING_FILE)
        read = JointEmbeddingConfig(least=config.least, tag_weight=config.tag_weight)
        changed = directory.config.model_copy(update={"joint_embedding": read})
        write_config(part, changed, [*names, JOINT_EMBEDDING_FILE])
