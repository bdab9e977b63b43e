"""Scores that mean the same for every tag: shifts, slope, the classifier's weight."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from fixtures_toy import TAGS, plain, toy_recognizer
from typer.testing import CliRunner

from anytag.cli import build_app
from anytag.datasets.samples import Sample
from anytag.errors import UsageError
from anytag.evaluation.calibration import (
    calibrate,
    expected_prevalence,
    fit_class_weight,
    fit_slope,
    shifts_by_prevalence,
    undo,
)
from anytag.evaluation.labeled_scores import LabeledScores, score_pictures
from anytag.foundations.folder_locks import only_writer
from anytag.inference.recognizer import Recognizer
from anytag.model.directory import ModelDirectory


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


class TestShifts:
    def test_a_common_tag_exceeds_its_shift_as_often_as_it_is_true(self):
        logits = np.linspace(-5, 5, 1001)[:, None]
        shift = shifts_by_prevalence(logits, np.array([0.3]))
        assert (logits > shift).mean() == pytest.approx(0.3, abs=0.002)

    def test_beyond_the_data_excesses_fall_off_exponentially(self):
        # An exponential tail with mean 1: e times as rare is one further.
        logits = np.random.default_rng(0).exponential(1.0, (200_000, 1)).repeat(2, 1)
        shifts = shifts_by_prevalence(logits, np.array([0.05 / np.e, 0.05 / np.e**3]))
        assert shifts == pytest.approx(-np.log(0.05) + np.array([1, 3]), abs=0.1)


class TestPrevalence:
    truth = np.array([[1, 0, 0]] * 30 + [[0, 0, 0]] * 70, dtype=bool)

    def test_training_and_validation_pictures_are_averaged(self):
        found = expected_prevalence(self.truth, np.array([100.0, 500.0, 0.0]), 1000)
        assert found == pytest.approx([0.2, 0.25, 0.00025], rel=0.01)

    def test_a_model_without_support(self):
        """A published model: a tag that nobody named was taken to be true of every eighth picture."""
        found = expected_prevalence(self.truth, np.zeros(3), 0)
        assert found == pytest.approx([0.302, 0.005, 0.005], rel=0.01)


def test_the_true_slope_is_recovered():
    random = np.random.default_rng(1)
    margins = random.normal(0, 2, 50_000)
    slope, intercept = fit_slope(margins, random.random(50_000) < sigmoid(0.7 * margins - 0.4))
    assert (slope, intercept) == pytest.approx((0.7, -0.4), abs=0.03)


class TestClassWeight:
    def drawn(self, weight):
        """Logits of three tags and evidence for two of them, and truth that follows both."""
        random = np.random.default_rng(2)
        logits, evidence = random.normal(-2, 1.5, (20_000, 3)), random.normal(0, 3, (20_000, 3))
        evidence[:, 2] = 0
        truth = random.random(logits.shape) < sigmoid(logits + weight * evidence)
        return logits, evidence, truth, truth.mean(0)

    @pytest.mark.parametrize("weight", [0.0, 0.2, 0.5])
    def test_the_true_weight_is_chosen(self, weight):
        assert fit_class_weight(*self.drawn(weight)) == weight

    def test_without_evidence_it_is_zero(self):
        logits, evidence, truth, prevalence = self.drawn(0.5)
        assert fit_class_weight(logits, 0 * evidence, truth, prevalence) == 0


def test_few_perfectly_separated_pictures_have_a_finite_slope():
    slope, intercept = fit_slope(np.array([-3.0, -2, 2, 3]), np.array([0, 0, 1, 1], bool))
    assert 0 < slope < 3
    # Platt's targets of two and two: 1/4 and 3/4 at distances around 2.5, so log(3) / 2.5 or so.
    assert slope == pytest.approx(np.log(3) / 2.5, rel=0.1)
    assert intercept == pytest.approx(0, abs=1e-6)


def drawn(truth, seed=0):
    """Logits around 1 where something is true and around -3 where it is not, and the annotations."""
    truth = np.asarray(truth, bool)
    logits = (np.where(truth, 1.0, -3.0) + np.random.default_rng(seed).normal(0, 1, truth.shape)).astype(np.float32)
    return LabeledScores(logits, truth, [Sample(str(n), b"") for n in range(len(truth))], np.zeros_like(logits))


def shown(ids, pictures=40):
    """Truth in which every fourth picture shows the tags."""
    truth = np.zeros((pictures, len(TAGS)), bool)
    truth[::4, list(ids)] = True
    return truth


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestRejected:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (drawn(shown([])), "no tag of the model is true of any of the 40 pictures"),
            (replace(drawn(np.ones((9, 5))), judged=np.ones(5, bool)), "is true of all of them"),
            (replace(drawn(shown([1])), logits=-drawn(shown([1])).logits), "do not rise with their tags"),
            (replace(drawn(shown([1])), logits=np.zeros((40, 5), np.float32)), "do not rise with their tags"),
        ],
        ids=["no positive", "no negative", "scores that fall", "scores that say nothing"],
    )
    def test_pictures_without_information_change_nothing(self, tmp_path, data, message):
        recognizer = toy_recognizer(tmp_path / "toy")
        before = content(tmp_path)
        with pytest.raises(UsageError, match=message):
            calibrate(recognizer, data, "made up", report=lambda line: None)
        assert content(tmp_path) == before


class TestTagsWithoutPositives:
    def calibrated(self, folder, data, recognizer=None):
        recognizer = recognizer or toy_recognizer(folder)
        lines = []
        calibrate(recognizer, data, "made up", report=lines.append)
        return ModelDirectory(folder), lines

    def test_they_keep_threshold_origin_and_logit(self, tmp_path):
        directory, lines = self.calibrated(tmp_path / "toy", drawn(shown([0, 4])))
        slope = directory.config.score_slope
        assert slope != 1
        for tag in (directory.vocabulary[id] for id in (1, 2, 3)):
            assert (tag.threshold, tag.threshold_from) == (TAGS[tag.id].threshold, None)
            edge = np.log(tag.threshold / (1 - tag.threshold)) / slope + tag.shift
            assert edge == pytest.approx(np.log(tag.threshold / (1 - tag.threshold)), abs=1e-3)
        assert directory.vocabulary[4].threshold_from == "made up, 10 positives"
        assert "2 tags with positives, 3 tags without that keep their thresholds" in lines[-1]

    def test_one_that_never_had_a_threshold_gets_the_common_one(self, tmp_path):
        directory, _ = self.calibrated(tmp_path / "toy", drawn(shown([4])))
        assert directory.vocabulary[0].threshold == directory.config.default_threshold
        assert directory.vocabulary[0].threshold_from == "made up, 0 positives"

    def test_another_weight_of_the_classifier_keeps_the_number_of_predictions(self, tmp_path):
        """Tag 1 has no positive, and evidence of the classifier; tags 0 and 4 make the weight rise from 0."""
        random = np.random.default_rng(3)
        truth = np.zeros((400, 5), bool)
        truth[:, [0, 4]] = random.random((400, 2)) < 0.3
        evidence = np.where(truth, 2.0, -2.0) + random.normal(0, 1, truth.shape)
        logits = random.normal(0, 1, truth.shape)
        data = LabeledScores(logits.astype(np.float32), truth, [Sample("", b"")] * 400, evidence.astype(np.float32))
        directory, _ = self.calibrated(tmp_path / "toy", data)
        config, tag = directory.config, directory.vocabulary[1]
        assert config.class_weight == 0.5
        joint = data.logits[:, 1] + 0.5 * data.evidence[:, 1]
        found = (1 / (1 + np.exp(-(joint - tag.shift) * config.score_slope)) >= tag.threshold).sum()
        assert tag.threshold == TAGS[1].threshold
        assert found == (data.logits[:, 1] >= 0).sum()

    def test_tags_outside_the_list_of_annotations_do_not_change(self, tmp_path):
        """Without captions nobody could have written "animal": its scores are not false alarms."""
        data = drawn(shown([4]))
        loud = data.logits.copy()
        loud[:, :4] += 9
        closed = replace(data, logits=loud, judged=np.arange(5) == 4)
        slopes = [
            self.calibrated(tmp_path / name, each)[0].config.score_slope
            for name, each in (("quiet", replace(data, judged=closed.judged)), ("loud", closed))
        ]
        assert slopes[0] == slopes[1]


class TestUndo:
    def test_the_model_is_restored(self, tmp_path):
        recognizer = toy_recognizer(tmp_path / "toy")
        before = content(tmp_path)
        calibrate(recognizer, drawn(shown([1])), "made up", report=lambda line: None)
        assert content(tmp_path) != before
        undo(tmp_path / "toy")
        assert content(tmp_path) == before

    def test_two_commands_do_not_overwrite_each_other(self, tmp_path):
        """Scoring the pictures takes minutes; the second would fit the scores of a model that no longer exists."""
        first = toy_recognizer(tmp_path / "toy")
        second = Recognizer(ModelDirectory(tmp_path / "toy"), first.backend)
        with only_writer(tmp_path / "toy", "another calibration writes", "wait"):
            with pytest.raises(UsageError, match="toy: another calibration writes here"):
                calibrate(first, drawn(shown([1])), "made up", report=lambda line: None)
            with pytest.raises(UsageError, match="toy: another calibration writes here"):
                undo(tmp_path / "toy")
        calibrate(first, drawn(shown([1])), "made up", report=lambda line: None)
        before = content(tmp_path)
        with pytest.raises(UsageError, match="the model was changed since it was loaded, so nothing was written"):
            calibrate(second, drawn(shown([2])), "others", report=lambda line: None)
        assert content(tmp_path) == before

    def test_without_a_calibration(self, tmp_path):
        toy_recognizer(tmp_path / "toy")
        with pytest.raises(UsageError, match="nothing to undo"):
            undo(tmp_path / "toy")


class TestModelsOfRuns:
    """A run writes its model at every validation, so a calibration in between would be lost."""

    def test_the_model_of_a_training_run_is_rejected(self, tmp_path):
        recognizer = toy_recognizer(tmp_path / "model")
        (tmp_path / "run.json").write_text('{"times": [], "finished": null}')
        before = content(tmp_path)
        message = "a run trains here; wait until it is done, or calibrate a copy: the run replaces its model at every "
        with only_writer(tmp_path, "another run trains", "wait"):
            with pytest.raises(UsageError, match=message):
                calibrate(recognizer, drawn(shown([1])), "made up", report=lambda line: None)
            with pytest.raises(UsageError, match=message):
                undo(tmp_path / "model")
            # The command says so before it looks at any picture.
            done = CliRunner().invoke(build_app(), ["calibrate", str(tmp_path / "model"), str(tmp_path / "gone.csv")])
            assert done.exit_code == 2
            assert "a run trains here" in " ".join(done.output.split())
        assert content(tmp_path) == before

    @pytest.mark.parametrize("record", [{"finished": None}, {"finished": 6}, {}, []])
    def test_a_stopped_run_is_warned_about(self, tmp_path, record):
        recognizer = toy_recognizer(tmp_path / "model")
        (tmp_path / "run.json").write_text(json.dumps(record))
        lines = []
        calibrate(recognizer, drawn(shown([1])), "made up", report=lines.append)
        said = any("is not finished; if it goes on, its next validation replaces this model" in line for line in lines)
        assert said == (record == {"finished": None})


class TestSources:
    @pytest.fixture
    def table(self, tmp_path):
        """Ten pictures that are red and ten that are blue, in a table."""
        rows = []
        for number in range(20):
            color = (250, 0, number) if number % 2 else (number, 0, 250)
            plain(color).save(tmp_path / f"{number}.png")
            rows.append({"picture": f"{number}.png", "tags": "red" if number % 2 else "run|zebra crossing"})
        rows.append({"picture": "missing.png", "tags": "red"})
        with (tmp_path / "table.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, ["picture", "tags"])
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / "table.csv"

    def test_a_table_with_tags(self, tmp_path, table):
        data = score_pictures(toy_recognizer(tmp_path / "toy"), [table], parser="light")
        assert data.truth.sum(0).tolist() == [0, 0, 0, 10, 10]
        assert data.judged.tolist() == [False, False, False, True, True]
        assert data.logits[1, 4] > 3 > 0 > data.logits[0, 4]
        assert "missing.png): no such file" in data.notes[0]
        assert data.notes[1:] == ("The vocabulary does not have these names: 'zebra crossing' (10).",)

    def test_a_folder_with_captions(self, tmp_path):
        folder = tmp_path / "pictures"
        folder.mkdir()
        for name, color, caption in (
            ("a", "red", "A dog on the beach."),
            ("b", "blue", "A red dog"),
            ("c", "lime", ""),
        ):
            plain(color).save(folder / f"{name}.png")
            (folder / f"{name}.txt").write_text(caption)
        data = score_pictures(toy_recognizer(tmp_path / "toy"), [folder], parser="light")
        assert data.truth.astype(int).tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 1], [0, 0, 0, 0, 0]]
        assert data.judged is None
        assert data.notes == ("1 of 3 pictures have neither captions nor tags; they count as showing none.",)

    def test_nothing_readable(self, tmp_path):
        folder = tmp_path / "pictures"
        folder.mkdir()
        (folder / "a.png").write_bytes(b"no picture")
        with pytest.raises(UsageError, match=r"no picture could be read from (.|\n)*a\.png"):
            score_pictures(toy_recognizer(tmp_path / "toy"), [folder], parser="light")
