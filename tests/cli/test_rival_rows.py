"""Every baseline by command line: from weights in the published format to scores."""

from __future__ import annotations

import json

import pytest
from conftest import require_module
from typer.testing import CliRunner

from anytag.cli import build_app
from anytag.evaluation.baselines.registry import BASELINES

require_module("torch")
require_module("transformers")


def rows():
    """What saves each baseline's weights in a folder, and its command line options."""
    import fixtures_directories as directories
    import fixtures_rivals as files
    from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval

    def blip(cls):
        return lambda folder: directories.save_blip(folder, cls)

    return {
        "clip": (directories.save_clip, "{}"),
        "siglip2": (directories.save_siglip2, "{}"),
        "diht": (files.save_diht, "{}/tiny.ckpt,tokenizer={}"),
        "blip-itc": (blip(BlipForImageTextRetrieval), "{}"),
        "blip-itm": (blip(BlipForImageTextRetrieval), "{}"),
        "blip-caption": (blip(BlipForConditionalGeneration), "{}"),
        "blip2": (directories.save_blip2, "{}"),
        "florence2": (directories.save_florence2, "{}"),
        "ml-decoder": (files.save_ml_decoder, "{}/tiny.pth,side=64"),
        "mkt": (files.save_mkt, "{}/first.pth,texts={}/second.pth,tokenizer={}"),
        "detector": (directories.save_detr, "{}"),
        "rt-detr": (directories.save_rt_detr, "{}"),
        "grounding-dino": (directories.save_dino, "{}"),
    }


@pytest.mark.parametrize("key", BASELINES)
def test_the_row_runs(key, tmp_path):
    from fixtures_rivals import pictures

    weights = tmp_path / "weights"
    weights.mkdir()
    save, form = rows()[key]
    save(weights)
    for number, picture in enumerate(pictures(4)):
        picture.save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    table = tmp_path / "mine.csv"
    table.write_text(
        "image,tags,caption\n0.png,dog,a dog\n1.png,hat|dog,a hat on a dog\n2.png,stop sign,a photo\n3.png,dog,a dog\n"
    )
    spec = f"{key}={form.replace('{}', str(weights))}"
    out = tmp_path / "out"
    entry = BASELINES[key]
    asked = ["--baseline", spec, "--benchmark", str(table), "--out", str(out), "--tune-on-test"]
    if entry.paradigm == "alignment":
        asked.append("--standardize")
    done = CliRunner().invoke(build_app(), ["evaluate", *asked])
    assert done.exit_code == 0, done.output
    records = json.loads((out / "results.json").read_text(encoding="utf-8"))
    tagged = records[0]
    assert (tagged["paradigm"], tagged["failed_pictures"]) == (entry.paradigm, 1)
    assert tagged["system"] == {"detector": "DETR"}.get(key, entry.title)
    assert tagged["tagging"]["pictures"] == 3
    missing = {"ml-decoder": ["stop sign"], "detector": ["hat"], "rt-detr": ["hat"]}.get(key, [])
    assert tagged["unscored_classes"] == missing
    said = f"without {len(missing)} of 3 classes, which it lacks"
    assert (said in done.stdout) is bool(missing)
    # A captioner names a class or does not; nothing of it was tuned on the test set.
    captions = entry.paradigm == "captioning"
    origin = tagged["tagging"]["thresholds"]
    assert (origin == "what captions name") is captions
    assert ("tuned on the test set" in origin) is not captions
    assert [record["system"] for record in records[1:]] == (
        [entry.title] if captions else [f"{entry.title}, standardized"] if entry.paradigm == "alignment" else []
    )
    assert ("captions" in records[-1]) is captions
    page = (out / "tables.md").read_text(encoding="utf-8")
    assert f"| {tagged['system']} | {entry.paradigm} |" in page
    assert "could not be read: 1 of 4 pictures" in page
