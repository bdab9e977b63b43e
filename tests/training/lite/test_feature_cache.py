"""The feature cache: what is computed is computed once, and no file is ever half there."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from fixtures_torch import write_shard
from PIL import Image

from anytag.datasets.webdataset import read_shard
from anytag.errors import UsageError
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.pictures import read_picture, to_pixels
from anytag.training.lite import feature_cache as features
from anytag.training.lite.feature_cache import augment, cache_features, normalise, open_cache
from anytag.training.lite.pixels import PictureReader

CAPTIONS = [("a dog",), ("a cat", "the cat"), ("grass",)]


@pytest.fixture(scope="module")
def encoder():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = EfficientNetLite("efficientnet_lite0", num_classes=1000, folded=True).eval()
    made.resolution = 64
    return made


@pytest.fixture
def shards(tmp_path):
    return [
        write_shard(tmp_path / "one.tar", CAPTIONS, labels=[("dog",), ("cat",), ()]),
        write_shard(tmp_path / "two.tar", CAPTIONS[:2], seed=1),
    ]


def test_what_is_cached_is_what_the_encoder_says(encoder, shards, tmp_path):
    out = tmp_path / "cache"
    cache_features(encoder, shards, out, views=2, report=lambda line: None)
    one, two = open_cache(out, ["one", "two"], 2)
    assert [record["captions"] for record in one.records] == [list(group) for group in CAPTIONS]
    assert [record["labels"] for record in one.records] == [["dog"], ["cat"], []]
    assert one.records[1]["source"] == "one.tar:one-0001.jpg"
    assert [array.shape for array in (*one.maps, *two.maps)] == [(3, 4, 4, 112)] * 2 + [(2, 4, 4, 112)] * 2
    picture = list(read_shard(shards[0]))[1].picture
    with torch.inference_mode():
        trunk = encoder.trunk(normalise(to_pixels(read_picture(picture), 64)[None]))
        logits = encoder.classifier(encoder.crown(trunk).mean(1))
    scale = float(trunk.abs().max())
    np.testing.assert_allclose(one.maps[0][1], trunk[0].permute(1, 2, 0).numpy(), atol=2e-3 * scale)
    np.testing.assert_allclose(one.logits[1], logits[0].numpy(), atol=1e-2 * float(logits.abs().max()))
    assert not np.array_equal(one.maps[0], one.maps[1]), "the second view is augmented"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}.{rest}" for name in ("one", "two") for rest in ("jsonl", "logits.npy", "view0.npy", "view1.npy")
    )


def test_a_second_call_computes_nothing(encoder, shards, tmp_path, monkeypatch):
    out, lines = tmp_path / "cache", []
    cache_features(encoder, shards, out, views=1, report=lines.append)
    assert [line.split(",")[1] for line in lines] == [" shard 1/2 (one)", " shard 2/2 (two)"]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(features, "read_shard", lambda path: pytest.fail("a shard was read again"))
    cache_features(encoder, shards, out, views=1, report=lines.append)
    assert len(lines) == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_pictures_of_another_size_do_not_mix(encoder, shards, tmp_path):
    cache_features(encoder, shards[:1], tmp_path / "a", report=lambda line: None, resolution=96)
    assert open_cache(tmp_path / "a", ["one"], 1)[0].maps[0].shape == (3, 6, 6, 112)
    with pytest.raises(UsageError) as caught:
        cache_features(encoder, shards[:1], tmp_path / "a", report=lambda line: None)
    message = "features of pictures of some 96 px, not 64; give another folder with --cache"
    assert str(caught.value) == f"{tmp_path / 'a' / 'one.view0.npy'}: {message}"


def test_the_cache_does_not_depend_on_when_it_was_made(encoder, shards, tmp_path):
    cache_features(encoder, shards[:1], tmp_path / "a", views=2, report=lambda line: None)
    cache_features(encoder, shards[:1], tmp_path / "b", views=1, report=lambda line: None)
    cache_features(encoder, shards[:1], tmp_path / "b", views=2, report=lambda line: None)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_write_that_fails_leaves_no_file(encoder, shards, tmp_path, monkeypatch):
    out = tmp_path / "cache"
    write = np.save

    def full_disk(handle, array):
        handle.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        cache_features(encoder, shards[:1], out, report=lambda line: None)
    assert not [path for path in out.iterdir() if path.suffix == ".npy"]
    monkeypatch.setattr(np, "save", write)
    cache_features(encoder, shards[:1], out, report=lambda line: None)
    [one] = open_cache(out, ["one"], 1)
    assert len(one.maps[0]) == len(one.records) == len(one.logits) == 3


def test_augmentation_is_seeded_and_keeps_a_picture(shards):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    first, again, other = (augment(picture, random.Random(seed)) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert (first.size, first.tobytes()) != (other.size, other.tobytes())
    sizes = [augment(picture, random.Random(seed)).size for seed in range(50)]
    assert all(0.4 * 1500 < width * height <= 1500 for width, height in sizes)


def test_normalising_is_the_public_weights_own():
    pixels = np.array([[[[127, 255, 0]]]], np.uint8)
    assert normalise(pixels).flatten().tolist() == [0, 1, -127 / 128]


class TestPictureReader:
    def test_pictures_come_in_the_shards_order(self, shards):
        reader = PictureReader(shards, 16, seed=0)
        assert len(reader) == 5
        samples = [sample for shard in shards for sample in read_shard(shard)]
        pixels = np.stack([to_pixels(read_picture(sample.picture), 16) for sample in samples])
        assert torch.equal(reader.batch([4, 0, 3]), normalise(pixels[[4, 0, 3]]))

    def test_augmentation_follows_the_step(self, shards):
        reader = PictureReader(shards, 16, seed=0)
        assert torch.equal(reader.batch([1], step=5), reader.batch([1], step=5))
        assert not torch.equal(reader.batch([1], step=5), reader.batch([1], step=6))
        assert not torch.equal(reader.batch([1], step=5), reader.batch([1]))
