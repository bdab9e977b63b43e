import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_engine import CLEANING, GREEN, RED, many_samples, names, outputs, records, run_all, shards, toy_model

from anytag.data_engine.manifest import TAG_SOURCES, Manifest, ManifestCaption, ManifestTag, PictureRecord, RemovedTag
from anytag.data_engine.merge import merge_records
from anytag.data_engine.pipeline import Engine
from anytag.errors import UsageError

DOG, CAT = ManifestTag(1, "dog", "object", "parsed"), ManifestTag(2, "cat", "object", "teacher", 0.4)


def record(**fields):
    return PictureRecord("a", "p", 0, **fields)


def test_captions_and_tags_are_joined_and_removed_ones_go():
    human, made = ManifestCaption("a dog", tags=(1,)), ManifestCaption("a cat", "generated", "m", (2,))
    again = ManifestCaption("a dog", "generated", "m", (1,))
    surer = ManifestTag(2, "cat", "object", "teacher", 0.9)
    merged = merge_records([
        record(captions=(made, again), tags=(CAT,)),
        record(captions=(human,), tags=(DOG,), removed=()),
        record(tags=(surer,)),
    ])  # fmt: skip
    assert merged == record(captions=(human, made), tags=(DOG, surer))
    gone = RemovedTag(surer, "outlier", 1.5)
    assert merge_records([merged, record(removed=(gone,))]) == record(
        captions=(human, made), tags=(DOG,), removed=(gone,)
    )


TAGS = st.builds(
    ManifestTag,
    st.integers(0, 4),
    st.just("x"),
    st.just("object"),
    st.sampled_from(TAG_SOURCES),
    st.none() | st.floats(0, 1),
)
RECORDS = st.lists(
    st.builds(
        record,
        captions=st.lists(
            st.builds(ManifestCaption, st.sampled_from("abc"), st.sampled_from(["human", "generated"])), max_size=3
        ).map(tuple),
        tags=st.lists(TAGS, max_size=4).map(tuple),
        removed=st.lists(st.builds(RemovedTag, TAGS, st.just("denied"), st.none()), max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(RECORDS)
def test_merging_what_is_merged_changes_nothing(found):
    merged = merge_records(found)
    assert merge_records([merged]) == merged
    assert merge_records([merged, merged]) == merged
    for one in found:
        again = merge_records([merged, one])
        assert (again.tags, again.removed) == (merged.tags, merged.removed)
        assert {c.text for c in again.captions} == {c.text for c in merged.captions}
    assert not merged.tag_ids() & {entry.tag.id for entry in merged.removed}


@pytest.fixture
def model(tmp_path):
    return toy_model(tmp_path / "model")


def test_statistics_before_and_after(tmp_path, model):
    source = shards(tmp_path, [(RED, ["a dog"]), (GREEN, ["a dog on a beach"])])
    reports = run_all(tmp_path / "work", source, model)
    first, second = records(tmp_path / "work" / "merged")
    # Red: dog from the caption; animal, dog, red from the model. Green: a dog that the model denies, and a beach.
    assert (names(first), names(second)) == (["animal", "dog", "red"], ["beach"])
    assert [entry["name"] for entry in second["removed"]] == ["dog"]
    assert reports[-1].counts == {
        "pictures_in": 2, "pictures_out": 2, "tags_original": 3, "tags_with_generated": 5, "tags_removed": 1, "tags": 4,
        "tags_from_parsed": 2, "tags_from_generated": 3, "tags_from_teacher": 4,
        "captions_human": 2, "captions_generated": 2,
    }  # fmt: skip
    text = (tmp_path / "work" / "merged" / "report.txt").read_text()
    assert text.startswith("merge: 2 pictures in, 2 out, 0 failed (1 part)")


def test_files_merged_again_are_the_same_to_the_byte(tmp_path, model):
    source = shards(tmp_path, many_samples(12), many_samples(15, 1))
    run_all(tmp_path / "work", source, model)
    engine, merged = Engine(tmp_path / "work"), tmp_path / "work" / "merged"
    engine.merge([merged], tmp_path / "again")
    assert outputs(tmp_path / "again") == outputs(merged)
    engine.merge([merged, tmp_path / "work" / "parsed", merged], tmp_path / "more")
    assert outputs(tmp_path / "more") == outputs(merged)


def test_existing_manifests_are_merged(tmp_path, model):
    source = shards(tmp_path, [(RED, ["a dog"])])
    engine = Engine(tmp_path / "work")
    engine.parse(source, model.path / "vocabulary.json")
    assert names(engine.merge() and records(tmp_path / "work" / "merged")[0]) == ["dog"]
    engine.generate(source, model)
    engine.merge()
    assert names(records(tmp_path / "work" / "merged")[0]) == ["animal", "dog", "red"]
    assert Manifest.load(tmp_path / "work" / "merged").vocabulary.find("dog").id == 1


def test_wrong_use(tmp_path, model):
    engine = Engine(tmp_path / "work")
    with pytest.raises(UsageError, match="give at least one manifest"):
        engine.merge()
    engine.parse(shards(tmp_path / "a", [(RED, ["a dog"])]), model.path / "vocabulary.json")
    other = Engine(tmp_path / "other")
    other.parse(shards(tmp_path / "b", [(RED, ["a dog"])], [(RED, ["a dog"])]), model.path / "vocabulary.json")
    with pytest.raises(UsageError, match="describe different pictures"):
        engine.merge([engine.work / "parsed", other.work / "parsed"])
    with pytest.raises(UsageError, match="cannot be merged into itself"):
        engine.merge([engine.work / "parsed"], engine.work / "parsed")
    path = other.work / "parsed" / "vocabulary.json"
    engine.clean(shards(tmp_path / "a", [(RED, ["a dog"])]), model, CLEANING)
    (engine.work / "cleaned" / "vocabulary.json").write_text(path.read_text() + "\n")
    with pytest.raises(UsageError, match="have different vocabularies"):
        engine.merge()
