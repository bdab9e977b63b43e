"""Pictures in, recognitions out: the toy model's numbers are worked out by hand, the shipped model's are compared."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from conftest import ROOT
from fixtures_toy import plain, toy_recognizer
from PIL import Image

import anytag
from anytag.errors import PictureError, UsageError
from anytag.recognition import Failure, Recognition, Tag

EXAMPLES = ROOT / "examples"


@pytest.fixture
def recognizer(tmp_path):
    return toy_recognizer(tmp_path / "toy")


def named(seen):
    return [tag.name for tag in seen.tags]


class TestForms:
    def test_one_picture_gives_one_recognition(self, recognizer, tmp_path):
        plain("red").save(tmp_path / "red.png")
        for source in (str(tmp_path / "red.png"), tmp_path / "red.png", plain("red"), np.asarray(plain("red"))):
            assert named(recognizer.tag(source)) == ["red", "animal", "dog"]
        content = (tmp_path / "red.png").read_bytes()
        for source in (content, bytearray(content), memoryview(content), io.BytesIO(content)):
            assert named(recognizer.tag(source)) == ["red", "animal", "dog"]

    def test_the_result_names_its_picture(self, recognizer, tmp_path):
        path = tmp_path / "red.png"
        plain("red").save(path)
        assert recognizer.tag(path).path == str(path)
        assert recognizer.tag(plain("red")).path == "<picture 1>"

    def test_a_bad_single_picture_is_raised(self, recognizer, tmp_path):
        with pytest.raises(PictureError, match="no such file") as caught:
            recognizer.tag(tmp_path / "gone.jpg")
        assert (caught.value.kind, caught.value.path) == ("not_found", str(tmp_path / "gone.jpg"))

    @pytest.mark.parametrize("make", [list, tuple])
    def test_a_list_gives_a_list_in_order_with_failures_in_place(self, recognizer, make):
        results = recognizer.tag(make([plain("red"), b"", plain("lime"), b"text", plain("blue")]))
        assert isinstance(results, list)
        assert [type(result) for result in results] == [Recognition, Failure, Recognition, Failure, Recognition]
        assert [result.kind for result in results if isinstance(result, Failure)] == ["empty", "not_a_picture"]
        assert [named(result) for result in results[::2]] == [["red", "animal", "dog"], ["beach"], ["run"]]

    def test_no_pictures_give_no_results(self, recognizer):
        assert recognizer.tag([]) == []
        assert list(recognizer.tag(iter([]))) == []
        assert recognizer.backend.encoded == 0

    def test_a_batch_of_nothing_but_failures(self, recognizer):
        assert [result.kind for result in recognizer.tag([b"", b"", b""])] == ["empty"] * 3
        assert [result.kind for result in recognizer.caption([b"", b"", b""])] == ["empty"] * 3

    def test_an_endless_iterable_streams(self, recognizer):
        drawn = 0

        def endless():
            nonlocal drawn
            for _ in itertools.count():
                drawn += 1
                yield plain("red")

        results = recognizer.tag(endless())
        assert drawn == 0
        assert [named(result) for result in itertools.islice(results, 5)] == [["red", "animal", "dog"]] * 5
        # Three batches of two were needed; two more may be read ahead.
        assert 6 <= drawn <= 12
        assert recognizer.backend.encoded <= drawn

    def test_options_are_checked_before_a_picture_is_drawn(self, recognizer):
        def forbidden():
            raise AssertionError("a picture was drawn")
            yield

        with pytest.raises(UsageError, match=r"^threshold must lie between 0 and 1, not 1\.5$"):
            recognizer.tag(forbidden(), threshold=1.5)
        with pytest.raises(UsageError, match=r"^top must be at least 1, not 0$"):
            recognizer.tag(forbidden(), top=0)
        with pytest.raises(UsageError, match=r"^unknown kind 'color'; kinds are object, scene, attribute, action$"):
            recognizer.tag(forbidden(), kinds=["color"])
        with pytest.raises(UsageError, match=r"^categories and kinds exclude each other"):
            recognizer.tag(forbidden(), kinds=["object"], categories=["kart"])

    def test_a_batch_size_below_one(self, recognizer):
        with pytest.raises(UsageError, match=r"^batch_size must be at least 1, not 0$"):
            anytag.Recognizer(recognizer.directory, recognizer.backend, batch_size=0)

    def test_load_refuses_unknown_backends(self):
        with pytest.raises(UsageError, match=r"^unknown backend 'tpu'; backends are: onnx, torch, openvino$"):
            anytag.load(backend="tpu")


class TestTags:
    def test_each_tag_has_its_own_threshold_and_the_best_goes_first(self, recognizer):
        # Half red, half green: animal .35, dog .3, beach .25, run 0, red .5; thresholds .3 (default), .5, .25, .8, .9.
        picture = plain("red", (8, 4))
        both = plain("lime", (8, 8))
        both.paste(picture, (0, 0))
        seen = recognizer.tag(both)
        assert [tag.name for tag in seen.tags] == ["animal", "beach"]
        assert [tag.score for tag in seen.tags] == pytest.approx([0.35, 0.25], abs=2e-3)
        assert [tag.threshold for tag in seen.tags] == [0.3, 0.25]
        assert [(tag.kind, tag.id) for tag in seen.tags] == [("object", 0), ("scene", 2)]
        assert seen.caption is None

    def test_one_threshold_for_all(self, recognizer):
        assert named(recognizer.tag(plain("red"), threshold=0.65)) == ["red", "animal"]
        [best, *_] = recognizer.tag(plain("red"), threshold=0.65).tags
        assert best.threshold == 0.65

    def test_threshold_zero_keeps_every_tag_and_equals_keep_their_order(self, recognizer):
        assert named(recognizer.tag(plain("red"), threshold=0)) == ["red", "animal", "dog", "beach", "run"]
        assert named(recognizer.tag(plain("black"), threshold=0)) == ["animal", "dog", "beach", "run", "red"]

    def test_a_score_at_the_threshold_counts(self, recognizer):
        [beach] = recognizer.tag(plain("lime"), kinds=["scene"]).tags
        assert named(recognizer.tag(plain("lime"), threshold=beach.score)) == ["beach"]
        assert named(recognizer.tag(plain("lime"), threshold=beach.score + 1e-4)) == []

    def test_top(self, recognizer):
        assert named(recognizer.tag(plain("red"), top=2)) == ["red", "animal"]
        assert named(recognizer.tag(plain("red"), top=99)) == ["red", "animal", "dog"]

    def test_kinds(self, recognizer):
        assert named(recognizer.tag(plain("red"), kinds=["object"])) == ["animal", "dog"]
        assert named(recognizer.tag(plain("red"), kinds=["attribute", "action"], threshold=0)) == ["red", "run"]


class TestCategories:
    def test_results_have_the_given_names_in_order(self, recognizer):
        # White: beach .5, "go kart" has two tokens: .2, "kart" one: .1.
        seen = recognizer.tag(plain("white"), categories=["kart", " Go  KART", "beach"], threshold=0)
        assert [(tag.name, tag.id) for tag in seen.tags] == [("kart", None), ("Go  KART", None), ("beach", 2)]
        assert [tag.score for tag in seen.tags] == pytest.approx([0.1, 0.2, 0.5], abs=1e-6)
        assert [tag.kind for tag in seen.tags] == ["object", "object", "scene"]
        seen = recognizer.tag(plain("white"), categories=["kart", " Go  KART", "beach"], threshold=0, top=2)
        assert named(seen) == ["Go  KART", "beach"]

    def test_free_categories_have_the_open_threshold_and_tags_their_own(self, recognizer):
        seen = recognizer.tag(plain("white"), categories=["kart", "a kart", "go kart ride", "beach", "red"])
        # .1 stays below .2; .2 and .3 reach it; beach .5 >= .25 and red 1 >= .9 by thresholds of their own.
        assert [(tag.name, tag.threshold) for tag in seen.tags] == [
            ("a kart", 0.2), ("go kart ride", 0.2), ("beach", 0.25), ("red", 0.9),
        ]  # fmt: skip

    def test_every_name_is_returned_with_its_tag(self, recognizer):
        seen = recognizer.tag(plain("white"), categories=["hound", "sea_shore", "dog", "dogs"])
        assert [(tag.name, tag.taken_for, tag.id) for tag in seen.tags] == [
            ("hound", "dog", 1), ("sea_shore", "beach", 2), ("dog", "dog", 1), ("dogs", "dog", 1),
        ]  # fmt: skip
        assert seen.tags[0].to_json() == {
            "name": "hound", "score": 0.6, "kind": "object", "threshold": 0.5, "taken_for": "dog",
        }  # fmt: skip
        assert recognizer.backend.texts == 0

    def test_a_repeated_name_is_scored_once(self, recognizer):
        seen = recognizer.tag(plain("white"), categories=["kart", "KART", " kart "], threshold=0)
        assert named(seen) == ["kart", "KART", "kart"]
        assert {(tag.score, tag.taken_for) for tag in seen.tags} == {(seen.tags[0].score, None)}
        recognizer.tag(plain("white"), categories=["kart"])
        assert recognizer.backend.texts == 1

    @pytest.mark.parametrize("names", [[], [""], ["dog", "  "]])
    def test_empty_names_are_refused(self, recognizer, names):
        message = "^categories: give at least one name, separated by commas, none of them empty$"
        with pytest.raises(UsageError, match=message):
            recognizer.tag(plain("red"), categories=names)

    def test_a_text_is_no_list_of_names(self, recognizer):
        with pytest.raises(UsageError, match=r"^categories: give a list of names, not the one text 'kart'$"):
            recognizer.tag(plain("red"), categories="kart")
        with pytest.raises(UsageError, match=r"^tags: give a list of names, not the one text 'dog'$"):
            recognizer.caption(plain("red"), tags="dog")

    def test_a_model_without_text_encoder_says_so(self, recognizer):
        directory = recognizer.directory
        (directory.path / "label_tokenizer.json").unlink()
        del directory.config.files["label_tokenizer.json"]
        with pytest.raises(anytag.AnytagError, match="this model has no text encoder for new categories"):
            recognizer.tag(plain("red"), categories=["kart"])
        assert named(recognizer.tag(plain("red"), categories=["dog"])) == ["dog"]


class TestJson:
    def test_records(self):
        seen = Recognition("a.jpg", (Tag("dog", 0.123456, "object", 0.1, 7),))
        assert seen.to_json() == {
            "path": "a.jpg",
            "tags": [{"name": "dog", "score": 0.1235, "kind": "object", "threshold": 0.1}],
            "caption": None,
        }
        assert list(seen.to_json()) == ["path", "tags", "caption"]
        guided = Recognition("a.jpg", (), "a dog", ("dog", "run"), ("dog",))
        assert list(guided.to_json().items())[2:] == [
            ("caption", "a dog"), ("given", ["dog", "run"]), ("covered", ["dog"]),
        ]  # fmt: skip
        assert Failure("b.jpg", "empty", "why").to_json() == {
            "path": "b.jpg", "error": {"kind": "empty", "message": "why"},
        }  # fmt: skip


@pytest.fixture(scope="module")
def shipped():
    return anytag.load(threads=1)


class TestShippedModel:
    def test_batches_equal_single_pictures(self, shipped):
        paths = [str(EXAMPLES / f"{name}.jpg") for name in ("cat", "bee")]
        together = [{tag.id: tag.score for tag in seen.tags} for seen in shipped.tag(paths, threshold=0)]
        for path, expected in zip(paths, together, strict=True):
            alone = {tag.id: tag.score for tag in shipped.tag(path, threshold=0).tags}
            assert alone == pytest.approx(expected, abs=1e-4)

    def test_a_score_does_not_depend_on_other_labels(self, shipped):
        path = str(EXAMPLES / "cat.jpg")
        more = ["go-kart", "cat", "a very long description of something else altogether", "moustache"]
        many = {tag.name: tag.score for tag in shipped.tag(path, categories=more, threshold=0).tags}
        one = {tag.name: tag.score for tag in shipped.tag(path, categories=["go-kart"], threshold=0).tags}
        assert one["go-kart"] == pytest.approx(many["go-kart"], abs=1e-4)
        all_tags = {tag.id: tag.score for tag in shipped.tag(path, threshold=0).tags}
        cat = shipped.vocabulary.find("cat")
        assert many["cat"] == pytest.approx(all_tags[cat.id], abs=1e-4)

    def test_threshold_zero_gives_the_whole_vocabulary(self, shipped):
        seen = shipped.tag(EXAMPLES / "cat.jpg", threshold=0)
        assert sorted(tag.id for tag in seen.tags) == list(range(len(shipped.vocabulary)))
        assert all(0 <= tag.score <= 1 for tag in seen.tags)

    @pytest.mark.parametrize("threshold", [None, 0.2])
    def test_tags_without_a_decoder_run_are_below_their_thresholds(self, shipped, threshold):
        paths, limits = sorted(EXAMPLES.glob("*.jpg")), shipped.labels.all().limits(threshold)
        found, whole = shipped.tag(paths, threshold=threshold), shipped.tag(paths, threshold=0)
        for seen, everything in zip(found, whole, strict=True):
            expected = {tag.id: tag.score for tag in everything.tags if tag.score >= limits[tag.id]}
            assert {tag.id: tag.score for tag in seen.tags} == pytest.approx(expected, abs=1e-5)

    def test_the_decoder_runs_for_few_tags(self, shipped, monkeypatch):
        asked = []
        recognize = type(shipped.backend).recognize

        def counting(backend, features, queries):
            asked.append(len(queries))
            return recognize(backend, features, queries)

        monkeypatch.setattr(type(shipped.backend), "recognize", counting)
        shipped.tag(EXAMPLES / "bee.jpg")
        assert 0 < asked[0] < len(shipped.vocabulary) / 5

    def test_quality_plain_subjects_are_found(self, shipped):
        """One of the few tests of quality: any sane model names these."""
        for name in ("cat", "bee", "coffee"):
            wanted = {"coffee": {"cup", "coffee cup", "coffee mug", "espresso", "coffee"}}.get(name, {name})
            assert wanted & {tag.name for tag in shipped.tag(EXAMPLES / f"{name}.jpg").tags}, name

    def test_the_call_gives_tags_and_caption(self, shipped):
        seen = shipped(EXAMPLES / "cat.jpg")
        assert seen.tags
        assert len(seen.caption.split()) >= 3
        assert set(seen.covered) <= set(seen.given)


class TestNotes:
    BLANK = plain((255, 0, 0))

    @pytest.fixture
    def strict(self, tmp_path):
        recognizer = toy_recognizer(tmp_path / "strict")
        recognizer.recognize_blank = False
        return recognizer

    def test_a_blank_picture_has_no_tags_and_says_why(self, strict):
        for seen in (strict.tag(self.BLANK), strict.caption(self.BLANK), *strict.tag([self.BLANK])):
            assert (seen.tags, seen.caption, seen.notes) == ((), None, ("blank",))
            assert seen.to_json() == {"path": seen.path, "tags": [], "caption": None, "notes": ["blank"]}
        look = strict.look(self.BLANK)
        assert (look.tags(), look.caption().caption, look.notes) == ((), None, ("blank",))

    def test_an_index_treats_it_as_blank(self, strict, tmp_path):
        photos = tmp_path / "photos"
        photos.mkdir()
        self.BLANK.save(photos / "blank.png")
        library = anytag.Library(photos, strict)
        assert library.update().recognized == 1
        assert not library.search("red").hits
        strict.recognize_blank = True
        (photos / "blank.png").rename(photos / "seen.png")
        library.update()
        assert [hit.path for hit in library.search("red").hits] == [str(photos / "seen.png")]

    def test_explicit_options_are_answered(self, strict):
        assert strict.tag(self.BLANK, threshold=0.5).tags
        assert strict.tag(self.BLANK, categories=["red"], threshold=0).tags[0].name == "red"
        assert strict.caption(self.BLANK, tags=["beach"]).caption == "a picture of beach"
        assert strict.look(self.BLANK).tags(threshold=0.5)
        assert strict.tag(self.BLANK, threshold=0.5).notes == ("blank",)

    def test_it_can_be_recognized_like_others(self, strict):
        strict.recognize_blank = True
        seen = strict.tag(self.BLANK)
        assert (seen.tags[0].name, seen.notes) == ("red", ())

    def test_truncated_pictures_are_accepted_on_request(self, tmp_path, strict):
        stream = io.BytesIO()
        picture = Image.new("RGB", (64, 64), (255, 0, 0))
        picture.paste((0, 0, 255), (0, 0, 32, 64))
        picture.save(stream, "BMP")
        cut = stream.getvalue()[:-4000]
        with pytest.raises(PictureError, match="accept_truncated"):
            strict.tag(cut)
        strict.accept_truncated = True
        seen = strict.tag(cut)
        assert seen.notes == ("truncated",)
        assert seen.to_json()["notes"] == ["truncated"]
