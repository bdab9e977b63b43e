"""Overrides of a recipe and recipe files."""

from __future__ import annotations

import pytest

from anytag.errors import UsageError
from anytag.model.config import ModelConfig
from anytag.training.engine.config import Overrides
from anytag.training.lite.config import DataConfig, StageConfig, TrainingConfig

CONFIG = TrainingConfig(
    name="toy",
    model=ModelConfig(),
    data=DataConfig(train=("a.tar", "b.tar"), validation=("c.tar",)),
    stages=(StageConfig(name="one", epochs=1), StageConfig(name="two", epochs=2)),
)


def applied(*pairs):
    return Overrides(list(pairs)).apply(CONFIG)


def refused(*pairs):
    with pytest.raises(UsageError) as caught:
        applied(*pairs)
    return str(caught.value)


def test_nothing_changes_nothing():
    assert applied() == CONFIG


def test_values_are_json_or_else_text():
    changed = applied(
        "seed=7", "loss.negatives=8", "stages.1.epochs=0.5", "name=lite two", "data.parser=light",
        'data.train=["x.tar"]', "model.captioner=null", "stages.0.end_to_end=true",
    )  # fmt: skip
    assert (changed.seed, changed.loss.negatives, changed.name, changed.data.parser) == (7, 8, "lite two", "light")
    assert changed.data.train == ("x.tar",)
    assert changed.model.captioner is None
    assert [stage.epochs for stage in changed.stages] == [1, 0.5]
    assert changed.stages[0].end_to_end
    assert CONFIG.seed == 0


def test_the_last_of_two_counts_and_a_value_may_hold_an_equals_sign():
    assert applied("seed=1", "seed=2", "name=a=b").seed == 2
    assert applied("name=a=b").name == "a=b"


def test_a_pair_without_equals_sign():
    assert refused("seed") == "--set seed: write it as key=value, e.g. loss.negatives=64"


@pytest.mark.parametrize(
    "path",
    ["sed", "loss.negative", "loss.negatives.more", "los.negatives", "stages.2.epochs", "stages.x.epochs", "stages.0",
     "name.x", ""],
)  # fmt: skip
def test_a_setting_that_does_not_exist(path):
    assert refused(f"{path}=1") == f"--set {path}: this recipe has no such setting"


def test_a_value_of_the_wrong_kind():
    assert refused("loss.negatives=many") == (
        "--set loss.negatives: Input should be a valid integer, unable to parse string as an integer"
    )
    assert refused("precision=float64") == "--set precision: Input should be 'auto', 'float32' or 'bfloat16'"
