import pytest
from conftest import require_module
from toy_engine import GREEN, RED, many_samples, run_all, shards, toy_model

from anytag.data_engine.inputs import JoinedSources
from anytag.data_engine.pipeline import Engine
from anytag.data_engine.training_source import IndexedManifestSource, ManifestSource, open_manifest
from anytag.datasets.samples import TagName
from anytag.datasets.stream import SampleStream
from anytag.errors import SampleError, UsageError


@pytest.fixture
def model(tmp_path):
    return toy_model(tmp_path / "model")


@pytest.fixture
def source(tmp_path):
    return shards(tmp_path, [(RED, ["a dog"]), (b"broken", ["a dog"]), (GREEN, ["a dog on a beach"])], many_samples(4))


def test_samples_have_the_manifests_captions_and_tags(tmp_path, model, source):
    run_all(tmp_path / "work", source, model)
    opened = open_manifest(tmp_path / "work" / "generated", source)
    assert isinstance(opened, IndexedManifestSource)
    assert len(opened) == 6  # The broken picture is left out.
    assert [sample.id for sample in opened] == ["s0-0000", "s0-0002", *(f"s1-000{n}" for n in range(4))]
    first = opened[0]
    assert first.captions == ("a dog", "a picture of red dog")
    assert first.extra["caption_sources"] == ["human", "generated"]
    dog, red = TagName("dog", "object"), TagName("red", "attribute")
    assert first.tags == (TagName("animal", "object"), dog, red)
    assert first.caption_tags == ((dog,), (dog, red))
    assert first.picture_bytes() == source[0].picture_bytes()
    cleaned = open_manifest(tmp_path / "work" / "merged", source)
    [green] = [sample for sample in cleaned if sample.id == "s0-0002"]
    assert green.tags == (TagName("beach", "scene"),)


def test_streams_shuffle_it(tmp_path, model, source):
    run_all(tmp_path / "work", source, model)
    opened = open_manifest(tmp_path / "work" / "generated", source)
    with_stream = [loaded.sample.id for loaded in SampleStream([opened], epochs=1, threads=0)]
    assert sorted(with_stream) == sorted(sample.id for sample in opened)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_sources_that_are_only_read_through(tmp_path, model, source, format):
    require_module("pyarrow", "parquet")
    joined = JoinedSources([source])
    run_all(tmp_path / "work", joined, model, format=format)
    opened = open_manifest(tmp_path / "work" / "merged", joined)
    assert isinstance(opened, ManifestSource)
    assert [sample.id for sample in opened.read(0)] == ["s0-0000", "s0-0001", "s0-0002"]
    assert [sample.id for sample in opened.read(1, 3)] == ["s1-0003"]
    assert {sample.tags for sample in opened.read(0, 2)} == {(TagName("beach", "scene"),)}


def test_a_manifest_belongs_to_its_source(tmp_path, model, source):
    Engine(tmp_path / "work").parse(source, model.path / "vocabulary.json")
    with pytest.raises(UsageError, match="give the same sources in the same order"):
        open_manifest(tmp_path / "work" / "parsed", shards(tmp_path / "b", [(RED, [])]))
    # The same shards with other pictures in them.
    changed = shards(tmp_path, [(RED, ["a dog"])], [*many_samples(6)])
    changed.identity = source.identity
    opened = open_manifest(tmp_path / "work" / "parsed", changed)
    with pytest.raises(SampleError, match="the source has no such picture anymore"):
        opened[1]
