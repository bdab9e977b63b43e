"""What a run says of itself: JSON lines, TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import toy_run
from conftest import require_module
from toy_run import config, make, records, stopping

from anytag.errors import MissingExtraError
from anytag.training.engine.checkpointing import SaveError
from anytag.training.engine.config import LoopStage


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
            "time", "step", "stage", "rate", "seconds", "square", "number", "gradient_norm",
        ]  # fmt: skip
        # Steps 0 to 3, then 4 to 7: their means.
        assert [record["number"] for record in training[:2]] == [1.5, 5.5]
        figures = [(record["step"], record["validation"]["final"]) for record in log if "validation" in record]
        assert figures == [(10, 0.0), (20, 0.0), (24, 1.0)]
        assert lines[0].startswith("frozen 4/24")

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


class TestTensorBoard:
    def test_the_log_is_written_for_it_too(self, tmp_path):
        require_module("tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        settings = config(tensorboard=True)
        make(tmp_path, settings, step=stopping(17)).run(stop_after=0)
        loop = make(tmp_path, settings)
        loop.resume()
        loop.run()
        events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        lines = [record for record in records(tmp_path) if "square" in record]
        written = [(event.step, event.value) for event in events.Scalars("training/square")]
        assert written == [(line["step"], pytest.approx(line["square"])) for line in lines]
        assert [event.step for event in events.Scalars("validation/final")] == [10, 20, 24]

    def test_without_it_there_is_no_folder(self, tmp_path):
        make(tmp_path).run(stop_after=0)
        assert not (tmp_path / "tensorboard").exists()

    def test_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(MissingExtraError) as caught:
            make(tmp_path, config(tensorboard=True))
        assert str(caught.value).endswith("Install it with: pip install 'anytag[tensorboard]'")
