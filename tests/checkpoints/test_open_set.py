"""From an official checkpoint and a CLIP directory to categories that neither knew, on both runtimes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import require_module
from fixtures_clip import save_text_model
from oracle_sets import each_oracle_set
from PIL import Image
from typer.testing import CliRunner

import anytag
from anytag.cli import build_app
from anytag.errors import UsageError


def invoke(*arguments):
    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Model directories by set, on PyTorch and on ONNX, made by the commands."""
    require_module("transformers")
    folders = {}

    def make(oracle_set):
        if oracle_set.name not in folders:
            folder = tmp_path_factory.mktemp(oracle_set.name)
            (folder / "clip").mkdir()
            save_text_model(folder / "clip", projection_dim=oracle_set.weights["label_embed"].shape[1])
            torch.save({"model": oracle_set.weights}, folder / "official.pth")
            (folder / "tags.txt").write_text("\n".join(oracle_set.config["tag_list"]), encoding="utf-8")
            names = ["--family", oracle_set.kind, "--tags", folder / "tags.txt", "--clip", folder / "clip"]
            heads = oracle_set.geometry.text_heads if oracle_set.kind != "ram_plus" else None
            names += ["--image-size", oracle_set.geometry.image_size, *(["--text-heads", heads] if heads else [])]
            names += ["--recognition-heads", oracle_set.geometry.recognition_heads]
            invoke("convert", folder / "official.pth", *names, "--out", folder / "torch")
            invoke("export", folder / "torch", "--out", folder / "onnx", "--full")
            folders[oracle_set.name] = folder
        return folders[oracle_set.name]

    return make


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pixels = np.random.default_rng(2).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@each_oracle_set("ram", "ram_plus")
def test_new_categories_through_both_runtimes(oracle_set, made, picture):
    folder, known = made(oracle_set), oracle_set.config["tag_list"][3]
    asked = ["--categories", f"go-kart, owl hen,{known}", "--threshold", 0, "--json"]
    scores = []
    for runtime in ("torch", "onnx"):
        [line] = invoke("tag", picture, "--model", folder / runtime, *asked).splitlines()
        scores.append({tag["name"]: tag["score"] for tag in json.loads(line)["tags"]})
    assert scores[0].keys() == {"go-kart", "owl hen", known}
    assert scores[0] == pytest.approx(scores[1], abs=2e-4)
    assert len(set(scores[0].values())) > 1  # How many differ in four digits depends on the set's weights.


@each_oracle_set("ram_plus")
def test_descriptions_of_the_user_s_own(oracle_set, made, picture, tmp_path):
    folder = made(oracle_set)
    model = anytag.load(folder / "torch")
    count = model.directory.config.labels.descriptions
    path = tmp_path / "mine.jsonl"
    lines = [f"an owl that hen number {number} saw" for number in range(count)]
    path.write_text(json.dumps({"tag": "Owl Hen", "descriptions": lines}) + "\n")
    mine = anytag.load(folder / "torch", descriptions=path)
    asked = {"categories": ["owl hen", "go-kart"], "threshold": 0}
    templates, written = ({t.name: t.score for t in one.tag(picture, **asked).tags} for one in (model, mine))
    assert written["go-kart"] == templates["go-kart"]
    assert written["owl hen"] != templates["owl hen"]
    path.write_text(json.dumps({"tag": "owl hen", "descriptions": lines[:2]}) + "\n")
    with pytest.raises(UsageError, match=f"'owl hen' has 2 descriptions, but the model uses {count} per category"):
        anytag.load(folder / "torch", descriptions=path)


@each_oracle_set("ram")
def test_descriptions_that_nothing_would_read(oracle_set, made, tmp_path):
    with pytest.raises(UsageError, match="a ram model does not use descriptions"):
        anytag.load(made(oracle_set) / "torch", descriptions=tmp_path / "mine.jsonl")
