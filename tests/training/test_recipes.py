"""Recipes by file and function, and the numbers of the shipped ones."""

from __future__ import annotations

import math
import re

import pytest

torch = pytest.importorskip("torch")

from conftest import ROOT  # noqa: E402

from anytag.errors import UsageError  # noqa: E402
from anytag.nn.weights import empty_model  # noqa: E402
from anytag.teaching.config import TeachingConfig  # noqa: E402
from anytag.training.engine.config import Overrides  # noqa: E402
from anytag.training.recipes.config import TrainingConfig  # noqa: E402
from anytag.training.recipes.loading import load_recipe  # noqa: E402

RECIPES = ROOT / "recipes"


def official(name):
    return load_recipe(f"{RECIPES / 'official.py'}:{name}")


class TestByName:
    def test_a_file_means_its_function_recipe(self):
        assert isinstance(load_recipe(str(RECIPES / "lite.py")), TrainingConfig)
        assert isinstance(load_recipe(str(RECIPES / "finetune_tags.py")), TeachingConfig)
        assert isinstance(load_recipe(f"{RECIPES / 'finetune_tags.py'}:network"), TrainingConfig)

    def test_lite_has_the_limits_of_the_papers_decoder(self):
        config = load_recipe(str(RECIPES / "lite.py"))
        assert (config.name, config.model.name, config.model.family) == ("lite", "lite", "lite")
        assert config.model.recognition.layers == 2

    def test_lite_can_continue_from_the_shipped_model(self):
        whole, further = load_recipe(str(RECIPES / "lite.py")), load_recipe(f"{RECIPES / 'lite.py'}:further")
        assert (whole.start, further.start) == (None, "lite")
        assert further.model is None
        assert {stage.name for stage in further.stages} <= {stage.name for stage in whole.stages}

    def test_one_of_several_functions(self):
        assert load_recipe(f"{RECIPES / 'small.py'}:ram").name == "small-ram"

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(UsageError) as caught:
            load_recipe(str(tmp_path / "gone.py"))
        assert str(caught.value) == (
            f"{tmp_path / 'gone.py'}: no such recipe; recipes are Python files with a function recipe()"
        )

    @pytest.mark.parametrize(
        ("text", "function", "message"),
        [
            ("x = 1", "recipe", "there is no recipe recipe() in this file"),
            (
                "def one(): pass\ndef two(x): pass\ndef _three(): pass",
                "four",
                "no recipe four() in this file; it has one",
            ),
            ("def recipe():\n    return {}", "recipe", "recipe() returned dict, not a TrainingConfig"),
        ],
    )
    def test_a_file_that_has_no_such_recipe(self, tmp_path, text, function, message):
        (tmp_path / "own.py").write_text(text)
        with pytest.raises(UsageError, match=re.escape(message)):
            load_recipe(f"{tmp_path / 'own.py'}:{function}")


class TestPublished:
    """Against the papers: see the recipes for where each number stands."""

    @pytest.mark.parametrize(
        ("name", "family", "swin", "epochs", "batch", "sources"),
        [
            ("tag2text_4m", "tag2text", 128, 20, 960, 4),
            ("tag2text_14m", "tag2text", 128, 20, 960, 5),
            ("ram_4m", "ram", 128, 5, 640, 4),
            ("ram_14m", "ram", 192, 5, 416, 5),
            ("ram_14m_base", "ram", 128, 5, 640, 5),
            ("ram_plus_4m", "ram_plus", 128, 5, 720, 4),
            ("ram_plus_14m", "ram_plus", 128, 5, 720, 5),
            ("ram_plus_14m_large", "ram_plus", 192, 5, 416, 5),
        ],
    )
    def test_pre_training(self, name, family, swin, epochs, batch, sources):
        config = official(name)
        (stage,) = config.stages
        encoder = config.model.image_encoder
        assert (config.model.family, encoder.swin.width, encoder.resolution) == (family, swin, 224)
        assert (stage.epochs, config.batch_size, len(config.sources)) == (epochs, batch, sources)
        course = stage.course(5_000, 5_000 * epochs)
        assert [stage.learning_rate * course(step) for step in (0, 3_000, 4_999, 5_000, 10_000)] == pytest.approx(
            [5e-7, 1e-4, 1e-4, 9e-5, 8.1e-5]
        )
        assert stage.encoder_learning_rate == stage.learning_rate
        assert config.weight_decay == 0.05

    @pytest.mark.parametrize(
        ("name", "epochs", "rate", "batch"),
        [
            ("tag2text_tagging", 2, 5e-6, 288),
            ("tag2text_captions", 5, 1e-5, 256),
            ("tag2text_retrieval", 6, 1e-5, 256),
            ("ram_4m_tagging", 2, 5e-6, 288),
            ("ram_14m_tagging", 2, 5e-6, 208),
            ("ram_plus_tagging", 1, 5e-6, 288),
        ],
    )
    def test_fine_tuning(self, name, epochs, rate, batch):
        config = official(name)
        (stage,) = config.stages
        assert (config.resolution, config.batch_size, stage.epochs) == (384, batch, epochs)
        course = stage.course(100, 100 * epochs)
        assert stage.learning_rate * course(0) == pytest.approx(rate)
        last = (1 + math.cos(math.pi * (epochs - 1) / epochs)) / 2
        assert course(100 * epochs - 1) == pytest.approx(last)
        assert config.vocabulary.change == "keep"

    def test_settings_can_be_changed(self):
        config = Overrides(["objective.contrast=0", 'sources=["mine.csv"]', "stages.0.epochs=1"]).apply(
            official("tag2text_4m")
        )
        assert (config.objective.contrast, config.sources, config.stages[0].epochs) == (0, ("mine.csv",), 1)


def test_small_recipes_make_models():
    for family in ("tag2text", "ram", "ram_plus"):
        config = load_recipe(f"{RECIPES / 'small.py'}:{family}")
        assert config.model.family == family
        empty_model(config.model, 10)


def test_recipes_that_are_named_anywhere_exist():
    """In help, documents and recipes; the runs that they speak of are long, so that nobody notices otherwise."""
    pages = [*(ROOT / "src").rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *RECIPES.glob("*.py")]
    named = {match for page in pages for match in re.findall(r"recipes/(\w+\.py)(?::(\w+))?", page.read_text("utf-8"))}
    assert ("official.py", "ram_14m") in named
    for file, function in named:
        if function:
            assert load_recipe(f"{RECIPES / file}:{function}").name
        else:
            assert (RECIPES / file).is_file(), file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit\n", r"bad\.py, line 1: the recipe cannot be run \(SystemExit: \)"),
        ("def recipe(:\n    pass\n", r"bad\.py, line 1: the recipe cannot be run \(SyntaxError: "),
        (
            "import anytag\n\ndef recipe():\n    return what\n",
            r"bad\.py, line 4: .*NameError: name 'what' is not defined",
        ),
        ("import nothing_like_this\n", r"bad\.py, line 1: .*ModuleNotFoundError"),
        (
            "from anytag.training.recipes.config import TrainingStage\n\ndef recipe():\n"
            "    return TrainingStage(name='s', epochs=-1)\n",
            r"bad\.py, line 4: the recipe cannot be run \(epochs: Input should be greater than 0\)",
        ),
    ],
)
def test_mistakes_in_a_recipe_name_its_line(tmp_path, text, message):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_recipe(str(tmp_path / "bad.py"))


def test_a_teaching_recipe_equals_the_teach_command(tmp_path):
    """Into the run folder; the same command leaves it alone, another setting teaches anew."""
    import numpy as np
    from PIL import Image

    from anytag.model.directory import ModelDirectory
    from anytag.training.run import train

    noise = np.random.default_rng(0)
    for name in ("noise", "dark"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            pixels = noise.integers(0, 255 if name == "noise" else 40, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    config = Overrides(["views=1"]).apply(load_recipe(str(RECIPES / "finetune_tags.py")))
    said: list[str] = []
    assert train(config, tmp_path / "photos", tmp_path / "run", said.append)
    model = ModelDirectory(tmp_path / "run" / "model")
    assert model.vocabulary.find("noise").threshold_from.startswith("own pictures, 3 of it and ")
    assert train(config, tmp_path / "photos", tmp_path / "run", said.append)
    assert said[-1] == "this run is finished; nothing was changed. For other pictures, begin a new run"
    train(Overrides(["penalty=20"]).apply(config), tmp_path / "photos", tmp_path / "run", said.append)
    assert "changed: penalty 5.0 → 20.0" in said
