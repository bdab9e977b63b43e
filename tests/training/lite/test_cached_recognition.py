"""Cached recognition of training pictures, for stages that train the captioner alone."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import require_module

require_module("torch", "train")

import torch  # noqa: E402

from anytag.model.vocabulary import TagVocabulary, VocabularyTag  # noqa: E402
from anytag.training.families.feature_cache import CachedShard  # noqa: E402
from anytag.training.lite.batches import PictureRecord  # noqa: E402
from anytag.training.lite.cached_recognition import CachedRecognition, cache_recognition  # noqa: E402

#: Tag 2 is too rare to guide.
VOCABULARY = TagVocabulary(
    VocabularyTag(id=n, name=name, kind="object", support=support)
    for n, (name, support) in enumerate([("dog", 20), ("cat", 20), ("yak", 1)])
)
COUNT = 40


class _Model:
    """A fake model: the map's first two values are the logits of dog and cat."""

    def __init__(self):
        self.image_encoder = self

    def eval(self):
        return self

    def upper_stages(self, maps):
        return maps.mean((2, 3))[:, None]

    def features(self, tokens):
        return tokens

    def label_queries(self, ids):
        return torch.eye(3)[ids]

    def recognition_decoder(self, features, queries):
        return features[:, 0] @ queries.T


@pytest.fixture
def made(tmp_path):
    """Forty pictures, dogs and cats in turn, in two shards; swapped in view 1."""
    values = np.zeros((COUNT, 3))
    values[::2, 0] = values[1::2, 1] = 4
    values += np.linspace(0, 0.1, COUNT)[:, None]
    views = [values, values[:, [1, 0, 2]]]
    maps = [np.tile(view[:, None, None], (1, 2, 2, 1)).astype(np.float16) for view in views]
    cuts = [slice(0, 15), slice(15, COUNT)]
    shards = [
        CachedShard(name, [{}] * (cut.stop - cut.start), [m[cut] for m in maps], np.zeros((1, 1)))
        for name, cut in zip("ab", cuts, strict=True)
    ]
    pictures = [PictureRecord(np.array([n % 2]), [], range(0)) for n in range(COUNT)]
    lines: list[str] = []

    def run() -> CachedRecognition:
        return cache_recognition(_Model(), shards, pictures, VOCABULARY, 2, 8, tmp_path, lines.append)

    return run, lines, tmp_path, values


def test_lists_contain_the_tags_above_the_common_threshold(made):
    pictures = made[0]()
    assert [pictures.list_of(n, 0.0) for n in range(COUNT)] == [[n % 2] for n in range(COUNT)]


def test_a_stricter_list_keeps_the_likeliest_tag_and_a_lenient_one_has_more(made):
    pictures = made[0]()
    assert pictures.list_of(3, 99.0) == [1]
    assert pictures.list_of(3, -99.0) == [1, 0]


def test_features_are_those_of_the_picture_in_its_view(made):
    run, _, _, values = made
    features = run().features_of(np.array([1, 14, 15, 39]), np.array([0, 1, 0, 1]))
    assert features.shape == (4, 1, 3)
    expected = np.stack([values[1], values[14, [1, 0, 2]], values[15], values[39, [1, 0, 2]]])
    assert features[:, 0].numpy() == pytest.approx(expected, abs=0.01)


def test_a_second_call_continues(made):
    run, lines, folder, _ = made
    first = run()
    assert lines == [
        f"recognition: view {view}, shard {n}/2 ({name})" for view in (0, 1) for n, name in ((1, "a"), (2, "b"))
    ]
    (folder / "b.view1.npy").unlink()
    second = run()
    assert lines[4:] == ["recognition: view 1, shard 2/2 (b)"]
    assert np.array_equal(first.margins, second.margins)
    both = (np.arange(COUNT), np.ones(COUNT, int))
    assert torch.equal(first.features_of(*both), second.features_of(*both))
