"""CLIP as an image teacher, and its cached embeddings."""

from __future__ import annotations

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import require_module  # noqa: E402
from fixtures_clip import save_whole_model  # noqa: E402
from toy_pairs import model_config, write_pictures  # noqa: E402

from anytag.datasets import open_source  # noqa: E402
from anytag.errors import MissingExtraError, ModelError, UsageError  # noqa: E402
from anytag.pictures import CLIP, read_picture  # noqa: E402
from anytag.training.families.batches import sample_key  # noqa: E402
from anytag.training.families.teachers import CachedTeacher, ClipTeacher, cache_teacher  # noqa: E402

ENCODER = model_config("ram").image_encoder


def quiet(line):
    pass


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    require_module("transformers")
    folder = tmp_path_factory.mktemp("clip")
    return save_whole_model(folder), folder


def test_it_sees_the_models_pixels_in_its_own_normalization(clip):
    """A picture of 8 px needs no resizing: the library's own features, not normalized."""
    model, folder = clip
    teacher = ClipTeacher.load(folder, ENCODER)
    assert (teacher.resolution, teacher.width) == (8, 10)
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (ENCODER.mean, ENCODER.std))
    given = (torch.from_numpy(picture).float().permute(2, 0, 1) - mean) / std
    own = torch.from_numpy(CLIP.apply(picture))[None]
    with torch.no_grad():
        expected = model.visual_projection(model.vision_model(pixel_values=own).pooler_output)
    torch.testing.assert_close(teacher(given[None]), expected, rtol=1e-4, atol=1e-4)
    assert abs(float(expected.norm()) - 1) > 0.05


def test_larger_pictures_are_scaled(clip):
    teacher = ClipTeacher.load(clip[1], ENCODER)
    plain = torch.full((1, 3, 32, 32), 0.3)
    torch.testing.assert_close(teacher(plain), teacher(plain[..., :8, :8]), rtol=1e-4, atol=1e-4)


def test_embeddings_are_cached_and_found_again(clip, tmp_path):
    write_pictures(tmp_path, count=6)
    (tmp_path / "pictures" / "0-004.png").write_bytes(b"damaged")
    source = open_source(tmp_path / "pairs.jsonl")
    teacher = ClipTeacher.load(clip[1], ENCODER)
    lines = []
    assert cache_teacher(teacher, [source], tmp_path / "kept", ENCODER, batch_size=4, report=lines.append) == 5
    assert any("0-004.png" in line for line in lines)
    assert cache_teacher(teacher, [source], tmp_path / "kept", ENCODER, report=quiet) == 0
    kept = CachedTeacher(tmp_path / "kept")
    samples = [source[number] for number in range(6)]
    keys = [sample_key(sample.source) for sample in samples]
    found = kept(torch.zeros(1), [keys[5], keys[4], keys[0]])
    assert kept.width == 10
    assert len(kept) == 5
    assert not found[1].any()
    mean, std = (torch.tensor(values)[:, None, None] for values in (ENCODER.mean, ENCODER.std))
    small = read_picture(samples[5].picture).resize((8, 8))
    pixels = (torch.from_numpy(np.asarray(small).copy()).float().permute(2, 0, 1) - mean) / std
    torch.testing.assert_close(found[0], teacher(pixels[None])[0], rtol=2e-3, atol=2e-3)


def test_folders_that_hold_no_teacher(tmp_path):
    with pytest.raises(UsageError, match="holds no embeddings of a teacher"):
        CachedTeacher(tmp_path)
    require_module("transformers")
    with pytest.raises(ModelError, match="no CLIP model there"):
        ClipTeacher.load(tmp_path, ENCODER)


def test_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError) as caught:
        ClipTeacher.load(tmp_path, ENCODER)
    assert str(caught.value).endswith("Install it with: pip install 'anytag[distillation]'")
