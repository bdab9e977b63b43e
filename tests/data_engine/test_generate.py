import pytest
from fixtures_toy import TAGS
from toy_engine import BLUE, GREEN, RED, ToyModel, names, outputs, records, shards, toy_model

from anytag.data_engine.executors import LocalExecutor
from anytag.data_engine.generate import GenerateConfig
from anytag.data_engine.models import ModelSpec, model_name
from anytag.data_engine.pipeline import Engine
from anytag.datasets.webdataset import open_shards
from anytag.errors import ModelError, UsageError
from anytag.model.vocabulary import TagVocabulary, VocabularyTag


@pytest.fixture
def model(tmp_path):
    return toy_model(tmp_path / "model")


@pytest.fixture
def engine(tmp_path):
    return Engine(tmp_path / "work")


def generate(engine, source, model, vocabulary=None, **options):
    engine.parse(source, vocabulary or model.path / "vocabulary.json")
    report = engine.generate(source, model, GenerateConfig(**options))
    return report, records(engine.work / "generated")


def test_generated_captions_and_tags_are_added_to_the_originals(tmp_path, engine, model):
    source = shards(tmp_path, [(RED, ["a dog on a beach"]), (GREEN, [])])
    report, (first, second) = generate(engine, source, model)
    # A red picture: animal 0.7, dog 0.6, red 1.0 (at most 0.999999); the toy's captions name the tags that guide them.
    assert first["captions"][0] == {"text": "a dog on a beach", "source": "human", "tags": [1, 2]}
    assert first["captions"][1] == {
        "text": "a picture of red dog",
        "source": "generated",
        "model": model_name(model),
        "tags": [1, 4],
    }
    assert [(tag["name"], tag["source"], tag.get("score")) for tag in first["tags"]] == [
        ("animal", "teacher", 0.7),
        ("dog", "generated", None),
        ("dog", "parsed", None),
        ("dog", "teacher", 0.6),
        ("beach", "parsed", None),
        ("red", "generated", None),
        ("red", "teacher", 1.0),
    ]
    assert names(second) == ["beach"]
    expected = {
        "tags_before": 2,
        "tags_after": 5,
        "tags_new": 3,
        "tags_teacher": 4,
        "captions_generated": 2,
    }
    assert report.counts.items() >= expected.items()
    assert report.examples[0]["new_tags"] == ["animal", "red"]


def test_plain_captions_and_none(tmp_path, engine, model):
    source = shards(tmp_path, [(RED, ["a dog"])])
    _, [record] = generate(engine, source, model, captions="plain")
    assert record["captions"][1]["text"] == "a picture of"
    _, [record] = generate(engine, source, model, captions="none")
    assert len(record["captions"]) == 1
    assert names(record, "teacher") == ["animal", "dog", "red"]


def test_thresholds_kinds_and_top(tmp_path, engine, model):
    source = shards(tmp_path, [(RED, [])])
    assert names(generate(engine, source, model, threshold=0.65)[1][0]) == ["animal", "red"]
    assert names(generate(engine, source, model, threshold=0.65, captions="none", kinds=("object",))[1][0]) == [
        "animal"
    ]
    assert names(generate(engine, source, model, captions="none", top=1)[1][0]) == ["red"]
    with pytest.raises(ValueError, match="less than or equal to 1"):
        GenerateConfig(threshold=2)


def test_a_caption_that_is_there_already_is_not_added(tmp_path, engine, model):
    source = shards(tmp_path, [(RED, ["a picture of red dog"])])
    assert len(generate(engine, source, model)[1][0]["captions"]) == 1


def test_pictures_that_cannot_be_read_are_reported_and_skipped(tmp_path, engine, model):
    source = shards(tmp_path, [(RED, ["a dog"]), (b"no picture", ["a dog"]), (GREEN, ["a dog"])])
    report, found = generate(engine, source, model)
    assert [record["row"] for record in found] == [0, 2]
    assert (report.failed, report.counts["pictures_in"], report.counts["pictures_out"]) == (1, 3, 2)
    assert report.failures[0]["place"] == "s0.tar:s0-0001.png"
    assert report.failures[0]["kind"] == "not_a_picture"


def test_records_that_are_damaged_or_have_lost_their_picture_are_reported(tmp_path, engine, model):
    source = shards(tmp_path, [(RED, ["a dog"])] * 4)
    engine.parse(source, model.path / "vocabulary.json")
    path = engine.work / "parsed" / "part-00000.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:20]
    lines[2] = lines[2].replace("s0-0002", "other")
    lines[3] = lines[3].replace('"row": 3', '"row": 9')
    path.write_text("\n".join(lines) + "\n")
    report = engine.generate(source, model)
    assert [record["row"] for record in records(engine.work / "generated")] == [0]
    reasons = [failure["reason"] for failure in report.failures]
    assert reasons[0].startswith("not a line of JSON")
    assert reasons[1:] == [
        "the source has 's0-0002' in this place; parse it again",
        "the source has no such picture anymore",
    ]


def test_the_manifests_vocabulary_decides_the_ids(tmp_path, engine, model):
    # The model's dog is 1; here it is 0, under another name that the model does not have, and there is no animal.
    tags = [VocabularyTag(0, "puppy", "object", aliases=("dog",)), VocabularyTag(1, "red", "attribute")]
    TagVocabulary(tags).save(tmp_path / "other.json")
    report, [record] = generate(engine, shards(tmp_path, [(RED, [])]), model, tmp_path / "other.json", captions="none")
    assert [(tag["id"], tag["name"]) for tag in record["tags"]] == [(0, "puppy"), (1, "red")]
    assert report.counts["names_unknown"] == 1
    assert TagVocabulary.load(engine.work / "generated" / "vocabulary.json")[0].name == "puppy"


def test_batches_and_parts_and_processes_change_nothing(tmp_path, model):
    colors = [(RED, ["a dog"]), (GREEN, ["a beach"]), (BLUE, []), (b"", []), ((200, 100, 0), ["a dog"])]
    source = shards(tmp_path, colors, colors[:3], colors)
    first, second = Engine(tmp_path / "one"), Engine(tmp_path / "two", LocalExecutor(2))
    for engine in (first, second):
        generate(engine, source, model)
    assert outputs(first.work) == outputs(second.work)
    # Rows of a part are told apart whatever its neighbors are.
    tags = [
        [names(r) for r in records(first.work / "generated") if r["id"].startswith(f"s{part}")] for part in (0, 1, 2)
    ]
    assert tags[0] == tags[2]
    assert tags[1] == tags[0][:3]


def test_another_model_or_setting_redoes_the_step(tmp_path, model):
    source = shards(tmp_path, [(RED, ["a dog"])])
    steps = []
    engine = Engine(tmp_path / "work", progress=lambda step, *rest: steps.append(step))
    generate(engine, source, model)
    steps.clear()
    engine.generate(source, model)
    assert steps == []
    engine.generate(source, model, GenerateConfig(top=1))
    other = toy_model(tmp_path / "other", tags=TAGS[:4])
    assert model_name(other) != model_name(model)
    engine.generate(source, other, GenerateConfig(top=1))
    assert steps == ["generate", "generate"]


def test_wrong_use(tmp_path, engine, model):
    source = shards(tmp_path, [(RED, ["a dog"])])
    with pytest.raises(UsageError, match="no complete manifest"):
        engine.generate(source, model)
    engine.parse(source, model.path / "vocabulary.json")
    with pytest.raises(UsageError, match=r"describes .* in 1 parts, not .* in 2; give the same sources"):
        engine.generate(open_shards([tmp_path / "s0.tar"] * 2), model)
    with pytest.raises(ModelError, match="no such model directory"):
        engine.generate(source, ToyModel(tmp_path / "none"))
    silent = toy_model(tmp_path / "silent", captioner=False)
    with pytest.raises(ModelError, match="this model tags pictures but does not write captions"):
        engine.generate(source, silent)
    engine.generate(source, silent, GenerateConfig(captions="none"))
    with pytest.raises(ModelError, match="no such model directory"):
        ModelSpec(str(tmp_path / "none")).directory()
