"""Logs of a run: JSON lines, lines for people, curves."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import toy_run
from toy_run import config, make, records

from anytag.training.engine.checkpointing import SaveError
from anytag.training.engine.config import LoopStage
from anytag.training.engine.distributed import Strategy
from anytag.training.engine.logs import Means, Progress, draw_curves, find_curves, peak_memory


class TestLog:
    def test_lines(self, tmp_path):
        lines = []
        assert make(tmp_path, lines=lines).run()
        log = records(tmp_path)
        assert len(lines) == len(log)
        training = [record for record in log if "validation" not in record]
        assert [record["step"] for record in training] == [4, 8, 12, 16, 20, 24]
        assert [record["stage"] for record in training] == ["frozen"] * 2 + ["whole"] * 4
        assert list(training[0]) == [
            "time", "step", "epoch", "stage", "rate", "seconds", "pictures_per_second", "memory",
            "square", "number", "gradient_norm",
        ]  # fmt: skip
        # Steps 0 to 3, then 4 to 7: their means.
        assert [record["number"] for record in training[:2]] == [1.5, 5.5]
        figures = [(record["step"], record["validation"]["final"]) for record in log if "validation" in record]
        assert figures == [(10, 0.0), (20, 0.0), (24, 1.0)]
        assert lines[0].startswith("frozen, epoch 0.50 of 3, step 4/24, ")
        assert [record.get("final") for record in log if "validation" in record] == [None, None, True]

    def test_a_last_line_of_fewer_steps_is_their_mean(self, tmp_path):
        make(tmp_path, config(stages=(LoopStage(name="s", epochs=0.75),))).run()
        training = [record for record in records(tmp_path) if "validation" not in record]
        # Six steps: 0 to 3, then 4 and 5.
        assert [(record["step"], record["number"]) for record in training] == [(4, 1.5), (6, 4.5)]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
    def test_a_full_disk(self, tmp_path):
        path = tmp_path / "log.jsonl"

        def step(model, number, stage, share):
            if number == 2:
                path.symlink_to("/dev/full")
            return toy_run.step(model, number, stage, share)

        with pytest.raises(SaveError) as caught:
            make(tmp_path, step=step).run()
        assert str(caught.value) == (
            f"{path}: the log of step 4 could not be written ([Errno 28] No space left on device); checkpoints are "
            "untouched. Make room, then go on with the same command."
        )


class TestMeans:
    """Means of components that not every step, micro-batch or process has."""

    def test_a_part_is_the_mean_over_those_that_have_it(self):
        means = Means(Strategy())
        means.add([{"tagging": 2.0, "captioning": 1.0}, {"tagging": 4.0}])
        means.add([{"tagging": 9.0}, {"tagging": 9.0}])
        assert means.steps == 2
        assert means.take() == {"tagging": 6.0, "captioning": 1.0}
        assert (means.steps, means.take()) == (0, {})

    def test_a_sum_over_pictures_is_the_sum_over_the_pieces_of_a_batch(self):
        class Two(Strategy):
            def gathered(self, value):
                return [value, {"tagging": (30.0, 3)}]

        means = Means(Two(), summed=("tagging",))
        means.add([{"tagging": 2.0, "matching": 0.5}, {"tagging": 4.0, "matching": 1.5}])
        assert means.take() == {"tagging": 6.0 + 10.0, "matching": 1.0}


class TestProgress:
    @pytest.fixture
    def progress(self):
        return Progress(total_steps=400, steps_per_epoch=200, validate_every=100)

    def test_a_line(self, progress):
        record = {"step": 80, "seconds": 2.0, "pictures_per_second": 31.25, "memory": 1.234}
        assert progress.line(record) == "epoch 0.40 of 2, step 80/400, 31.2 pictures/s, 11 min left, 1.2 GB"
        assert progress.line({"step": 400, "seconds": 2.0, "pictures_per_second": 31.25}) == (
            "epoch 2.00 of 2, step 400/400, 31.2 pictures/s"
        )

    @pytest.mark.parametrize(("seconds", "said"), [(0.25, "80 s"), (40, "3 h 33 min"), (900, "3.3 days")])
    def test_durations(self, progress, seconds, said):
        assert f", {said} left" in progress.line({"step": 80, "seconds": seconds, "pictures_per_second": 1.0})

    def test_validations_take_time_as_well(self, progress):
        progress.validated(60.0)
        # Those of steps 100, 200 and 300, and the two of the end.
        assert progress.left(80, 2.0) == 320 * 2 + 5 * 60

    def test_memory_is_that_of_this_process(self):
        held = np.ones(10_000_000)  # 0.08 GB
        assert held.nbytes / 1e9 < peak_memory(torch.device("cpu")) < 100


class TestCurves:
    def test_every_figure_has_a_chart(self, tmp_path):
        make(tmp_path).run()
        root = ElementTree.fromstring((tmp_path / "curves.svg").read_text())
        titles = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
        assert {"rate", "square", "number", "gradient_norm", "validation mean"} <= titles
        assert not {"seconds", "memory", "epoch", "time"} & titles

    def test_curves_are_those_of_the_log(self):
        records = [
            {"step": 2, "time": 1.0, "stage": "a", "tagging": 3.0},
            {"step": 4, "time": 2.0, "stage": "a", "tagging": 2.0, "captioning": float("nan")},
            {"step": 4, "changed": {"rate": "1 → 2"}},
            {"step": 4, "stage": "a", "validation": {"map": 0.5}},
            {"step": 4, "stage": "a", "final": True, "validation": {"map": 0.9}},
        ]
        assert find_curves(records) == {"tagging": ([2, 4], [3.0, 2.0]), "validation map": ([4], [0.5])}

    def test_nothing_is_drawn_of_nothing(self, tmp_path):
        draw_curves([], tmp_path / "curves.svg")
        assert not (tmp_path / "curves.svg").exists()
