import gzip
import json

import pytest
from toy_engine import GREEN, RED, names, outputs, records, shards

from anytag.data_engine.inputs import CaptionLines, JoinedSources, digest_part, open_input
from anytag.data_engine.label_system import LabelSystemConfig, build_label_system
from anytag.data_engine.manifest import Manifest
from anytag.data_engine.pipeline import Engine
from anytag.datasets.webdataset import open_shards
from anytag.errors import UsageError, VocabularyError
from anytag.language.parsing.rules import ParsedTag
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

TAGS = (
    VocabularyTag(0, "animal", "object"),
    VocabularyTag(1, "dog", "object", aliases=("hound",), implies=(0,)),
    VocabularyTag(2, "beach", "scene"),
    VocabularyTag(3, "run", "action"),
)


@pytest.fixture
def vocabulary(tmp_path):
    TagVocabulary(TAGS).save(tmp_path / "v.json")
    return tmp_path / "v.json"


def test_captions_become_ids(tmp_path, vocabulary):
    source = shards(
        tmp_path,
        [(RED, ["A hound is running.", "a dog with a zebra"]), (GREEN, [], ["beach", "hound", "umbrella"])],
        [(RED, ["sky"])],
    )
    report = Engine(tmp_path / "work").parse(source, vocabulary)
    first, second, third = records(tmp_path / "work" / "parsed")
    assert first["id"] == "s0-0000"
    assert first["place"] == "s0.tar:s0-0000.png"
    # Named tags only: that a dog is an animal, the vocabulary knows.
    assert [caption["tags"] for caption in first["captions"]] == [[1, 3], [1]]
    assert [(tag["id"], tag["source"]) for tag in first["tags"]] == [(1, "parsed"), (3, "parsed")]
    assert [(tag["name"], tag["kind"], tag["source"]) for tag in second["tags"]] == [
        ("dog", "object", "given"),
        ("beach", "scene", "given"),
    ]
    assert third["tags"] == []
    assert [record["row"] for record in (first, second, third)] == [0, 1, 0]
    expected = {"captions": 3, "tags_parsed": 2, "tags_given": 2, "pictures_in": 3, "pictures_out": 3, "failed": 0}
    assert report.counts.items() >= (expected | {"pictures_without_tags": 1}).items()
    # dog, run, dog, beach, dog; zebra, umbrella, sky.
    assert (report.counts["names_known"], report.counts["names_unknown"]) == (5, 3)
    assert Manifest.load(tmp_path / "work" / "parsed").source == source.identity
    assert json.loads((tmp_path / "work" / "parsed" / "report.json").read_text())["counts"] == report.counts


def test_another_vocabulary_does_not_cost_the_parsing(tmp_path, vocabulary):
    source = shards(tmp_path, [(RED, ["a dog"])])
    steps = []
    engine = Engine(tmp_path / "work", progress=lambda step, *rest: steps.append(step))
    engine.parse(source, vocabulary)
    TagVocabulary(TAGS[:1]).save(vocabulary)
    engine.parse(source, vocabulary)
    assert steps == ["parse captions", "map tags", "map tags"]
    assert records(tmp_path / "work" / "parsed")[0]["tags"] == []


def test_only_the_shard_that_changed_is_parsed_again(tmp_path, vocabulary):
    shards(tmp_path, [(RED, ["a dog"])], [(RED, ["a beach"])])
    paths = [tmp_path / "s0.tar", tmp_path / "s1.tar"]
    units = []
    engine = Engine(tmp_path / "work", progress=lambda step, done, total, marker: units.append((step, marker.unit)))
    engine.parse(open_shards(paths), vocabulary)
    units.clear()
    shards(tmp_path, [(RED, ["a dog"])], [(RED, ["a dog on a beach"])])
    engine.parse(open_shards(paths), vocabulary)
    assert units == [("parse captions", 1), ("map tags", 1)]
    assert names(records(tmp_path / "work" / "parsed")[1]) == ["beach", "dog"]


def test_bad_samples_are_reported_and_skipped(tmp_path, vocabulary):
    (tmp_path / "a.jsonl").write_text(
        '{"image": "1.png", "caption": "a dog"}\n{"image": "2.png", "caption": 7}\n'
        '{"image": "3.png", "caption": "a beach"}\n'
    )
    report = Engine(tmp_path / "work").parse(open_input([str(tmp_path / "a.jsonl")]), vocabulary)
    assert [record["row"] for record in records(tmp_path / "work" / "parsed")] == [0, 2]
    assert (report.failed, report.counts["pictures_in"], report.counts["pictures_out"]) == (1, 3, 2)
    [failure] = report.failures
    assert failure["place"].startswith("a.jsonl:2")
    assert failure["kind"] == "captions"


def test_a_broken_shard_is_reported(tmp_path, vocabulary):
    shards(tmp_path, [(RED, ["a dog"])] * 3)
    path = tmp_path / "s0.tar"
    path.write_bytes(path.read_bytes()[:4620])  # A sample takes four blocks of 512 bytes; this ends in the third.
    report = Engine(tmp_path / "work").parse(open_shards([path]), vocabulary)
    assert report.failed == 1
    assert "s0.tar" in report.failures[0]["place"]


class TestCaptionLines:
    def test_blocks_of_plain_and_packed_files(self, tmp_path):
        (tmp_path / "a.txt").write_text("".join(f"caption {n}\n" for n in range(5)))
        (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"one\n\nthree \xff\n"))
        source = CaptionLines([tmp_path / "a.txt", tmp_path / "b.txt.gz"], 2, lines_per_part=4)
        found = [[(sample.id, sample.captions) for sample in source.read(part)] for part in range(source.parts)]
        assert found == [
            [("a.txt:1", ("caption 0", "caption 1")), ("a.txt:2", ("caption 2", "caption 3"))],
            [("a.txt:3", ("caption 4",))],
            [("b.txt.gz:1", ("one",)), ("b.txt.gz:2", ("three �",))],
        ]
        assert [sample.id for sample in source.read(0, 1)] == ["a.txt:2"]

    def test_unreadable_files(self, tmp_path):
        (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n" * 1000)[:-12])
        with pytest.raises(UsageError, match=r"a\.txt\.gz: cannot be read as captions"):
            CaptionLines([tmp_path / "a.txt.gz"])
        (tmp_path / "b.txt").touch()
        with pytest.raises(UsageError, match="contains no captions"):
            CaptionLines([tmp_path / "b.txt"])
        with pytest.raises(UsageError, match="captions_per_picture is 0"):
            CaptionLines([tmp_path / "b.txt"], 0)

    def test_parsed_without_pictures(self, tmp_path, vocabulary):
        (tmp_path / "a.txt").write_text("a dog\na beach\n")
        Engine(tmp_path / "work").parse(open_input([str(tmp_path / "a.txt")]), vocabulary)
        assert [names(record) for record in records(tmp_path / "work" / "parsed")] == [["dog"], ["beach"]]


class TestInputs:
    def test_sources_of_several_kinds_are_one_after_the_other(self, tmp_path):
        shards(tmp_path, [(RED, ["a dog"])], [(RED, ["a cat"])])
        (tmp_path / "a.txt").write_text("a beach\n")
        source = open_input([str(tmp_path / "s0.tar"), str(tmp_path / "s1.tar"), str(tmp_path / "a.txt")])
        assert isinstance(source, JoinedSources)
        assert source.parts == 3
        assert [[s.captions for s in source.read(part)] for part in range(3)] == [
            [("a dog",)],
            [("a cat",)],
            [("a beach",)],
        ]
        # A part is told by its own file alone.
        assert [digest_part(source, part)[0].name for part in range(3)] == ["s0.tar", "s1.tar", "a.txt"]

    def test_pictures_in_folders_are_identified_by_size_and_time(self, tmp_path):
        import os

        folder = tmp_path / "pictures"
        folder.mkdir()
        (folder / "a.jpg").write_bytes(b"x")
        (folder / "a.txt").write_text("a dog")
        before = digest_part(open_input([str(folder)]), 0)
        assert digest_part(open_input([str(folder)]), 0) == before
        os.utime(folder / "a.jpg", (1, 1))
        changed = digest_part(open_input([str(folder)]), 0)
        assert changed != before
        (folder / "a.txt").write_text("a cat")
        assert digest_part(open_input([str(folder)]), 0) != changed

    def test_nothing_given(self):
        with pytest.raises(UsageError, match="give at least one source"):
            open_input([])


class TestLabelSystem:
    #: By pictures: dog 4 (one of them a hound), ball 3, cat 2 (one of them a kitten's), leap 2, umbrella 1.
    PICTURES = (
        [ParsedTag("dog", "object"), ParsedTag("ball", "object"), ParsedTag("leap", "action")],
        [ParsedTag("dog", "object"), ParsedTag("ball", "object"), ParsedTag("leap", "action")],
        [ParsedTag("dog", "object"), ParsedTag("ball", "object"), ParsedTag("cat", "object")],
        [ParsedTag("doggy", "object"), ParsedTag("cat", "object"), ParsedTag("umbrella", "object")],
    )

    def build(self, **sizes):
        vocabulary, counts = build_label_system(
            lambda: self.PICTURES, LabelSystemConfig(**({"min_support": 1} | sizes))
        )
        return [tag for tag in vocabulary if "captions" in tag.sources], vocabulary, counts

    def test_synonyms_are_one_tag(self):
        named, vocabulary, counts = self.build()
        by_name = {tag.name: tag for tag in named}
        assert "doggy" in by_name["dog"].aliases
        assert (by_name["dog"].support, by_name["ball"].support) == (4, 3)
        assert counts["names"] == counts["names_kept"] == 6
        assert counts["labels"] == 6
        assert counts["ids"] == len(vocabulary)
        assert counts["ids_object"] + counts["ids_action"] + counts["ids_attribute"] + counts["ids_scene"] == len(
            vocabulary
        )

    def test_the_most_frequent_names_are_looked_at(self):
        named, _, counts = self.build(labels=3)
        # dog and ball have three pictures each; of cat and leap, which have two, the alphabet decides.
        assert sorted(tag.name for tag in named) == ["ball", "cat", "dog"]
        assert counts["names_kept"] == 3

    def test_the_size_limit_keeps_implied_tags(self):
        whole = self.build()[1]
        for size in range(1, len(whole)):
            vocabulary = self.build(size=size)[1]
            assert [tag.name for tag in vocabulary] == [tag.name for tag in whole][:size]
            for tag in vocabulary:
                assert {vocabulary[i].name for i in tag.implies} == {whole[i].name for i in whole[tag.id].implies}

    def test_support(self):
        named, _, _ = self.build(min_support=3)
        assert {tag.name for tag in named} == {"dog", "ball"}
        with pytest.raises(VocabularyError, match="none of 0 tags has the support of 9 pictures"):
            self.build(min_support=9)

    def test_the_vocabulary_is_rebuilt_only_for_other_sizes(self, tmp_path):
        (tmp_path / "a.txt").write_text("a dog and a ball\na doggy\n")
        source = open_input([str(tmp_path / "a.txt")])
        steps = []
        engine = Engine(tmp_path / "work", progress=lambda step, *rest: steps.append(step))
        report = engine.parse(source, LabelSystemConfig(min_support=1))
        assert [names(record) for record in records(tmp_path / "work" / "parsed")] == [["ball", "dog"], ["dog"]]
        assert report.counts["ids"] == len(TagVocabulary.load(tmp_path / "work" / "parsed" / "vocabulary.json"))
        before = outputs(tmp_path / "work")
        engine.parse(source, LabelSystemConfig(min_support=1))
        assert outputs(tmp_path / "work") == before
        engine.parse(source, LabelSystemConfig(min_support=2))
        assert steps == ["parse captions", "make label system", "map tags", "make label system", "map tags"]
        assert [names(record) for record in records(tmp_path / "work" / "parsed")] == [["dog"], ["dog"]]
