"""Cleaning on pictures whose scores and features are their colors."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_engine import (
    BLUE,
    CLEANING,
    GREEN,
    PINK,
    RED,
    ToyModel,
    halves,
    many_samples,
    names,
    outputs,
    records,
    run_all,
    shards,
    toy_model,
)

from anytag.data_engine.clean import remove_tags
from anytag.data_engine.clean_regions import crop_sides
from anytag.data_engine.cleaning_config import CleaningConfig
from anytag.data_engine.executors import LocalExecutor
from anytag.data_engine.manifest import TAG_SOURCES, ManifestTag, PictureRecord
from anytag.data_engine.pipeline import Engine
from anytag.errors import ModelError, UsageError

#: No clustering: only what the model says of crops.
ONLY_DENIAL = CleaningConfig(min_regions=10_000, denial_factor=0.5)
ONLY_OUTLIERS = CleaningConfig(min_regions=10, denial=False, clusters=1, groups=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("toy") / "model")


def clean(tmp_path, model, config, *parts, **options):
    source = shards(tmp_path, *parts)
    engine = Engine(tmp_path / "work", **options)
    engine.parse(source, model.path / "vocabulary.json")
    report = engine.clean(source, model, config)
    return report, records(tmp_path / "work" / "cleaned")


def test_a_tag_denied_on_its_region_is_removed(tmp_path, model):
    # A dog's score is 0.6 of red, and half its threshold is 0.25.
    report, found = clean(
        tmp_path,
        model,
        ONLY_DENIAL,
        [
            (RED, ["a dog"]),
            (GREEN, ["a dog on a beach"]),
            (halves(RED, GREEN), ["a dog"]),
            ((100, 0, 0), ["a dog"]),
            ((110, 0, 0), ["a dog"]),
        ],
    )
    assert [names(record) for record in found] == [["dog"], ["beach"], ["dog"], [], ["dog"]]
    assert found[1]["removed"] == [
        {"id": 1, "name": "dog", "kind": "object", "source": "parsed", "reason": "denied", "value": 0.0}
    ]
    assert found[3]["removed"][0]["value"] == round(0.6 * 100 / 255, 4)
    assert (
        report.counts.items()
        >= {
            "pictures_in": 5,
            "pictures_out": 5,
            "tags_judged": 5,
            "tags_not_judged": 1,  # a beach is a scene
            "regions": 5,
            "removed_denied": 2,
            "tags_before": 6,
            "tags_after": 4,
        }.items()
    )


def test_the_model_scores_the_region(tmp_path, model):
    # A quarter of red: on the whole picture a dog has 0.15, on the quarter 0.6, with its margin something between.
    quarter = halves(GREEN, GREEN)
    quarter.paste(RED, (0, 0, 2, 2))
    strict = ONLY_DENIAL.model_copy(update={"denial_threshold": 0.55, "crop_margin": 0.0})
    assert names(clean(tmp_path / "a", model, strict, [(quarter, ["a dog"])])[1][0]) == ["dog"]
    wide = strict.model_copy(update={"crop_margin": 1.0})
    assert names(clean(tmp_path / "b", model, wide, [(quarter, ["a dog"])])[1][0]) == []


def test_the_farthest_tenth_of_a_tags_regions_is_removed(tmp_path, model):
    # Twenty dogs, of which two are off by their color: a tenth.
    parts = [[(RED, ["a dog"])] * 7 + [(PINK, ["a dog"])], [(RED, ["a dog"])] * 11 + [(halves(PINK, PINK), ["a dog"])]]
    report, found = clean(tmp_path, model, ONLY_OUTLIERS, *parts)
    assert [number for number, record in enumerate(found) if not names(record)] == [7, 19]
    assert [entry["reason"] for entry in found[7]["removed"]] == ["outlier"]
    # By hand: red is (1, 0, 0); (255, 128, 0) of length 1 is (0.8937, 0.4486, 0). Their mean, 18 to 2, is the center.
    odd = np.array([1, 128 / 255, 0]) / np.hypot(1, 128 / 255)
    center = 0.9 * np.array([1, 0, 0]) + 0.1 * odd
    assert found[7]["removed"][0]["value"] == pytest.approx(np.linalg.norm(odd - center), abs=1e-3)
    assert report.counts.items() >= {"tags_clustered": 1, "regions_clustered": 20, "removed_outlier": 2}.items()


def test_equally_far_regions_stay_together(tmp_path, model):
    parts = [(RED, ["a dog"])] * 15 + [(PINK, ["a dog"])] * 5
    # Two of twenty may go, but five are equally far: nobody can say which two.
    assert all(names(record) == ["dog"] for record in clean(tmp_path, model, ONLY_OUTLIERS, parts)[1])


def test_few_regions_are_not_clustered(tmp_path, model):
    report, found = clean(tmp_path, model, ONLY_OUTLIERS, [(RED, ["a dog"])] * 8 + [(PINK, ["a dog"])])
    assert all(names(record) == ["dog"] for record in found)
    assert report.counts["tags_with_few_regions"] == 1


def test_the_crops_features_can_be_clustered(tmp_path, model):
    config = ONLY_OUTLIERS.model_copy(update={"feature": "crop"})
    found = clean(tmp_path, model, config, [(RED, ["a dog"])] * 18 + [(PINK, ["a dog"])] * 2)[1]
    assert [number for number, record in enumerate(found) if not names(record)] == [18, 19]


def test_given_tags_are_safe_and_the_others_of_them_too(tmp_path, model):
    samples = [(GREEN, ["a dog"], ["dog"]), (GREEN, ["a dog"])]
    assert [names(record) for record in clean(tmp_path / "a", model, ONLY_DENIAL, samples)[1]] == [["dog"], []]
    harsh = ONLY_DENIAL.model_copy(update={"protected": ()})
    assert [names(record) for record in clean(tmp_path / "b", model, harsh, samples)[1]] == [[], []]


def test_kinds_and_names_that_are_judged(tmp_path, model):
    samples = [(BLUE, ["a dog and an animal run on a red beach"])]
    whole = ["animal", "beach", "dog", "red", "run"]
    for number, (changes, kept) in enumerate(
        [
            ({}, ["beach", "red", "run"]),
            ({"tags": ("dog",)}, ["animal", "beach", "red", "run"]),
            ({"kinds": ("scene", "attribute")}, ["animal", "dog", "run"]),
            ({"kinds": ("action",)}, whole),  # Blue is running: 1 of 1.
        ]
    ):
        config = ONLY_DENIAL.model_copy(update=changes)
        assert names(clean(tmp_path / str(number), model, config, samples)[1][0]) == kept


def test_tags_that_the_model_does_not_know_stay(tmp_path, model):
    from anytag.model.vocabulary import TagVocabulary, VocabularyTag

    TagVocabulary([VocabularyTag(0, "zebra", "object"), VocabularyTag(1, "dog", "object")]).save(tmp_path / "v.json")
    source = shards(tmp_path, [(GREEN, ["a zebra and a dog"])])
    engine = Engine(tmp_path / "work")
    engine.parse(source, tmp_path / "v.json")
    report = engine.clean(source, model, ONLY_DENIAL)
    assert names(records(tmp_path / "work" / "cleaned")[0]) == ["zebra"]
    assert report.counts["tags_unknown_to_the_model"] == 1


def test_tags_without_a_region(tmp_path, model):
    import anytag.data_engine.clean_regions as module

    class Blind:
        def find(self, picture, features, tags):
            return [None for _ in tags]

    original = module.region_source
    try:
        module.region_source = lambda model, config: Blind()
        kept = clean(tmp_path / "a", model, ONLY_DENIAL, [(GREEN, ["a dog"])])[1][0]
        dropping = ONLY_DENIAL.model_copy(update={"without_region": "drop"})
        report, [dropped] = clean(tmp_path / "b", model, dropping, [(GREEN, ["a dog"])])
    finally:
        module.region_source = original
    assert names(kept) == ["dog"]
    assert names(dropped) == []
    assert dropped["removed"][0]["reason"] == "no_region"
    assert report.counts["regions_missing"] == report.counts["removed_no_region"] == 1


def test_pictures_that_cannot_be_read_keep_their_tags_and_are_reported(tmp_path, model):
    report, found = clean(tmp_path, model, ONLY_DENIAL, [(b"broken", ["a dog"]), (RED, ["a dog"])])
    assert [names(record) for record in found] == [["dog"], ["dog"]]
    assert report.failed == 1
    assert report.failures[0]["place"] == "s0.tar:s0-0000.png"


def test_how_data_is_divided_changes_nothing(tmp_path, model):
    samples = many_samples(36)
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    whole = clean(alone, model, CLEANING, samples)[1]
    parts = clean(spread, model, CLEANING.model_copy(update={"groups": 5}), samples[:7], samples[7:9], samples[9:])[1]
    kept = ("captions", "tags", "removed")
    assert [[r.get(key) for key in kept] for r in whole] == [[r.get(key) for key in kept] for r in parts]
    assert sum(len(record.get("removed", ())) for record in whole) > 0


def test_processes_change_nothing(tmp_path, model):
    source = shards(tmp_path, many_samples(12), many_samples(9, 1), many_samples(10, 2))
    run_all(tmp_path / "one", source, model)
    run_all(tmp_path / "two", source, model, LocalExecutor(2))
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")


def test_settings_of_removal_cost_no_pictures(tmp_path, model):
    source = shards(tmp_path, [(RED, ["a dog"])] * 12)
    steps = []
    engine = Engine(tmp_path / "work", progress=lambda step, *rest: steps.append(step))
    engine.parse(source, model.path / "vocabulary.json")
    engine.clean(source, model, CLEANING)
    steps.clear()
    engine.clean(source, model, CLEANING.model_copy(update={"denial_threshold": 0.9}))
    assert steps == ["remove tags"]
    assert all(not names(record) for record in records(tmp_path / "work" / "cleaned"))
    steps.clear()
    engine.clean(source, model, CLEANING.model_copy(update={"outlier_share": 0.5}))
    assert Counter(steps) == {"cluster regions": 3, "remove tags": 1}


def test_a_sample_of_many_regions_is_enough_to_fit(tmp_path, model):
    config = ONLY_OUTLIERS.model_copy(update={"most_fitted": 15})
    parts = [[(RED, ["a dog"])] * 12, [(RED, ["a dog"])] * 15 + [(PINK, ["a dog"])]]
    report, found = clean(tmp_path, model, config, *parts)
    assert report.counts["regions_clustered"] == 28
    assert len([record for record in found if not names(record)]) in (0, 1)


def test_wrong_use(tmp_path, model):
    with pytest.raises(ValueError, match="less than 1"):
        CleaningConfig(outlier_share=1)
    source = shards(tmp_path, [(RED, ["a dog"])])
    engine = Engine(tmp_path / "work")
    engine.parse(source, model.path / "vocabulary.json")
    with pytest.raises(UsageError, match="Grounding DINO needs the folder of its weights"):
        engine.clean(source, model, CleaningConfig(regions="grounding_dino"))
    with pytest.raises(UsageError, match="no complete manifest"):
        Engine(tmp_path / "none").clean(source, model)
    with pytest.raises(ModelError, match="no such model directory"):
        engine.clean(source, ToyModel(tmp_path / "none"))


class TestCrops:
    def test_a_margin_on_every_side(self):
        assert crop_sides((0.4, 0.2, 0.6, 0.6), 0.1, 0.01) == pytest.approx((0.38, 0.16, 0.62, 0.64))

    def test_a_small_region_is_enlarged_and_stays_inside(self):
        assert crop_sides((0.0, 0.95, 0.02, 1.0), 0.0, 0.2) == pytest.approx((0, 0.8, 0.2, 1))
        assert crop_sides((0.0, 0.0, 1.0, 1.0), 0.5, 0.2) == (0, 0, 1, 1)


SHARES = st.floats(0, 1)
TAGS = st.lists(
    st.builds(ManifestTag, st.integers(0, 5), st.just("x"), st.just("object"), st.sampled_from(TAG_SOURCES), st.none()),
    max_size=8,
).map(tuple)
VERDICTS = st.dictionaries(st.integers(0, 7), st.tuples(st.sampled_from(["outlier", "denied"]), st.none() | SHARES))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(TAGS, VERDICTS, st.lists(st.sampled_from(TAG_SOURCES), max_size=2).map(tuple))
def test_cleaning_never_adds_and_loses_nothing(tags, verdicts, protected):
    record = PictureRecord("a", "p", 0, tags=tags)
    cleaned = remove_tags(record, verdicts, CleaningConfig(protected=protected))
    assert set(cleaned.tags) <= set(record.tags)
    assert Counter([*cleaned.tags, *(entry.tag for entry in cleaned.removed)]) == Counter(tags)
    assert not cleaned.tag_ids() & {entry.tag.id for entry in cleaned.removed}
    assert {tag for tag in tags if tag.source in protected} <= set(cleaned.tags)
    assert remove_tags(cleaned, verdicts, CleaningConfig(protected=protected)) == cleaned
