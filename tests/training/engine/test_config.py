"""Overrides of a recipe and recipe files."""

from __future__ import annotations

import pytest

from anytag.errors import UsageError
from anytag.model.config import ModelConfig
from anytag.training.engine.config import Overrides
from anytag.training.recipes.config import LiteConfig, RamConfig, RamPlusConfig, TrainingConfig, TrainingStage

CONFIG = TrainingConfig(
    name="toy",
    model=ModelConfig(),
    sources=("a.tar", "b.tar"),
    validation=("c.tar",),
    objective=LiteConfig(),
    stages=(TrainingStage(name="one", epochs=1), TrainingStage(name="two", epochs=2)),
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
        "seed=7", "objective.negatives=8", "stages.1.epochs=0.5", "name=lite two", "parser=light",
        'sources=["x.tar"]', "model.captioner=null", "stages.0.cached=maps",
    )  # fmt: skip
    assert (changed.seed, changed.objective.negatives, changed.name, changed.parser) == (7, 8, "lite two", "light")
    assert changed.sources == ("x.tar",)
    assert changed.model.captioner is None
    assert [stage.epochs for stage in changed.stages] == [1, 0.5]
    assert changed.stages[0].cached == "maps"
    assert CONFIG.seed == 0


def test_the_last_of_two_counts_and_a_value_may_hold_an_equals_sign():
    assert applied("seed=1", "seed=2", "name=a=b").seed == 2
    assert applied("name=a=b").name == "a=b"


def test_a_pair_without_equals_sign():
    assert refused("seed") == "--set seed: write it as key=value, e.g. stages.0.epochs=2"


@pytest.mark.parametrize(
    "path",
    ["sed", "objective.negative", "objective.negatives.more", "objectiv.negatives", "stages.2.epochs",
     "stages.x.epochs", "stages.0", "name.x", ""],
)  # fmt: skip
def test_a_setting_that_does_not_exist(path):
    assert refused(f"{path}=1") == f"--set {path}: this recipe has no such setting"


def test_changes_are_judged_together():
    """A recipe has either sizes or a model to start from: one change alone would contradict the other."""
    assert applied("model=null", "start=lite").start == "lite"
    assert applied("start=lite", "model=null").model is None
    assert refused("start=lite") == ("--set: give either model, the sizes of a new one, or start, a model directory")


def test_a_whole_and_its_part_contradict_each_other():
    assert refused("model=null", "model.width=8") == "--set model.width: model is set as a whole already; set it once"


def test_a_value_of_the_wrong_kind():
    assert refused("objective.negatives=many") == (
        "--set objective.negatives: Input should be a valid integer, unable to parse string as an integer"
    )
    assert refused("precision=float64") == "--set precision: Input should be 'auto', 'float32' or 'bfloat16'"


@pytest.mark.parametrize("objective", [RamConfig(), RamPlusConfig(), LiteConfig(), LiteConfig(consensus=1.0)])
def test_a_change_leaves_the_objective_what_it_is(objective):
    """The settings of one class are among those of another."""
    config = CONFIG.model_copy(update={"objective": objective})
    changed = Overrides(["seed=5"]).apply(config)
    assert type(changed.objective) is type(objective)
    assert changed.objective == objective


def test_stages_have_objectives_of_the_runs_kind():
    stage = TrainingStage(name="other", epochs=1, objective=RamConfig())
    message = r"stages\.1\.objective is a RamConfig, that of the run a LiteConfig; a run has one kind of objective"
    with pytest.raises(ValueError, match=message):
        TrainingConfig(name="x", start="lite", sources=("a",), objective=LiteConfig(), stages=(CONFIG.stages[0], stage))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"views": 2}, "views without cached=tokens"),
        ({"texts": ("a.txt",)}, "texts"),
        ({"stages": (TrainingStage(name="s", epochs=1, cached="maps"),)}, r"stages\.0\.cached=maps"),
        ({"stages": (TrainingStage(name="s", epochs=1, captions=5),)}, r"stages\.0\.captions"),
    ],
)
def test_what_other_objectives_do_not_read_is_refused(changes, name):
    settings = {"name": "x", "start": "ram", "sources": ("a",), "objective": RamConfig(), "stages": CONFIG.stages}
    with pytest.raises(ValueError, match=f"{name} applies to LiteConfig only, not to RamConfig"):
        TrainingConfig(**(settings | changes))


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [
        ("augmentation.crop=[0.8,0.2]", "crop goes from 0.8 up to 0.2; give the smaller number first"),
        ("augmentation.crop=[0,1]", "greater than 0"),
        ("augmentation.crop=[0.5,1.5]", "less than or equal to 1"),
        ("augmentation.aspect=[2,0.5]", "aspect goes from 2 up to 0.5"),
        ("augmentation.aspect=[-1,1]", "greater than 0"),
        ("model.width=0", "greater than or equal to 1"),
        ("model.recognition.layers=-1", "greater than or equal to 1"),
        ("model.recognition.dropout=1", "less than 1"),
        ("model.image_encoder.resolution=0", "greater than or equal to 1"),
        ("model.image_encoder.classes=-1", "greater than or equal to 0"),
        ("model.image_encoder.std=[0,1,1]", "greater than 0"),
        ("model.feature_width=0", "greater than or equal to 1"),
        ("model.default_threshold=2", "less than or equal to 1"),
        ("model.format=7", "less than or equal to 1"),
        ("model.recognition.layers=1000000000000", "less than or equal to 1000"),
        ("model.recognition.heads=3", "model: a width of 256 cannot be divided among 3 heads (recognition.heads)"),
        ("model.captioner.heads=1024", "model: a width of 256 cannot be divided among 1024 heads (captioner.heads)"),
        ("model.image_encoder.projection=none", "model: features are 256 wide, but tokens that are not projected 1280"),
        ("seed=1180591620717411303424", "less than 9223372036854775808"),
        ("seed=-1", "greater than or equal to 0"),
        ("batch_size=1000000000000", "less than or equal to 1048576"),
        ("stages.0.learning_rate=2", "less than or equal to 1"),
        ("stages.0.epochs=1e300", "less than or equal to 1000000"),
        ("stages.0.epochs=Infinity", "finite number"),
        ("gradient_clip=NaN", "finite number"),
        ("gradient_clip=-1", "greater than or equal to 0"),
        ("divergence_factor=0.5", "divergence_factor is 0.5, so that usual losses would end the run"),
        ("weight_decay=1e6", "a weight_decay of 1e+06 at the rate of stage 'one' takes 1e+03 times every weight away"),
        ("stream.threads=-1", "greater than or equal to 0"),
        ("stream.threads=100000", "less than or equal to 256"),
        ('stages.0.schedule={"kind":"cosine","floor":1}', "floor is 1, above the peak of 5e-06"),
        ('stages.0.schedule={"kind":"step","warmup_start":1}', "warmup_start is 1, above the peak of 0.0001"),
    ],
)
def test_settings_have_bounds(pair, complaint):
    assert complaint in refused(pair)
