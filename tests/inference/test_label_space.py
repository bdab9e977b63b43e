"""Label sets: the shift of the classifier's opinion, and what was made before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures_toy import TAGS, plain, toy_recognizer


@pytest.fixture
def recognizer(tmp_path):
    tags = [replace(tag, classes=(0, 1)) if tag.name == "dog" else tag for tag in TAGS]
    tags[3] = replace(tags[3], classes=(2,))
    return toy_recognizer(tmp_path / "toy", tags=tags, classes=4)


def score(recognizer, name, color="black"):
    return {tag.name: tag.score for tag in recognizer.tag(plain(color), threshold=0).tags}[name]


class TestClassifier:
    def test_class_threshold_falls_on_the_label_s_own(self, recognizer):
        # Classes 0 and 1 are dogs; .3 + .1 is exactly class_threshold, so the score is exactly dog's threshold .5.
        recognizer.backend.classes = np.array([0.3, 0.1, 0.2, 0.4])
        assert score(recognizer, "dog") == pytest.approx(0.5, abs=1e-6)

    def test_log_odds_are_moved(self, recognizer):
        # Class 2 is run, threshold .8: odds .5/.5 = 1, over those of .4 (2/3), times those of .8 (4) = 6; 6/7.
        recognizer.backend.classes = np.array([0, 0, 0.5, 0.5])
        assert score(recognizer, "run") == pytest.approx(6 / 7, abs=1e-6)

    def test_what_a_class_implies_is_found_too(self, recognizer):
        # Animal has no threshold of its own: odds .6/.4 = 1.5, over 2/3, times .3/.7: 27/28; as a probability 27/55.
        recognizer.backend.classes = np.array([0.6, 0, 0, 0.4])
        assert score(recognizer, "animal") == pytest.approx((1.5 * 1.5 * 3 / 7) / (1 + 1.5 * 1.5 * 3 / 7), abs=1e-6)

    def test_the_higher_score_counts(self, recognizer):
        recognizer.backend.classes = np.array([0.01, 0, 0, 0.99])
        assert score(recognizer, "dog", "red") == pytest.approx(0.6)

    def test_it_does_not_count_for_frequent_labels(self, tmp_path):
        # Ten pictures show a dog, nine an animal: the classifier only counts for the animal.
        support = {"dog": 10, "animal": 9}
        tags = [
            replace(tag, classes=(0,) if tag.name == "dog" else (), support=support.get(tag.name, 0)) for tag in TAGS
        ]
        recognizer = toy_recognizer(tmp_path / "toy", tags=tags, classes=4)
        directory = recognizer.labels.directory
        directory.config = directory.config.model_copy(update={"class_support": 10})
        recognizer.backend.classes = np.array([0.9, 0, 0, 0.1])
        assert score(recognizer, "dog") == pytest.approx(0, abs=2e-6)
        assert score(recognizer, "animal") > 0.5

    def test_its_log_probability_is_added_for_frequent_labels(self, tmp_path):
        tags = [replace(tag, classes=(0, 1), support=10) if tag.name == "dog" else tag for tag in TAGS]
        recognizer = toy_recognizer(tmp_path / "toy", tags=tags, classes=4)
        directory = recognizer.labels.directory
        directory.config = directory.config.model_copy(update={"class_support": 10, "class_weight": 0.5})
        recognizer.backend.classes = np.array([0.2, 0.049, 0.7, 0.051])
        # In red the decoder gives the dog odds of .6/.4; the classifier half of log(.2 + .049 + .001) = log(1/4).
        assert score(recognizer, "dog", "red") == pytest.approx(0.75 / 1.75, abs=1e-6)

    def test_labels_without_classes_and_free_texts_do_not_change(self, recognizer):
        recognizer.backend.classes = np.array([1.0, 0, 0, 0])
        assert score(recognizer, "beach") == pytest.approx(0, abs=2e-6)
        seen = recognizer.tag(plain("black"), categories=["kart", "dog"], threshold=0)
        assert {tag.name: round(tag.score, 3) for tag in seen.tags} == {"dog": 1.0, "kart": 0.0}


class TestScale:
    def test_shifts_and_slope_act_on_log_odds(self, tmp_path):
        tags = [replace(tag, shift=float(np.log(3))) if tag.name == "beach" else tag for tag in TAGS]
        recognizer = toy_recognizer(tmp_path / "toy", tags=tags)
        # Beach at .5: odds 1; a shift by log 3 makes them 1/3.
        assert score(recognizer, "beach", "lime") == pytest.approx(0.25, abs=1e-6)
        config = recognizer.directory.config
        update = {"score_slope": 2.0, "open_shift": float(np.log(1 / 4))}
        recognizer.directory.config = config.model_copy(update=update)
        # Slope 2 squares the odds: 1/9.
        assert score(recognizer, "beach", "lime") == pytest.approx(0.1, abs=1e-6)
        # A free text of two tokens at .2: odds 1/4, shifted to 1, squared 1.
        seen = recognizer.tag(plain("lime"), categories=["go kart"])
        assert seen.tags[0].score == pytest.approx(0.5, abs=1e-6)


class TestLabelSpace:
    def test_sets_are_made_once(self, recognizer):
        labels = recognizer.labels
        assert labels.all() is labels.all(("action", "attribute", "scene", "object"))
        assert labels.categories(["kart", "dog"]) is labels.categories([" kart", "dog "])
        assert labels.categories(["Kart", "dog", "KART"]).asked == ("Kart", "dog", "KART")
        assert recognizer.backend.texts == 1

    def test_an_empty_list_of_kinds_gives_no_labels(self, recognizer):
        assert recognizer.labels.all([]).names == ()
        assert len(recognizer.labels.all().names) == 5
        assert recognizer.tag(plain("red"), kinds=[]).tags == ()

    def test_queries_are_in_the_order_of_names(self, recognizer):
        made = recognizer.labels.categories(["kart", "red", "go kart", "beach"])
        assert made.names == ("kart", "red", "go kart", "beach")
        assert made.ids == (None, 4, None, 2)
        np.testing.assert_allclose(
            made.queries.arrays["queries"], [[0, 0.1, 0], [1, 0, 0], [0, 0.2, 0], [0, 0.5, 0]], atol=1e-7
        )
        np.testing.assert_array_equal(made.queries.arrays["projected"], made.queries.arrays["queries"])
        assert made.classes.shape == (4, 4)
        assert not made.classes.any()

    def test_guides_take_names_and_aliases_each_tag_once(self, recognizer):
        guides = recognizer.labels.guides(["Hound", " sea_shore", "dog", "run"])
        assert [(asked, tag.name) for asked, tag in guides.items()] == [
            ("Hound", "dog"), ("sea_shore", "beach"), ("run", "run"),
        ]  # fmt: skip

    def test_guides_keep_words_outside_the_vocabulary(self, recognizer):
        guides = recognizer.labels.guides(["Space_suit", "dog", "space suit", "astronaut", ""])
        assert [(tag.id, tag.name) for tag in guides.values()] == [(5, "space suit"), (1, "dog"), (7, "astronaut")]
        assert list(guides) == ["Space_suit", "dog", "astronaut"]
