"""Captions and the tags that guide them; the toy model writes its guides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures_toy import plain, toy_recognizer

from anytag.errors import ModelError, UsageError
from anytag.inference.captioner import Captioner
from anytag.inference.generation import Generated
from anytag.model.vocabulary import TagVocabulary


@pytest.fixture
def recognizer(tmp_path):
    return toy_recognizer(tmp_path / "toy")


def guide(recognizer):
    """The last caption's tag list, decoded: its first token and the rest."""
    tokenizer = recognizer.captioner.tokenizer
    first, *rest = recognizer.backend.guides[-1]
    return {tokenizer.given_id: "given", tokenizer.found_id: "found"}[first], tokenizer.decode(rest)


def test_found_tags_guide_without_what_they_imply(recognizer):
    seen = recognizer.caption(plain("red"))
    # Dog (.6) implies animal (.7), so only the dog guides the caption; the tags keep both.
    assert [tag.name for tag in seen.tags] == ["red", "animal", "dog"]
    assert seen.given == ("red", "dog")
    assert seen.caption == "a picture of red dog"
    assert seen.covered == ("red", "dog")
    assert guide(recognizer) == ("found", "red dog")


def test_options_select_the_guides(recognizer):
    # Red 1, animal .7, dog .6: the threshold, the number and the kinds decide what guides, as they decide the tags.
    for options, names, guides in (
        ({"threshold": 0.65}, ["red", "animal"], ("red", "animal")),
        ({"top": 1}, ["red"], ("red",)),
        ({"top": 2}, ["red", "animal"], ("red", "animal")),
        ({"kinds": ["object"]}, ["animal", "dog"], ("dog",)),
        ({"kinds": ["action"]}, [], ()),
        ({"threshold": 0.0, "kinds": ["scene", "action"]}, ["beach", "run"], ("beach", "run")),
    ):
        seen = recognizer.caption(plain("red"), **options)
        assert [tag.name for tag in seen.tags] == names
        assert seen.given == guides
        assert seen.caption == " ".join(["a picture of", *guides])
        assert guide(recognizer) == ("found", " ".join(guides))


def test_given_tags_guide_whatever_the_picture_shows(recognizer):
    seen = recognizer.caption(plain("red"), tags=["dog", "beach"], top=1, threshold=0.65)
    assert ([tag.name for tag in seen.tags], seen.given) == (["red"], ("dog", "beach"))


def test_captions_longer_than_the_decoder_s_positions_are_refused_before_any_is_written(tmp_path):
    recognizer = toy_recognizer(tmp_path / "toy")
    config = recognizer.directory.config
    for length, positions in ((48, 48), (49, 48)):
        decoding = config.decoding.model_copy(update={"max_length": length})
        captioner = config.captioner.model_copy(update={"positions": positions})
        recognizer.directory.config = config.model_copy(update={"decoding": decoding, "captioner": captioner})
        if length <= positions:
            Captioner(recognizer.directory, recognizer.backend)
            continue
        with pytest.raises(ModelError) as caught:
            recognizer.caption(plain("red"))
        assert str(caught.value) == (
            f"{recognizer.directory.path / 'config.json'}: decoding.max_length is 49, but the text decoder supports 48 "
            "positions; set it to that or less"
        )
        assert recognizer.tag(plain("red")).tags


def test_given_tags_are_marked_as_given(recognizer):
    seen = recognizer.caption(plain("red"), tags=["hound", "Beach", "dog"])
    assert guide(recognizer) == ("given", "dog beach")
    # The model is asked in its own words; the answer has those of the user.
    assert seen.given == ("hound", "Beach")
    assert seen.covered == ("hound", "Beach")
    assert [tag.name for tag in seen.tags] == ["red", "animal", "dog"]


def test_an_empty_list_gives_no_guides(recognizer):
    seen = recognizer.caption(plain("red"), tags=[])
    assert guide(recognizer) == ("given", "")
    assert (seen.given, seen.covered, seen.caption) == ((), (), "a picture of")


def test_a_picture_without_tags_gets_a_caption(recognizer):
    seen = recognizer.caption(plain("black"))
    assert (seen.tags, seen.given, seen.caption) == ((), (), "a picture of")
    assert guide(recognizer) == ("found", "")


def test_a_long_tag_list_is_truncated_at_a_tag(recognizer):
    recognizer.captioner.tag_limit = 5
    seen = recognizer.caption(plain("red"), tags=["dog", "beach", "run"])
    # [GIVEN] dog | beach | is five pieces.
    assert seen.caption == "a picture of dog beach"
    assert seen.given == ("dog", "beach", "run")
    assert seen.covered == ("dog", "beach")


@pytest.mark.parametrize(
    ("caption", "covered"),
    [
        ("two dogs on a beach", ["animal", "dog", "beach"]),
        ("a hound is running", ["animal", "dog", "run"]),
        ("a sea shore", ["beach"]),
        ("a red car", ["red"]),
        ("a hot dogma", []),
        ("", []),
    ],
)
def test_covered_are_names_aliases_inflections_and_what_is_implied(recognizer, caption, covered):
    found = recognizer.captioner.covered(caption, list(recognizer.vocabulary))
    assert [tag.name for tag in found] == covered


@pytest.fixture
def beams(recognizer, monkeypatch):
    """Captions for a green picture, of three that the text decoder found in this order, at a weight of alignment."""
    tokenizer = recognizer.captioner.tokenizer
    found = [
        Generated((tokenizer.start_id, *tokenizer.encode(text), tokenizer.end_id), score, True)
        for text, score in (("a dog", -1.0), ("a dog and a beach", -1.1), ("a picture", -1.2))
    ]
    monkeypatch.setattr("anytag.inference.captioner.generate_several", lambda *_, **__: [found])

    def caption(weight, **options):
        decoding = recognizer.directory.config.decoding.model_copy(update={"alignment": weight})
        recognizer.captioner.config = recognizer.directory.config.model_copy(update={"decoding": decoding})
        return recognizer.caption(plain("lime"), **options).caption

    return caption


class TestChoice:
    def test_without_alignment_the_likeliest_caption_wins(self, beams):
        assert beams(0.0) == "a dog"
        assert beams(0.0, tags=["beach"]) == "a dog"

    def test_alignment_is_added_to_the_likelihood(self, beams):
        # Of five words the toy is sure by half, of two by a fifth: log-odds of 0 and of -1.386.
        assert beams(0.07) == "a dog"  # -1 - .097 against -1.1
        assert beams(0.08) == "a dog and a beach"  # -1 - .111

    def test_captions_with_given_tags_come_first(self, beams):
        assert beams(1e-6, tags=["beach"]) == "a dog and a beach"
        assert beams(1e-6, tags=["dog"]) == "a dog"


def test_options_default_to_the_model_s(recognizer):
    options = recognizer.captioner.options()
    assert (options.num_beams, options.max_length, options.min_length, options.sample) == (2, 20, 0, False)
    assert recognizer.captioner.options(num_beams=5).num_beams == 5
    changed = recognizer.captioner.options(sample=True, seed=3)
    assert (changed.sample, changed.seed) == (True, 3)
    with pytest.raises(UsageError, match=r"num_beams is 0; it must be at least 1"):
        recognizer.caption(plain("red"), num_beams=0)


def test_sampling_is_reproducible_by_its_seed(recognizer):
    def captions(seed):
        return [result.caption for result in recognizer.caption([plain("red")] * 3, sample=True, seed=seed)]

    assert captions(5) == captions(5)
    # The toy model leaves its every word open: in three captions of other seeds something differs.
    assert len({tuple(captions(seed)) for seed in range(4)}) > 1
    assert len(set(captions(5))) == 1, "a picture gets the same caption alone or in any batch"


def test_a_model_without_captioner_tags_and_says_so(tmp_path):
    recognizer = toy_recognizer(tmp_path / "toy", captioner=False)
    assert recognizer.tag(plain("blue")).tags[0].name == "run"
    with pytest.raises(ModelError, match=r"this model tags pictures but does not write captions$"):
        recognizer.caption(plain("blue"))


class TestAgreement:
    """Words are weighed by the tags that they name. The step likes "beach" (1) a little better than "dog" (0.5)."""

    @pytest.fixture
    def write(self, recognizer, monkeypatch):
        config = recognizer.directory.config
        tokenizer = recognizer.captioner.tokenizer
        beach, dog = (tokenizer.encode(word)[0] for word in ("beach", "dog"))
        liked = {"best": "beach"}

        def fuse(tag_ids, features, rows):
            def step(ids, cache):
                scores = np.full((len(ids), len(tokenizer)), -9.0, np.float32)
                scores[:, beach], scores[:, dog] = (1.0, 0.5) if liked["best"] == "beach" else (0.5, 1.0)
                if ids[0, -1] in (beach, dog):  # One word is all that it has to say.
                    scores[:, tokenizer.end_id] = 20
                return scores, cache

            return step

        monkeypatch.setattr(recognizer.backend, "fuse", fuse)

        def caption(
            agreement, color="red", support=None, seldom=0, known_support=None, guide_room=0.0, step="beach", **options
        ):
            liked["best"] = step
            changed = {"agreement": agreement, "support": support, "seldom": seldom}
            changed |= {"known_support": known_support, "guide_room": guide_room}
            decoding = config.decoding.model_copy(update=changed)
            recognizer.captioner.__dict__.pop("_support", None)  # Models do not change.
            recognizer.captioner.config = config.model_copy(update={"decoding": decoding})
            return recognizer.caption(plain(color), num_beams=1, **options).caption

        return caption

    def test_words_for_absent_tags_are_less_likely(self, write):
        # Red: a beach has no score at all (-4), a dog .6 where .5 is needed (log 1.5 = .41).
        assert write(0.0) == "beach"
        assert write(0.1) == "beach"  # 1 - .4 against .5 + .04
        assert write(0.2) == "dog"  # 1 - .8 against .5 + .08
        # Green: a beach has .5 where .25 is needed, a dog nothing.
        assert write(0.2, "lime") == "beach"

    def test_words_for_given_tags_are_not_less_likely(self, write):
        assert write(0.2, tags=["beach"]) == "beach"
        assert write(0.2, tags=["dog"]) == "dog"

    def test_tags_that_were_not_scored_change_nothing(self, write):
        assert write(0.2, kinds=["action"]) == "beach"

    def test_tags_without_support_are_not_mentioned(self, write):
        # A beach misses its threshold by more than 4.
        assert write(0.0, support=4.0) == "dog"
        assert write(0.0, support=1e9) == "beach"

    def test_given_tags_need_no_support(self, write):
        assert write(0.0, support=4.0, tags=["beach"]) == "beach"

    def test_objects_that_the_classifier_knows_need_more_support(self, write, recognizer):
        # Green: a dog has no score at all, a beach more than it needs.
        assert write(0.0, "lime", support=9e9, step="dog") == "dog"
        assert write(0.0, "lime", support=9e9, known_support=1.0, step="dog") == "dog"
        dog = recognizer.vocabulary.find("dog")
        tags = [replace(tag, classes=(3,)) if tag == dog else tag for tag in recognizer.vocabulary]
        recognizer.captioner.vocabulary = TagVocabulary(tags)
        assert write(0.0, "lime", support=9e9, known_support=1.0, step="dog") == "beach"

    def test_a_rare_best_object_must_be_mentioned(self, write):
        # Captions of five training pictures named a dog, the best thing in red.
        seen = {"support": 9e9, "kinds": ["object", "scene"]}
        assert write(0.0, seldom=5, **seen) == "beach"
        assert write(0.0, seldom=6, **seen) == "a photo of a dog"
        # With agreement, the caption that follows the dog alone names it.
        assert write(0.2, seldom=6, **seen) == "dog"
        # Green shows a scene best.
        assert write(0.0, "lime", seldom=6, **seen) == "beach"

    def test_a_plain_caption_names_only_tags_found(self, write):
        # A beach is just below its threshold in red: it may guide, but is not returned.
        seen = {"support": 9e9, "seldom": 6, "kinds": ["object", "scene"], "guide_room": 9e9}
        assert write(0.0, **seen) == "a photo of a dog"
        assert write(0.0, "blue", support=4.0, kinds=["object", "scene"]) == "a photo"


def test_a_given_threshold_decides_what_has_support(recognizer):
    # Red: a dog has .6. The plain sentence names what counts as found.
    decoding = recognizer.directory.config.decoding.model_copy(update={"support": 0.0, "plain_from": 0.0})
    recognizer.captioner.config = recognizer.directory.config.model_copy(update={"decoding": decoding})
    assert recognizer.caption(plain("red")).caption == "a photo of a dog"
    seen = recognizer.caption(plain("red"), threshold=0.65)
    assert (seen.caption, seen.given, seen.covered) == ("a photo of an animal", ("animal",), ("animal",))
    assert recognizer.caption(plain("red"), threshold=0.99).caption == "a photo"
    # What the user asks for is written, however unfamiliar the picture is.
    assert recognizer.caption(plain("red"), tags=["beach"]).caption == "a picture of beach"


def test_tags_just_below_their_threshold_may_guide(recognizer):
    # Red: a dog has .6; with a threshold of .8 it is not found, but may guide with a guide_room of 1.
    decoding = recognizer.directory.config.decoding
    recognizer.labels.all().thresholds[:] = [0.8 if tag.name == "dog" else 0.5 for tag in recognizer.vocabulary]
    for room, told in ((0.0, "red animal"), (0.9, "red animal"), (1.1, "red dog")):
        recognizer.captioner.config = recognizer.directory.config.model_copy(
            update={"decoding": decoding.model_copy(update={"guide_room": room})}
        )
        seen = recognizer.caption(plain("red"))
        assert guide(recognizer) == ("found", told)
        assert [tag.name for tag in seen.tags] == ["red", "animal"]
        # The dog guided the caption, but is not returned.
        assert set(seen.given) <= {"red", "animal"}
