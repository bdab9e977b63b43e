"""Problems of the data are reported before and after training, and in the model card."""

from __future__ import annotations

import json
import tarfile

import pytest

torch = pytest.importorskip("torch")

from toy_pairs import config, write_pictures, write_rows  # noqa: E402

from anytag.datasets.opening import open_source  # noqa: E402
from anytag.errors import DataError, UsageError  # noqa: E402
from anytag.language.parsing.parser import load_parser  # noqa: E402
from anytag.model.vocabulary import TagVocabulary, VocabularyTag  # noqa: E402
from anytag.training.dry_run import describe  # noqa: E402
from anytag.training.families.batches import SampleTags  # noqa: E402
from anytag.training.families.data_findings import check_source, shared_pictures  # noqa: E402
from anytag.training.recipes.config import StreamConfig, Tag2TextConfig, VocabularyConfig  # noqa: E402
from anytag.training.run import train  # noqa: E402

NAMES = ("red", "green", "blue", "yellow", "square", "circle")


@pytest.fixture
def tags():
    kinds = ("attribute",) * 4 + ("object",) * 2
    vocabulary = TagVocabulary(VocabularyTag(i, *pair) for i, pair in enumerate(zip(NAMES, kinds, strict=True)))
    return SampleTags(vocabulary, load_parser("light"))


@pytest.fixture
def rows(tmp_path):
    return write_pictures(tmp_path, 12)


def found(folder, tags, rows):
    write_rows(folder / "pairs.jsonl", rows)
    return check_source(open_source(folder / "pairs.jsonl"), tags).lines()


class TestASource:
    def test_good_data_have_no_problems(self, tmp_path, tags, rows):
        assert found(tmp_path, tags, rows) == []

    def test_missing_files(self, tmp_path, tags, rows):
        for row in rows[:4]:
            (tmp_path / row["image"]).unlink()
        (line,) = found(tmp_path, tags, rows)
        assert line.startswith(
            "json pairs.jsonl: 12: 4 of 12 samples cannot be read (4 not found), such as pairs.jsonl:1 "
        )

    def test_unknown_keys(self, tmp_path, tags, rows):
        bare = [{"image": row["image"], "legend": "a dog"} if place < 10 else row for place, row in enumerate(rows)]
        (line,) = found(tmp_path, tags, bare)
        assert "10 of 12 samples have neither captions nor tags; the keys that are understood are caption" in line

    def test_names_that_the_vocabulary_lacks(self, tmp_path, tags, rows):
        strange = [
            {"image": row["image"], "tags": ["zebu", "qat"] if place else ["red"]} for place, row in enumerate(rows)
        ]
        first, second = found(tmp_path, tags, strange)
        assert first.endswith("the vocabulary does not have 'zebu' (11), 'qat' (11)")
        assert second.endswith("11 of 12 samples name no tag that the vocabulary has")

    def test_another_language(self, tmp_path, tags, rows):
        german = [{"image": row["image"], "captions": ["ein Hund läuft über die Wiese"]} for row in rows]
        assert any(
            "in 12 of 12 captions the parser finds no tag; it understands English only" in line
            for line in found(tmp_path, tags, german)
        )

    def test_a_shard_that_breaks_off(self, tmp_path, tags, rows):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for number, row in enumerate(rows):
                (tmp_path / "side.json").write_text(json.dumps({"tags": row["tags"]}))
                tar.add(tmp_path / row["image"], f"{number:03}.png")
                tar.add(tmp_path / "side.json", f"{number:03}.json")
        whole = (tmp_path / "a.tar").read_bytes()
        (tmp_path / "a.tar").write_bytes(whole[: len(whole) // 2 // 512 * 512 - 300])
        lines = check_source(open_source(tmp_path / "a.tar"), tags).lines()
        assert len(lines) == 1
        assert "missing in 1 shard, probably cut off (a.tar); copy again what is cut off" in lines[0]


def test_validation_pictures_that_are_trained_on(tmp_path, rows):
    write_rows(tmp_path / "pairs.jsonl", rows)
    write_rows(tmp_path / "check.jsonl", rows[:3])
    training, validation = (open_source(tmp_path / name) for name in ("pairs.jsonl", "check.jsonl"))
    assert shared_pictures([training], [validation], 100) == 3
    assert shared_pictures([training], [validation], 2) == 2
    assert shared_pictures([training], [], 100) == 0


class TestWhatThereIs:
    def findings(self, folder, tags, rows, **more):
        write_rows(folder / "pairs.jsonl", rows)
        return check_source(open_source(folder / "pairs.jsonl"), tags, **more)

    def test_counts(self, tmp_path, tags, rows):
        """Three have nothing, two are one file, and two more have the same content under two names."""
        for row in rows[:3]:
            row.update(tags=[], captions=[])
        rows[4]["image"] = rows[3]["image"]
        (tmp_path / rows[6]["image"]).write_bytes((tmp_path / rows[5]["image"]).read_bytes())
        rows[7]["tags"] = []
        rows[7]["captions"] = ["nothing at all"]
        by_name, by_content = (self.findings(tmp_path, tags, rows, by_content=look) for look in (False, True))
        assert (by_name.samples, by_name.usable, by_name.bare) == (12, 9, 3)
        assert (len(by_name.pictures), len(by_content.pictures)) == (8, 7)
        assert by_name.tag_counts == [2] * 8
        assert sum(by_name.tags.values()) == 16
        said = describe([by_content], tags.vocabulary, 12)
        assert said[:3] == ["pictures: 12", "distinct: 7 (2 are there more than once)", "captions: 17, 1.9 a picture"]
        assert said[3] == "tags a picture: 2.0 on average, 2 to 2, median 2; 1 picture without any"

    def test_rarest_and_absent_tags(self, tmp_path, tags, rows):
        for place, row in enumerate(rows):
            row.update(tags=["red", "square"] if place else ["blue"], captions=[])
        said = describe([self.findings(tmp_path, tags, rows)], tags.vocabulary, 12)
        assert said[-2:] == [
            "most frequent tags: square (11), red (11), blue (1)",
            "rarest tags: blue (1), red (11), square (11); 3 of the vocabulary's 6 are in no picture",
        ]

    def test_of_large_data_a_part_is_looked_at(self, tmp_path, tags, rows):
        said = describe([self.findings(tmp_path, tags, rows)], tags.vocabulary, 1_000_000)
        assert said[:2] == [
            "pictures: 1,000,000",
            "looked at: 12 of them, evenly spread; what follows is about these",
        ]


class TestARun:
    def settings(self, **changes):
        return config(objective=Tag2TextConfig(captioning=0, contrast=0, matching=0), **changes)

    def test_problems_are_reported_and_in_the_card(self, tmp_path, rows):
        write_pictures(tmp_path, 24)
        (tmp_path / "pictures" / "0-003.png").unlink()
        lines = []
        loose = StreamConfig(bad_share=0.5)
        train(self.settings(stream=loose, validation=("pairs.jsonl",)), tmp_path, tmp_path / "run", lines.append)
        warnings = [line for line in lines if line.startswith("warning: ")]
        card = (tmp_path / "run" / "model" / "README.md").read_text()
        for part in (
            "1 of 24 samples cannot be read",
            "24 validation pictures are",
            "1 of the last epoch's 24 samples",
        ):
            assert any(part in line for line in warnings), part
            assert part in card, part
        assert "24 pictures per epoch, each seen 2 times. Of 23 that were checked, 23 are distinct." in card

    def test_a_batch_larger_than_the_data_and_tags_without_pictures(self, tmp_path):
        write_pictures(tmp_path, 4, captions=False)
        (tmp_path / "tags.txt").write_text("zebra\n")
        lines = []
        vocabulary = VocabularyConfig(tags="tags.txt")
        train(self.settings(vocabulary=vocabulary, parser="none"), tmp_path, tmp_path / "run", lines.append)
        said = "\n".join(lines)
        assert "warning: a batch of 8 holds samples more than once, for there are 4; set batch_size" in said
        assert "4 of 4 samples name no tag that the vocabulary has" in said

    @pytest.mark.parametrize(
        ("content", "error", "message"),
        [
            ("picture,tags\na.png,caf\xe9\n".encode("latin-1"), DataError, r"not in UTF-8"),
            (b"picture,tags\nhttp://127.0.0.1:9/a.png,cat\n", DataError, r"127\.0\.0\.1:9"),
            (b"picture,tags\na.png,\n", UsageError, r"no tag is named in the data \(1 sample\)"),
            (b"picture,tags\n", UsageError, r"there is no sample in the data \(CSV table .*: 0 rows"),
        ],
        ids=["latin-1", "no answer", "no tags", "no rows"],
    )
    def test_the_first_pass_says_what_was_wrong(self, tmp_path, content, error, message):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(error, match=message):
            train(self.settings(sources=("a.csv",)), tmp_path, tmp_path / "run", lambda line: None)


def test_support_that_no_tag_has(tmp_path, rows):
    message = r"none of the 6 tags that the data name is in 500 pictures \(vocabulary\.min_support\); the most"
    with pytest.raises(UsageError, match=message):
        train(config(vocabulary=VocabularyConfig(read="tags", min_support=500)), tmp_path, tmp_path / "run", list)
