"""The loop: schedule, log, divergence, and resuming to the very same weights."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time

import pytest
import torch
import toy_run
from toy_run import config, make

from anytag.training.config import StageConfig
from anytag.training.loop import DivergedError


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(loop):
    return [*loop.model.state_dict().values(), *loop.average.state_dict().values()]


def assert_same(first, second):
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


class Stopped(Exception):
    pass


def stopping(at):
    """A step function that fails at a step, as if the process had been killed there."""

    def step(model, number, stage, share):
        if number == at:
            raise Stopped
        return toy_run.step(model, number, stage, share)

    return step


class TestStages:
    def test_steps_and_places(self, tmp_path):
        loop = make(tmp_path)
        assert (loop.stage_steps, loop.total_steps) == ([8, 16], 24)
        assert [loop.place(step) for step in (0, 7, 8, 23)] == [(0, 0), (0, 7), (1, 0), (1, 15)]
        with pytest.raises(IndexError):
            loop.place(24)

    def test_a_stage_has_a_step_at_least(self, tmp_path):
        short = config(stages=(StageConfig(name="short", epochs=0.01),))
        assert make(tmp_path, short).stage_steps == [1]

    def test_rates_are_warm_up_times_cosine(self, tmp_path):
        stages = (StageConfig(name="s", epochs=1, learning_rate=0.1, encoder_learning_rate=0.01, warmup=2),)
        loop = make(tmp_path, config(stages=stages))
        rates = []
        for step in range(8):
            loop.step = step
            rates.append(loop._set_rates())
            encoder = [group["lr"] for group in loop.optimizer.param_groups if group["part"] == "encoder"]
            assert encoder == pytest.approx([rates[-1] / 10])
        cosines = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
        assert rates[0] == pytest.approx(0.1 * 0.5)
        assert rates[1:] == pytest.approx([0.1 * (0.01 + 0.99 * cosine) for cosine in cosines[1:]])
        # Halfway the cosine is a half: 0.1 * (0.01 + 0.495).
        assert rates[4] == pytest.approx(0.0505)

    def test_the_encoder_is_frozen_where_its_rate_is_nought(self, tmp_path):
        loop = make(tmp_path, step=stopping(8))
        before = loop.model.image_encoder.weight.clone()
        with pytest.raises(Stopped):
            loop.run()
        assert torch.equal(loop.model.image_encoder.weight, before)
        loop.step_function = toy_run.step
        loop.run()
        assert not torch.equal(loop.model.image_encoder.weight, before)

    def test_norms_and_biases_are_not_decayed(self, tmp_path):
        groups = make(tmp_path, config(weight_decay=0.3)).optimizer.param_groups
        assert [(g["part"], g["weight_decay"], len(g["params"])) for g in groups] == [
            ("decoder", 0.3, 1), ("decoder", 0.0, 1), ("encoder", 0.0, 2),
        ]  # fmt: skip


class TestAverage:
    def test_the_average_moves_faster_at_first(self, tmp_path):
        loop = make(tmp_path, config(ema_decay=0.9))
        value = loop.model.head[1].bias
        expected = None
        for count, number in enumerate((1.0, 5.0, -2.0)):
            with torch.no_grad():
                value.fill_(number)
            loop.average.update_parameters(loop.model)
            # PyTorch copies the first; then the decay is (1 + n) / (10 + n) until that passes ema_decay.
            decay = min(0.9, (1 + count) / (10 + count))
            expected = number if expected is None else decay * expected + (1 - decay) * number
            assert loop.average.module.head[1].bias.item() == pytest.approx(expected)


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
        make(tmp_path, config(stages=(StageConfig(name="s", epochs=0.75),))).run()
        training = [record for record in records(tmp_path) if "validation" not in record]
        # Six steps: 0 to 3, then 4 and 5.
        assert [(record["step"], record["number"]) for record in training] == [(4, 1.5), (6, 4.5)]


class TestResume:
    @pytest.fixture(scope="class")
    @classmethod
    def straight(cls, tmp_path_factory):
        loop = make(tmp_path_factory.mktemp("straight"))
        assert loop.run()
        return loop

    def test_nothing_to_resume(self, tmp_path):
        assert not make(tmp_path).resume()

    @pytest.mark.parametrize("kill", [6, 10, 17])
    def test_a_run_that_was_killed_ends_with_the_same_weights(self, straight, tmp_path, kill):
        with pytest.raises(Stopped):
            make(tmp_path, step=stopping(kill)).run()
        torch.manual_seed(99)
        second = make(tmp_path)
        assert second.resume()
        assert second.step == kill - kill % 5
        assert second.run()
        assert_same(weights(second), weights(straight))
        steps = [(record["step"], "validation" in record) for record in records(tmp_path)]
        assert len(set(steps)) == len(steps), "a step that ran twice is in the log once"

    def test_chance_matters_in_this_test(self, straight, tmp_path):
        other = make(tmp_path, config(seed=4))
        other.run()
        assert not torch.equal(other.model.head[1].weight, straight.model.head[1].weight)

    def test_stopping_after_a_time_leaves_a_checkpoint(self, straight, tmp_path):
        first = make(tmp_path)
        assert not first.run(stop_after=0)
        assert first.step == 1
        second = make(tmp_path)
        assert second.resume()
        assert second.step == 1
        assert second.run()
        assert_same(weights(second), weights(straight))

    def test_a_finished_run_has_nothing_to_do(self, straight):
        again = make(straight.folder)
        assert again.resume()
        assert again.run()
        assert_same(weights(again), weights(straight))

    def test_lines_that_a_kill_cut_off_or_that_will_come_again_go(self, tmp_path):
        with pytest.raises(Stopped):
            make(tmp_path, step=stopping(9)).run()
        with (tmp_path / "log.jsonl").open("a") as log:
            log.write('{"step": 5, "stage": "fro')
        loop = make(tmp_path)
        loop.resume()
        loop.run(stop_after=0)
        assert [record["step"] for record in records(tmp_path)] == [4]

    def test_a_checkpoint_is_whole_or_not_there(self, straight, tmp_path, monkeypatch):
        loop = make(tmp_path)
        loop.run(stop_after=0)
        before = loop.checkpoint_path.read_bytes()

        def torn(state, handle):
            handle.write(b"half")
            raise Stopped

        monkeypatch.setattr(torch, "save", torn)
        with pytest.raises(Stopped):
            loop.save()
        assert loop.checkpoint_path.read_bytes() == before

    def test_a_real_kill(self, straight, tmp_path):
        folder = tmp_path / "run"
        command = [sys.executable, toy_run.__file__, str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline() == "fresh\n"
            limit = time.monotonic() + 300
            while not (folder / "checkpoint.pt").exists() and time.monotonic() < limit:
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        assert process.returncode != 0
        loop = make(folder)
        assert loop.resume()
        assert 5 <= loop.step < 24
        assert loop.run()
        assert_same(weights(loop), weights(straight))


class TestDivergence:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_loss_that_is_no_number_leaves_the_checkpoint_alone(self, tmp_path, value):
        def step(model, number, stage, share):
            loss, parts = toy_run.step(model, number, stage, share)
            return (loss * value if number == 7 else loss), parts

        loop = make(tmp_path, step=step)
        with pytest.raises(DivergedError) as caught:
            loop.run()
        message = str(caught.value)
        assert message.startswith(f"the loss is {value} at step 7 (parts: {{'square': ")
        assert message.endswith(f"the last good state is {loop.checkpoint_path}. Lower the learning rate and resume.")
        again = make(tmp_path)
        assert again.resume()
        assert again.step == 5
        assert all(bool(tensor.isfinite().all()) for tensor in weights(again))

    def test_a_gradient_that_is_no_number_is_not_applied(self, tmp_path):
        def step(model, number, stage, share):
            loss, parts = toy_run.step(model, number, stage, share)
            if number == 4:
                # The square root is finite at nought, its slope is not.
                loss = loss + (loss * 0).sqrt()
            return loss, parts

        loop = make(tmp_path, step=step)
        with pytest.raises(DivergedError, match=r"^the gradient's norm is nan at step 4 "):
            loop.run()
        assert all(bool(tensor.isfinite().all()) for tensor in weights(loop))
        assert not loop.checkpoint_path.exists()
