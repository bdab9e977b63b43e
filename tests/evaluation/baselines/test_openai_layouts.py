"""DiHT and MKT: checkpoints in their published layout against the architecture written a second time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures_rivals import pictures, save_diht, save_mkt
from torch.nn import functional as F

from anytag.errors import ModelError
from anytag.evaluation.baselines.base import PictureTransform
from anytag.evaluation.baselines.diht import DihtBaseline
from anytag.evaluation.baselines.mkt import MktBaseline
from anytag.evaluation.baselines.prompts import ENSEMBLE, sentences
from anytag.pictures import CLIP, IMAGENET, PictureSource
from anytag.recognition import Failure

NAMES = ["dog", "traffic light", "hat", "dog"]


def pixels(shown: list[PictureSource], transform: PictureTransform) -> torch.Tensor:
    return torch.from_numpy(np.stack([transform(picture) for picture in shown]))


def test_diht(tmp_path):
    model = save_diht(tmp_path)
    baseline = DihtBaseline(tmp_path / "tiny.ckpt", tmp_path)
    assert baseline.transform.normalization == CLIP
    assert (baseline.transform.shorter, baseline.transform.height) == (16, 16)
    assert baseline.set_categories(NAMES, {}) == []
    shown = pictures()
    found = np.stack(list(baseline.scores(shown)))
    texts = []
    for name in NAMES:
        embedded = F.normalize(model(baseline.tokenizer(sentences(name, ENSEMBLE))), dim=-1)
        texts.append(F.normalize(embedded.mean(0), dim=0))
    seen = F.normalize(model.visual(pixels(shown, baseline.transform))[:, 0], dim=-1)
    np.testing.assert_allclose(found, (seen @ torch.stack(texts).T).detach().numpy(), atol=1e-5)
    assert found[:, 0] == pytest.approx(found[:, 3])
    assert np.ptp(found) > 0.01


def test_mkt(tmp_path):
    picture, text = save_mkt(tmp_path)
    baseline = MktBaseline(tmp_path / "first.pth", tmp_path / "second.pth", tmp_path)
    # The shorter side at 256 of 224, and ImageNet's constants.
    assert (baseline.transform.shorter, baseline.transform.height, baseline.transform.normalization) == (
        32,
        28,
        IMAGENET,
    )
    assert baseline.set_categories(NAMES, {}) == []
    shown = pictures()
    found = np.stack(list(baseline.scores(shown)))
    labels = text(baseline.tokenizer([f"There is a {name} in the scene" for name in NAMES]))
    tokens = picture(pixels(shown, baseline.transform))
    whole = tokens[:, 0] @ labels.T
    patches = tokens[:, 1:] @ labels.T
    local = patches.sort(1, descending=True).values[:, :18].mean(1)
    expected = (F.normalize(whole, dim=-1) + F.normalize(local, dim=-1)) / 2
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)
    assert np.ptp(found) > 0.01


def test_a_bad_picture_among_good_ones(tmp_path):
    save_diht(tmp_path)
    baseline = DihtBaseline(tmp_path / "tiny.ckpt", tmp_path)
    baseline.set_categories(NAMES, {})
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    good = pictures(2)
    found = list(baseline.scores([good[0], str(tmp_path / "bad.jpg"), good[1], str(tmp_path / "none.jpg")]))
    assert [isinstance(item, Failure) for item in found] == [False, True, False, True]
    assert (found[1].kind, found[3].kind) == ("not_a_picture", "not_found")
    np.testing.assert_allclose(np.stack([found[0], found[2]]), np.stack(list(baseline.scores(good))), atol=1e-6)


class TestBadFiles:
    def test_no_tokenizer(self, tmp_path):
        save_diht(tmp_path)
        (tmp_path / "empty").mkdir()
        with pytest.raises(
            ModelError, match=r"empty: there is neither tokenizer\.json nor vocab\.json with merges\.txt"
        ):
            DihtBaseline(tmp_path / "tiny.ckpt", tmp_path / "empty")

    def test_another_checkpoint(self, tmp_path):
        torch.save({"visual.conv1.weight": torch.zeros(1)}, tmp_path / "tiny.ckpt")
        with pytest.raises(ModelError, match=r"tiny\.ckpt: lacks 'class_embedding'; this is not a DiHT checkpoint$"):
            DihtBaseline(tmp_path / "tiny.ckpt", tmp_path)

    def test_a_layer_is_missing(self, tmp_path):
        model = save_diht(tmp_path)
        state = model.state_dict()
        del state["visual.transformer.resblocks.1.mlp.c_fc.bias"]
        torch.save(state, tmp_path / "tiny.ckpt")
        with pytest.raises(ModelError, match=r"lacks vision_model\.encoder\.layers\.1\.mlp\.fc1\.bias \(1 weight\)$"):
            DihtBaseline(tmp_path / "tiny.ckpt", tmp_path)


class TestPictureTransform:
    def test_center_crop_of_a_wide_picture(self):
        transform = PictureTransform(4, 4, shorter=4)
        [picture] = pictures(1, (8, 4))
        expected = CLIP.apply(np.asarray(picture))[:, :, 2:6]
        np.testing.assert_allclose(transform(picture), expected, atol=1e-6)

    def test_stretched(self):
        [picture] = pictures(1, (8, 4))
        assert PictureTransform(4, 6)(picture).shape == (3, 4, 6)
