"""Multi-crop pseudo-labels: crops, targets, and their loss."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import require_module

require_module("torch", "train")

import torch  # noqa: E402

from anytag.model.vocabulary import TagVocabulary, VocabularyTag  # noqa: E402
from anytag.training.families.feature_cache import CachedShard  # noqa: E402
from anytag.training.lite.multi_crop import CornerTargets, corner_logits, taught_tags  # noqa: E402


def test_only_well_supported_objects_are_looked_for():
    kinds = [("dog", "object", 60), ("run", "action", 90), ("yak", "object", 49), ("car", "object", 50)]
    tags = [VocabularyTag(id=n, name=name, kind=kind, support=s) for n, (name, kind, s) in enumerate(kinds)]
    assert taught_tags(TagVocabulary(tags), 50) == [0, 3]


def test_targets_are_found_by_picture_and_tag():
    targets = CornerTargets(np.array([[1, 2], [3, 4], [5, 6]], np.float16), [7, 2], 9)
    logits, known = targets.of(np.array([2, 0]), torch.tensor([1, 2, 7, 8]))
    assert known.tolist() == [False, True, True, False]
    assert logits.tolist() == [[6, 5], [2, 1]]


class _Sum:
    """A fake model: a picture's logit is the value of its map plus the query."""

    def __init__(self):
        self.image_encoder = self

    def eval(self):
        return self

    def upper_stages(self, maps):
        return maps.mean((1, 2, 3))[:, None]

    def features(self, tokens):
        return tokens

    def label_queries(self, ids):
        return torch.tensor([9.0, 0.5, 0.0])[ids]

    def recognition_decoder(self, features, queries):
        return features + queries


def _shard(name, whole, corners):
    maps = [np.full((1, 2, 2, 3), value, np.float16) for value in (whole, *corners)]
    return CachedShard(name, [{}], maps[:1], np.zeros((1, 1)), maps[1:])


def test_the_target_is_the_mean_of_the_whole_and_of_the_corners_mean_odds(tmp_path):
    lines: list[str] = []
    shards = [_shard("a", 0.0, (0.0, 0.0, 0.0, 2.0)), _shard("b", 1.0, (1.0,) * 4)]
    found = corner_logits(_Sum(), shards, [2, 1], tmp_path, lines.append)
    odds = np.log((3 * np.exp(0) + np.exp(2)) / 4)
    assert found == pytest.approx(np.array([[odds / 2, odds / 2 + 0.5], [1, 1.5]]), abs=0.02)
    assert lines == ["corners: shard 1/2 (a)", "corners: shard 2/2 (b)"]
    (tmp_path / "b.npy").unlink()
    again = corner_logits(_Sum(), shards, [2, 1], tmp_path, lines.append)
    assert lines[2:] == ["corners: shard 2/2 (b)"]
    assert np.array_equal(found, again)
