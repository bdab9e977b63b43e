"""The feature cache: features are computed once, unreadable pictures are skipped, and files are whole."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from fixtures_torch import write_shard
from PIL import Image
from toy_pairs import write_pictures

from anytag.datasets.opening import open_source
from anytag.datasets.webdataset import ShardSource, read_shard
from anytag.errors import DataError, PictureError, UsageError
from anytag.model.config import ImageEncoderConfig
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.nn.model import encoder_input
from anytag.pictures import read_picture, to_pixels
from anytag.training.lite.feature_cache import FeatureCache, PictureReader, augment

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


@pytest.fixture
def source(shards):
    return ShardSource(shards)


def normalize(pixels):
    return encoder_input(torch.from_numpy(pixels), ImageEncoderConfig())


def cache_of(encoder, folder, lines=None, sizes=None, **settings):
    report = (lambda line: None) if lines is None else lines.append
    return FeatureCache(
        encoder, folder, ImageEncoderConfig(**{"resolution": 64} | (sizes or {})), report=report, **settings
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_cached_features_are_those_of_the_encoder(encoder, source, shards, tmp_path):
    cache = cache_of(encoder, tmp_path / "cache")
    one, two = cache.open([source], views=2)
    assert [record["captions"] for record in one.records] == [list(group) for group in CAPTIONS]
    assert [record["labels"] for record in one.records] == [["dog"], ["cat"], []]
    assert one.records[1]["source"] == "one.tar:one-0001.jpg"
    assert [array.shape for array in (*one.maps, *two.maps)] == [(3, 4, 4, 112)] * 2 + [(2, 4, 4, 112)] * 2
    samples = list(read_shard(shards[0]))
    with torch.inference_mode():
        lower = encoder.lower_stages(normalize(to_pixels(read_picture(samples[1].picture), 64)[None]))
        logits = encoder.classifier(encoder.upper_stages(lower).mean(1))
    scale = float(lower.abs().max())
    np.testing.assert_allclose(one.maps[0][1], lower[0].permute(1, 2, 0).numpy(), atol=2e-3 * scale)
    np.testing.assert_allclose(one.logits[1], logits[0].numpy(), atol=1e-2 * float(logits.abs().max()))
    assert not np.array_equal(one.maps[0], one.maps[1]), "the second view is augmented"
    assert sorted(path.name for path in cache.place.iterdir()) == sorted(
        f"00-{name}.{rest}" for name in ("one", "two") for rest in ("jsonl", "logits.npy", "view0.npy", "view1.npy")
    )
    known = [(sample.id, sample.captions, sample.labels, sample.source) for sample in one.samples()]
    assert known == [(sample.id, sample.captions, sample.labels, sample.source) for sample in samples]


def test_corners_are_cached_beside_the_views(encoder, source, tmp_path):
    one, two = cache_of(encoder, tmp_path).open([source], views=1, corners=True)
    assert [array.shape for array in one.corners] == [(3, 4, 4, 112)] * 4
    assert not any(np.array_equal(two.maps[0], corner) for corner in two.corners)


def test_any_source_will_do_and_its_tags_go_along(encoder, tmp_path):
    write_pictures(tmp_path, count=3)
    table = open_source(tmp_path / "pairs.jsonl")
    (shard,) = cache_of(encoder, tmp_path / "cache").open([table], views=1)
    assert [sample.tags for sample in shard.samples()] == [sample.tags for sample in table]
    assert shard.name == "00-000000"
    reader = PictureReader([table], [shard], ImageEncoderConfig(resolution=16), seed=0)
    pixels = to_pixels(read_picture(table[2].picture), 16)
    assert torch.equal(reader.batch([2]), normalize(pixels[None]))


def test_a_second_call_computes_nothing(encoder, source, tmp_path, monkeypatch):
    lines = []
    cache = cache_of(encoder, tmp_path / "cache", lines)
    cache.open([source], views=1)
    assert [line.split(",")[1] for line in lines] == [" part 1/2 (00-one)", " part 2/2 (00-two)"]
    before = contents(cache.place)
    monkeypatch.setattr(ShardSource, "read", lambda *_: pytest.fail("a shard was read again"))
    cache.open([source], views=1)
    assert len(lines) == 2
    assert contents(cache.place) == before


def test_what_was_made_another_way_does_not_mix(encoder, source, tmp_path):
    """Other pixels, other seeds, other encoders: each has a folder of its own."""
    other = EfficientNetLite("efficientnet_lite0", num_classes=1000, folded=True).eval()
    caches = [
        cache_of(encoder, tmp_path),
        cache_of(encoder, tmp_path, sizes={"resolution": 96}),
        cache_of(encoder, tmp_path, sizes={"interpolation": "bilinear"}),
        cache_of(encoder, tmp_path, sizes={"mean": (0, 0, 0)}),
        cache_of(encoder, tmp_path, sizes={"std": (255, 255, 255)}),
        cache_of(encoder, tmp_path, seed=1),
        cache_of(other, tmp_path),
        cache_of(encoder, tmp_path, own=other),
    ]
    assert len({cache.place for cache in caches}) == len(caches)
    (small, _), (large, _) = (cache.open([source], views=1) for cache in caches[:2])
    assert (small.maps[0].shape, large.maps[0].shape) == ((3, 4, 4, 112), (3, 6, 6, 112))


def test_a_model_that_has_an_encoder_of_its_own_has_its_own_maps(encoder, source, tmp_path):
    """The logits of the ImageNet classifier stay the same."""
    torch.manual_seed(1)
    own = EfficientNetLite("efficientnet_lite0", folded=True).eval()
    before, after = (cache_of(encoder, tmp_path, own=own).open([source], views=1)[0] for own in (None, own))
    assert not np.array_equal(before.maps[0], after.maps[0])
    np.testing.assert_array_equal(before.logits, after.logits)


def test_the_cache_does_not_depend_on_when_it_was_made(encoder, source, tmp_path):
    cache_of(encoder, tmp_path / "a").open([source], views=2)
    cache_of(encoder, tmp_path / "b").open([source], views=1)
    cache_of(encoder, tmp_path / "b").open([source], views=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_one_bad_picture_is_left_out_and_logged(encoder, tmp_path):
    """In every view, so that rows stay those of the records."""
    rows = write_pictures(tmp_path, count=4)
    (tmp_path / rows[1]["image"]).write_bytes(b"no picture")
    table, log = open_source(tmp_path / "pairs.jsonl"), []
    (shard,) = cache_of(encoder, tmp_path / "cache", log=log.append).open([table], views=2)
    assert [record["row"] for record in shard.records] == [0, 2, 3]
    assert [len(maps) for maps in (*shard.maps, shard.logits)] == [3, 3, 3]
    assert [(record["kind"], record["event"]) for record in log] == [("not_a_picture", "bad_sample")]
    pixels = to_pixels(read_picture(table[2].picture), 16)
    assert torch.equal(
        PictureReader([table], [shard], ImageEncoderConfig(resolution=16), seed=0).batch([1]), normalize(pixels[None])
    )


def test_a_picture_that_goes_missing_between_two_views(encoder, tmp_path):
    rows = write_pictures(tmp_path, count=2)
    table = open_source(tmp_path / "pairs.jsonl")
    cache = cache_of(encoder, tmp_path / "cache")
    cache.open([table], views=1)
    (tmp_path / rows[1]["image"]).unlink()
    with pytest.raises(PictureError, match="no such file"):
        cache.open([table], views=2)


def test_no_picture_at_all(encoder, tmp_path):
    for row in write_pictures(tmp_path, count=2):
        (tmp_path / row["image"]).unlink()
    with pytest.raises((UsageError, DataError), match=r"no picture can be read; bad-samples\.jsonl says why"):
        cache_of(encoder, tmp_path / "cache").open([open_source(tmp_path / "pairs.jsonl")], views=1)


def test_a_write_that_fails_leaves_no_file(encoder, source, tmp_path, monkeypatch):
    cache = cache_of(encoder, tmp_path / "cache")
    write = np.save

    def full_disk(handle, array):
        handle.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        cache.open([source], views=1)
    assert not [path for path in cache.place.iterdir() if path.suffix == ".npy"]
    monkeypatch.setattr(np, "save", write)
    one, _ = cache.open([source], views=1)
    assert len(one.maps[0]) == len(one.records) == len(one.logits) == 3


def test_augmentation_is_seeded_and_keeps_a_picture(shards):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    first, again, other = (augment(picture, random.Random(seed)) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert (first.size, first.tobytes()) != (other.size, other.tobytes())
    sizes = [augment(picture, random.Random(seed)).size for seed in range(50)]
    assert all(0.4 * 1500 < width * height <= 1500 for width, height in sizes)


def test_normalizing_is_the_public_weights_own():
    """They were trained on ``(x - 127) / 128``."""
    pixels = np.array([[[[127, 255, 0]]]], np.uint8)
    assert normalize(pixels).flatten().tolist() == [0, 1, -127 / 128]


def test_normalization_is_the_config_s(encoder, source, tmp_path):
    sizes = ImageEncoderConfig(resolution=64, mean=(0, 0, 0), std=(255, 255, 255))
    cache = FeatureCache(encoder, tmp_path / "cache", sizes, report=lambda line: None)
    shard = cache.open([source], views=1)[0]
    pixels = torch.from_numpy(to_pixels(read_picture(next(source.read(0)).picture), 64)[None])
    with torch.inference_mode():
        lower = encoder.lower_stages(encoder_input(pixels, sizes))
    np.testing.assert_allclose(
        shard.maps[0][0], lower[0].permute(1, 2, 0).numpy(), atol=2e-3 * float(lower.abs().max())
    )
    assert PictureReader([source], [shard], sizes, seed=0).batch([0]).max() <= 1


class TestPictureReader:
    @pytest.fixture
    def reader(self, encoder, source, tmp_path):
        return PictureReader(
            [source],
            cache_of(encoder, tmp_path / "cache").open([source], views=1),
            ImageEncoderConfig(resolution=16),
            seed=0,
        )

    def test_pictures_come_in_the_shards_order(self, reader, shards):
        assert len(reader) == 5
        samples = [sample for shard in shards for sample in read_shard(shard)]
        pixels = np.stack([to_pixels(read_picture(sample.picture), 16) for sample in samples])
        assert torch.equal(reader.batch([4, 0, 3]), normalize(pixels[[4, 0, 3]]))

    def test_augmentation_follows_the_step(self, reader):
        assert torch.equal(reader.batch([1], step=5), reader.batch([1], step=5))
        assert not torch.equal(reader.batch([1], step=5), reader.batch([1], step=6))
        assert not torch.equal(reader.batch([1], step=5), reader.batch([1]))

    def test_streams_have_no_picture_at_hand(self):
        streamed = open_source("https://nowhere.example/a.tar")
        with pytest.raises(UsageError, match=r"any picture at hand, and this source is streamed; let the stage read"):
            PictureReader([streamed], [], ImageEncoderConfig(resolution=16), seed=0)
