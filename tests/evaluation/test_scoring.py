"""Scores of a benchmark's pictures: kept, continued after a kill, without bad pictures, and never wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from fixtures_systems import ColorSystem, color_benchmark
from fixtures_toy import edit_config, toy_recognizer

from anytag.errors import ModelError, UsageError
from anytag.evaluation import scoring
from anytag.evaluation.evaluation import evaluate_tagging
from anytag.evaluation.scoring import score_benchmark
from anytag.evaluation.systems import ModelSystem
from anytag.model.directory import ModelDirectory


class TestScoring:
    def test_scores_are_cached(self, tmp_path, monkeypatch):
        monkeypatch.setattr(scoring, "CHUNK", 5)
        benchmark, system = color_benchmark(tmp_path / "p"), ColorSystem()
        steps = []
        first = score_benchmark(system, benchmark, tmp_path / "kept", lambda: steps.append(1))
        assert (system.seen, len(steps)) == (12, 12)
        again = score_benchmark(system, benchmark, tmp_path / "kept", lambda: steps.append(1))
        assert (system.seen, len(steps)) == (12, 24)
        np.testing.assert_array_equal(first.scores, again.scores)

    def test_a_killed_run_continues(self, tmp_path, monkeypatch):
        monkeypatch.setattr(scoring, "CHUNK", 5)
        benchmark, system = color_benchmark(tmp_path / "p"), ColorSystem()

        def stop():
            if system.seen == 8:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            score_benchmark(system, benchmark, tmp_path / "kept", stop)
        assert not list((tmp_path / "kept").rglob("*.part"))
        whole = score_benchmark(system, benchmark, tmp_path / "kept")
        assert system.seen == 8 + 7  # The first five were kept.
        fresh = score_benchmark(ColorSystem(), benchmark, tmp_path / "other")
        np.testing.assert_array_equal(whole.scores, fresh.scores)

    def test_unreadable_pictures_are_tried_again(self, tmp_path):
        """Who forgets --pictures, or gets the rest of the pictures later, need not know where scores are kept."""
        benchmark, system = color_benchmark(tmp_path / "p", 5), ColorSystem()
        there, away = tmp_path / "p" / "3.png", tmp_path / "3.png"
        there.rename(away)
        without = replace(benchmark, pictures=replace(benchmark.pictures, folder=None))
        with pytest.raises(
            UsageError, match=r"no picture could be read \(5 tried\), the first: 0\.png: no folder of pictures"
        ):
            score_benchmark(system, without, tmp_path / "kept")
        assert [failure.path for failure in score_benchmark(system, benchmark, tmp_path / "kept").failures] == ["3.png"]
        assert system.seen == 4
        away.rename(there)
        whole = score_benchmark(system, benchmark, tmp_path / "kept")
        assert (whole.failures, system.seen) == ((), 5)
        np.testing.assert_array_equal(whole.scores, score_benchmark(ColorSystem(), benchmark, tmp_path / "b").scores)

    def test_changed_pictures_of_the_same_names_are_scored_again(self, tmp_path):
        one, system = color_benchmark(tmp_path / "p", 6), ColorSystem()
        score_benchmark(system, one, tmp_path / "kept")
        other = color_benchmark(tmp_path / "q", 6)
        for number in range(3):
            (tmp_path / "q" / f"{number}.png").write_bytes((tmp_path / "p" / f"{5 - number}.png").read_bytes())
        shutil.copystat(tmp_path / "p" / "4.png", tmp_path / "q" / "4.png")
        found = score_benchmark(system, other, tmp_path / "kept")
        fresh = score_benchmark(ColorSystem(), other, tmp_path / "fresh")
        np.testing.assert_array_equal(found.scores, fresh.scores)
        assert system.seen == 6 + 5  # The one that was copied with its time is the same.

    def test_other_synonyms_have_their_own_cache(self, tmp_path):
        benchmark, system = color_benchmark(tmp_path / "p", 3), ColorSystem()
        for synonyms, looked_at in (({}, 3), ({"red": ("scarlet",)}, 6), ({"red": ("scarlet",)}, 6)):
            score_benchmark(system, replace(benchmark, synonyms=synonyms), tmp_path / "kept")
            assert system.seen == looked_at

    @pytest.mark.parametrize("captions", [False, True])
    def test_a_damaged_cache_is_replaced(self, tmp_path, captions):
        benchmark, system = color_benchmark(tmp_path / "p", 4), ColorSystem("captioning" if captions else "tagging")
        run = scoring.caption_benchmark if captions else score_benchmark
        first = run(system, benchmark, tmp_path / "kept")
        [file] = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
        file.write_bytes(file.read_bytes()[:-20])
        again = run(system, benchmark, tmp_path / "kept")
        assert system.seen == 8
        if captions:
            assert again == first
        else:
            np.testing.assert_array_equal(again.scores, first.scores)

    def test_another_system_or_list_of_classes_has_its_own_cache(self, tmp_path):
        benchmark, system, other = color_benchmark(tmp_path / "p"), ColorSystem(), ColorSystem()
        other.identity = "colors 2"
        for one in (system, other):
            score_benchmark(one, benchmark, tmp_path / "kept")
            assert one.seen == 12
        score_benchmark(system, color_benchmark(tmp_path / "p", names=("red", "green")), tmp_path / "kept")
        assert system.seen == 24

    def test_a_model_with_other_preprocessing_has_its_own_cache(self, tmp_path):
        recognizer = toy_recognizer(tmp_path / "toy")
        before = ModelSystem(recognizer).identity
        sizes = recognizer.directory.config.image_encoder.model_dump(mode="json")
        edit_config(tmp_path / "toy", image_encoder=sizes | {"interpolation": "bilinear"})
        recognizer.directory = ModelDirectory(tmp_path / "toy")
        assert ModelSystem(recognizer).identity != before

    def test_bad_pictures_are_reported_and_never_scored_as_black(self, tmp_path):
        benchmark = color_benchmark(tmp_path / "p")
        (tmp_path / "p" / "1.png").write_bytes(b"no picture")
        (tmp_path / "p" / "4.png").unlink()
        scored = score_benchmark(ColorSystem(), benchmark, tmp_path / "kept")
        assert np.isnan(scored.scores[[1, 4]]).all()
        assert not np.isnan(np.delete(scored.scores, [1, 4], 0)).any()
        # In the order in which they are come upon: what is absent before what cannot be read.
        assert sorted((failure.path, failure.kind) for failure in scored.failures) == [
            ("1.png", "not_a_picture"), ("4.png", "not_found"),
        ]  # fmt: skip
        evaluation, detail = evaluate_tagging(ColorSystem(), benchmark, tmp_path / "kept")
        assert evaluation.tagging.pictures == 10
        assert evaluation.tagging.map_papers == 1.0
        assert detail.rows.tolist() == [0, 2, 3, 5, 6, 7, 8, 9, 10, 11]
        assert any(
            note.startswith("left out, as they could not be read: 2 of 12 pictures, the first: ")
            for note in evaluation.notes
        )

    def test_no_picture_at_all(self, tmp_path):
        benchmark = color_benchmark(tmp_path / "p", 2)
        for file in (tmp_path / "p").iterdir():
            file.unlink()
        with pytest.raises(
            UsageError, match=r"^Colors: no picture could be read \(2 tried\), the first: 0\.png: listed in"
        ):
            score_benchmark(ColorSystem(), benchmark, tmp_path / "kept")


class TestFaultySystems:
    """Nothing wrong becomes a figure, or is kept."""

    def scored(self, tmp_path, scores):
        system = ColorSystem()
        system.scores = scores
        with pytest.raises(ModelError) as error:
            score_benchmark(system, color_benchmark(tmp_path / "p", 4), tmp_path / "kept")
        assert not list((tmp_path / "kept").rglob("*.npz"))
        return str(error.value)

    def test_a_score_that_is_not_a_number(self, tmp_path):
        def scores(pictures):
            for number, _ in enumerate(pictures):
                yield np.array([0.1, np.nan if number == 2 else 0.2, 0.3], np.float32)

        assert self.scored(tmp_path, scores) == (
            "Colors: the score of 2.png for 'green' is not a number; the weights are damaged, or too large for the "
            "precision"
        )

    def test_more_scores_than_pictures(self, tmp_path):
        def scores(pictures):
            yield from [np.zeros(3, np.float32)] * (len(list(pictures)) + 1)

        assert self.scored(tmp_path, scores) == "Colors: it gave more results than the 4 pictures that it took"

    def test_fewer_scores_than_pictures(self, tmp_path):
        def scores(pictures):
            yield from [np.zeros(3, np.float32)] * (len(list(pictures)) - 1)

        assert self.scored(tmp_path, scores) == "Colors: it gave 3 results for 4 pictures"
