"""The loop: schedule, log, divergence, and resuming to the very same weights."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_run
from conftest import require_module
from toy_run import Stopped, config, make

from anytag.errors import MissingExtraError, ModelError
from anytag.training.checkpointing import SaveError
from anytag.training.config import StageConfig
from anytag.training.distributed import Strategy
from anytag.training.divergence import LossWatch
from anytag.training.loop import DivergedError, parameter_groups
from anytag.training.schedules import StepSchedule


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(loop):
    return [*loop.model.state_dict().values(), *loop.average.state_dict().values()]


def assert_same(first, second):
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def stopping(at):
    """A step function that fails at a step, as if the process had been killed there."""

    def step(model, number, stage, share):
        if number == at:
            raise Stopped
        return toy_run.step(model, number, stage, share)

    return step


class Sharded(Strategy):
    """One process that writes as if it were several."""

    is_sharded = True


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

    def test_a_stage_may_have_another_schedule(self, tmp_path):
        """Pre-training of the published models: 0.9 an epoch after the warm-up; the encoder follows in proportion."""
        schedule = StepSchedule(peak=1e-4, floor=0.0, decay=0.9, warmup=4, warmup_start=0.0)
        stage = StageConfig(name="s", epochs=3, learning_rate=2e-4, encoder_learning_rate=1e-5, schedule=schedule)
        loop = make(tmp_path, config(stages=(stage,)))
        rates = []
        for loop.step in (0, 1, 4, 7, 8, 16):
            rates.append(loop._set_rates())
            assert loop.optimizer.param_groups[-1]["lr"] == pytest.approx(rates[-1] / 20)
        assert rates == pytest.approx([0.0, 5e-5, 2e-4, 2e-4, 1.8e-4, 1.62e-4])

    def test_what_needed_no_gradient_before_stays_as_it_is(self, tmp_path):
        loop = make(tmp_path)
        fixed = make(tmp_path, model=toy_run.ToyNetwork())
        fixed_model = toy_run.ToyNetwork()
        fixed_model.head[1].bias.requires_grad_(False)
        fixed = make(tmp_path / "fixed", model=fixed_model)
        before = fixed_model.head[1].bias.clone()
        fixed.run()
        assert torch.equal(fixed_model.head[1].bias, before)
        loop.run()
        assert not torch.equal(loop.model.head[1].bias, before)

    def test_groups_are_the_callers_matter(self, tmp_path):
        def groups(model, settings):
            lower, upper = model.image_encoder.parameters(), model.head.parameters()
            return [
                {"params": list(lower), "part": "encoder", "weight_decay": 0.2, "scale": 0.5},
                {"params": [], "part": "encoder"},
                {"params": list(upper), "part": "decoder"},
            ]

        stages = (StageConfig(name="s", epochs=1, learning_rate=0.1, encoder_learning_rate=0.01, warmup=0),)
        loop = make(tmp_path, config(stages=stages), groups=groups)
        assert loop._set_rates() == pytest.approx(0.1)
        assert [group["lr"] for group in loop.optimizer.param_groups] == pytest.approx([0.005, 0.1])
        assert loop.optimizer.param_groups[0]["weight_decay"] == 0.2

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

    def test_without_an_average_the_model_is_kept(self, tmp_path):
        loop = make(tmp_path, config(ema_decay=0.0))
        assert loop.average is None
        assert loop.run()
        assert loop.averaged() is loop.model
        again = make(tmp_path, config(ema_decay=0.0))
        assert again.resume()
        assert_same(list(again.model.state_dict().values()), list(loop.model.state_dict().values()))

    def test_an_average_that_begins_later_begins_with_the_model(self, tmp_path):
        before = make(tmp_path, config(ema_decay=0.0))
        before.run(stop_after=0)
        loop = make(tmp_path)
        assert loop.resume()
        averages = loop.averaged().state_dict()
        for name, tensor in before.model.state_dict().items():
            assert torch.equal(averages[name], tensor)


class TestAccumulation:
    def test_micro_batches_are_one_large_batch(self, tmp_path):
        whole, pieces = (
            make(tmp_path / str(n), config(batch_size=8, accumulate=n), model=toy_run.ToyNetwork(dropout=0.0))
            for n in (1, 4)
        )
        whole.run()
        pieces.run()
        for one, other in zip(weights(whole), weights(pieces), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
        log, other_log = ([line for line in records(tmp_path / n) if "square" in line] for n in ("1", "4"))
        assert len(log) == 6
        for one, other in zip(log, other_log, strict=True):
            assert other["square"] == pytest.approx(one["square"], rel=1e-3)
            assert other["number"] == one["number"]


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

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
    def test_a_full_disk(self, straight, tmp_path):
        loop = make(tmp_path)
        loop.run(stop_after=0)
        before = loop.checkpoint_path.read_bytes()
        part = loop.checkpoint_path.with_name("checkpoint.pt.part")
        part.symlink_to("/dev/full")
        with pytest.raises(SaveError) as caught:
            loop.run()
        assert str(caught.value) == (
            f"{tmp_path}/checkpoint.pt: the checkpoint of step 5 could not be written ([Errno 28] No space left on "
            "device); the one before it is untouched. Make room, then go on with the same command."
        )
        assert not part.is_symlink()
        assert loop.checkpoint_path.read_bytes() == before
        again = make(tmp_path)
        assert again.resume()
        assert again.run()
        assert_same(weights(again), weights(straight))

    def test_a_full_disk_under_a_folder_of_parts(self, straight, tmp_path):
        """What several processes write, in one; the system's limit on a file's size stands for the disk."""
        resource = pytest.importorskip("resource")
        loop = make(tmp_path, strategy=Sharded())
        loop.run(stop_after=0)
        assert loop.checkpoint_path.name == "checkpoint-000000001"
        kept = {path: path.read_bytes() for path in loop.checkpoint_path.iterdir()}
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            with pytest.raises(SaveError, match=r"checkpoint-000000005: the checkpoint of step 5 .*File too large.*"):
                loop.run()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint-000000001"]
        assert {path: path.read_bytes() for path in loop.checkpoint_path.iterdir()} == kept
        again = make(tmp_path, strategy=Sharded())
        assert again.resume()
        assert again.run()
        assert_same(weights(again), weights(straight))

    def test_a_checkpoint_of_another_model(self, tmp_path):
        make(tmp_path).run(stop_after=0)
        other = make(tmp_path, model=torch.nn.ModuleDict({"image_encoder": torch.nn.Linear(4, 5)}))
        with pytest.raises(ModelError, match=r"checkpoint\.pt is no checkpoint of this recipe's model: "):
            other.resume()

    def test_checkpoints_of_earlier_versions(self, straight, tmp_path):
        """They name the optimizer's states by number, and hold the one generator's state."""
        first = make(tmp_path)
        first.run(stop_after=0)
        state = {
            "model": first.model.state_dict(),
            "average": first.average.state_dict(),
            "optimizer": first.optimizer.state_dict(),
            "step": 1,
            "rng": torch.get_rng_state(),
        }
        assert len(state["optimizer"]["state"]) == 2  # the encoder is not trained yet
        torch.save(state, first.checkpoint_path)
        torch.manual_seed(99)
        second = make(tmp_path)
        assert second.resume()
        assert second.run()
        assert_same(weights(second), weights(straight))

    def test_other_groups_do_not_matter_to_a_checkpoint(self, straight, tmp_path):
        with pytest.raises(Stopped):
            make(tmp_path, step=stopping(17)).run()
        second = make(tmp_path, groups=lambda model, settings: parameter_groups(model, settings)[::-1])
        assert second.resume()
        assert second.run()
        assert_same(weights(second), weights(straight))

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

    def test_a_loss_that_stays_far_above_its_median(self, tmp_path):
        """Steps 60 to 62 are out of bounds, then all from 70 on; no checkpoint holds what came after 69."""

        def step(model, number, stage, share):
            loss, parts = toy_run.step(model, number, stage, share)
            value = 1.0 + 0.01 * (number % 3) + (200.0 if 60 <= number < 63 or number >= 70 else 0.0)
            return loss * (value / loss.detach()), parts

        stages = (StageConfig(name="s", epochs=20),)
        settings = config(stages=stages, divergence_factor=20.0, divergence_steps=4, save_every=6)
        loop = make(tmp_path, settings, step=step)
        with pytest.raises(DivergedError) as caught:
            loop.run()
        message = str(caught.value)
        assert message.startswith("the loss is 201 at step 73 (parts: {'square': ")
        assert ", for 4 steps more than 20 times its running median of 1.01; the last good state is " in message
        again = make(tmp_path, settings)
        assert again.resume()
        assert again.step == 66

    def test_a_checkpoint_that_is_due_in_bad_steps_comes_after_them(self, tmp_path):
        seen = []

        def step(model, number, stage, share):
            if (tmp_path / "checkpoint.pt").exists():
                seen.append(number)
            loss, parts = toy_run.step(model, number, stage, share)
            return loss * ((100.0 if 58 <= number < 62 else 1.0) / loss.detach()), parts

        settings = config(stages=(StageConfig(name="s", epochs=9),), divergence_factor=20.0, save_every=60)
        make(tmp_path, settings, step=step).run()
        # Due after step 59, it waits until step 62 was good.
        assert seen[0] == 63


class TestLossWatch:
    def test_it_says_nothing_before_there_are_enough(self):
        watch = LossWatch(2.0, 1)
        for loss in (1.0,) * 49 + (1e9,):
            watch.add(loss)
            assert watch.is_calm
        watch.add(2.1)
        assert (watch.median, watch.has_diverged) == (1.0, True)

    def test_in_a_row(self):
        watch = LossWatch(2.0, 3)
        for _ in range(50):
            watch.add(1.0)
        for loss, calm in ((3.0, False), (3.0, False), (2.0, True), (3.0, False), (3.0, False)):
            watch.add(loss)
            assert (watch.is_calm, watch.has_diverged) == (calm, False)
        watch.add(3.0)
        assert watch.has_diverged
        watch.restart()
        assert (watch.is_calm, watch.has_diverged, watch.median) == (True, False, None)

    @pytest.mark.parametrize(("factor", "usual"), [(0.0, 1.0), (2.0, 0.0), (2.0, -1.0)])
    def test_switched_off_or_meaningless(self, factor, usual):
        watch = LossWatch(factor, 1)
        for loss in (usual,) * 60 + (1e9,):
            watch.add(loss)
        assert watch.is_calm
