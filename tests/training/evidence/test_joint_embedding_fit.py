"""Projections that are fitted on pairs: captions find their pictures, and fits are reproducible."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import require_module

require_module("torch", "train")

from anytag.backends.base import Encoded  # noqa: E402
from anytag.errors import UsageError  # noqa: E402
from anytag.inference.embedding import picture_inputs  # noqa: E402
from anytag.inference.joint_embedding import JointEmbedding  # noqa: E402
from anytag.model.config import JointEmbeddingConfig  # noqa: E402
from anytag.training.evidence.joint_embedding import _load_pairs, fit_projections  # noqa: E402
from anytag.training.recipes.evidence import PictureGroup  # noqa: E402
from anytag.training.recipes.joint_embedding import JointEmbeddingTraining  # noqa: E402

CONFIG = JointEmbeddingTraining(
    groups=(PictureGroup(source="shard.tar"),), width=6, epochs=40, batch_size=32, learning_rate=0.02, dropout=0.0
)


def pairs(count=96):
    """Pictures and texts that show the same four numbers under two mixtures; every third picture has two texts."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(count, 4))
    means = (hidden @ rng.normal(size=(4, 8))).astype(np.float32)
    classes = rng.dirichlet(np.ones(4), count).astype(np.float32)
    owners = np.sort(np.concatenate([np.arange(count), np.arange(0, count, 3)]))
    texts = (hidden[owners] @ rng.normal(size=(4, 5)) + 0.05 * rng.normal(size=(len(owners), 5))).astype(np.float32)
    return means, classes, texts, owners


def test_captions_find_their_pictures():
    means, classes, texts, owners = pairs()
    said, pictures = [], Encoded(means[:, None], classes)
    arrays = fit_projections(picture_inputs(pictures, CONFIG.least), texts, owners, CONFIG, said.append)
    again = fit_projections(picture_inputs(pictures, CONFIG.least), texts, owners, CONFIG, said.append)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)
    assert {array.dtype.name for name, array in arrays.items() if name.endswith("_weight")} == {"int8"}
    joint = JointEmbedding(JointEmbeddingConfig(least=CONFIG.least), arrays, (12, 5))
    similar = joint.pictures(pictures) @ joint.texts(texts).T
    # By chance it would be one of ninety-six.
    assert (similar.argmax(0) == owners).mean() > 0.7
    assert said[39].startswith("joint embedding: epoch 40/40, loss ")


class OneSource:
    """Predicts two pictures, one of them without a caption."""

    def __call__(self, group, source):
        from anytag.datasets.samples import Sample
        from anytag.training.evidence.predictions import Predictions

        samples = [Sample("1", b"", ("a dog",)), Sample("2", b"", ())]
        return Predictions(samples, np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32), None)


def test_one_caption_is_not_enough(tmp_path, monkeypatch):
    module = "anytag.training.evidence.joint_embedding.open_sources"
    monkeypatch.setattr(module, lambda sources, data, log: [None])
    with pytest.raises(UsageError, match="groups: fewer than two pictures have captions"):
        _load_pairs(CONFIG, tmp_path, None, OneSource(), print)
