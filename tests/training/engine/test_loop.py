"""The loop: stages, rates, groups, the average, micro-batches."""

from __future__ import annotations

import math

import pytest
import torch
import toy_run
from toy_run import Stopped, assert_same, config, make, records, stopping, weights

from anytag.errors import UsageError
from anytag.training.engine.config import LoopStage
from anytag.training.engine.schedules import StepSchedule


class TestStages:
    def test_steps_and_places(self, tmp_path):
        loop = make(tmp_path)
        assert (loop.stage_steps, loop.total_steps) == ([8, 16], 24)
        assert [loop.place(step) for step in (0, 7, 8, 23)] == [(0, 0), (0, 7), (1, 0), (1, 15)]
        with pytest.raises(IndexError):
            loop.place(24)

    def test_a_stage_has_at_least_one_step(self, tmp_path):
        short = config(stages=(LoopStage(name="short", epochs=0.01),))
        assert make(tmp_path, short).stage_steps == [1]

    def test_rates_are_warm_up_times_cosine(self, tmp_path):
        stages = (LoopStage(name="s", epochs=1, learning_rate=0.1, encoder_learning_rate=0.01, warmup=2),)
        loop = make(tmp_path, config(stages=stages))
        rates = []
        for step in range(8):
            loop.step = step
            rates.append(loop._set_rates())
            encoder = [group["lr"] for group in loop.optimizer.param_groups if group["part"] == "encoder"]
            assert encoder == pytest.approx([rates[-1] / 10] * 2)
        cosines = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
        assert rates[0] == pytest.approx(0.1 * 0.5)
        assert rates[1:] == pytest.approx([0.1 * (0.01 + 0.99 * cosine) for cosine in cosines[1:]])
        # Halfway the cosine is a half: 0.1 * (0.01 + 0.495).
        assert rates[4] == pytest.approx(0.0505)

    def test_the_encoder_is_frozen_if_its_rate_is_zero(self, tmp_path):
        loop = make(tmp_path, step=stopping(8))
        before = loop.model.image_encoder.weight.clone()
        with pytest.raises(Stopped):
            loop.run()
        assert torch.equal(loop.model.image_encoder.weight, before)
        loop.step_function = toy_run.step
        loop.run()
        assert not torch.equal(loop.model.image_encoder.weight, before)

    def test_a_stage_may_have_another_schedule(self, tmp_path):
        """Pre-training of the official models: a factor of 0.9 per epoch after the warm-up, for the encoder as well."""
        schedule = StepSchedule(peak=1e-4, floor=0.0, decay=0.9, warmup=4, warmup_start=0.0)
        stage = LoopStage(name="s", epochs=3, learning_rate=2e-4, encoder_learning_rate=1e-5, schedule=schedule)
        loop = make(tmp_path, config(stages=(stage,)))
        rates = []
        for loop.step in (0, 1, 4, 7, 8, 16):
            rates.append(loop._set_rates())
            encoder = [group["lr"] for group in loop.optimizer.param_groups if group["part"] == "encoder"]
            assert encoder == pytest.approx([rates[-1] / 20] * 2)
        assert rates == pytest.approx([0.0, 5e-5, 2e-4, 2e-4, 1.8e-4, 1.62e-4])

    def test_parameters_without_gradients_are_never_trained(self, tmp_path):
        loop = make(tmp_path)
        fixed_model = toy_run.ToyNetwork()
        fixed_model.head[1].bias.requires_grad_(False)
        fixed = make(tmp_path / "fixed", model=fixed_model)
        before = fixed_model.head[1].bias.clone()
        fixed.run()
        assert torch.equal(fixed_model.head[1].bias, before)
        loop.run()
        assert not torch.equal(loop.model.head[1].bias, before)

    def test_the_caller_can_choose_parameter_groups(self, tmp_path):
        def groups(model, settings):
            lower, upper = model.image_encoder.parameters(), model.head.parameters()
            return [
                {"params": list(lower), "part": "encoder", "weight_decay": 0.2, "scale": 0.5},
                {"params": [], "part": "encoder"},
                {"params": list(upper), "part": "decoder"},
            ]

        stages = (LoopStage(name="s", epochs=1, learning_rate=0.1, encoder_learning_rate=0.01, warmup=0),)
        loop = make(tmp_path, config(stages=stages), groups=groups)
        assert loop._set_rates() == pytest.approx(0.1)
        assert [group["lr"] for group in loop.optimizer.param_groups] == pytest.approx([0.005, 0.1])
        assert loop.optimizer.param_groups[0]["weight_decay"] == 0.2

    def test_norms_and_biases_are_not_decayed(self, tmp_path):
        groups = make(tmp_path, config(weight_decay=0.3)).optimizer.param_groups
        assert [(g["part"], g["weight_decay"], len(g["params"])) for g in groups] == [
            ("encoder", 0.3, 1), ("encoder", 0.0, 1), ("decoder", 0.3, 1), ("decoder", 0.0, 1),
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


def test_a_step_without_gradients_is_reported(tmp_path):
    """All gradients are 0, as with data that have no tag of the model."""

    def idle(model, number, stage, share):
        loss, parts = toy_run.step(model, number, stage, share)
        return loss * 0, parts

    lines: list[str] = []
    make(tmp_path, step=idle, lines=lines).run()
    warned = [line for line in lines if line.startswith("warning: all gradients are 0, so nothing is learned")]
    assert len(warned) == len([record for record in records(tmp_path) if "gradient_norm" in record]) > 0
    lines.clear()
    make(tmp_path / "other", lines=lines).run()
    assert not [line for line in lines if "gradients are 0" in line]


def test_a_stage_that_trains_nothing_is_refused_at_once(tmp_path):
    class Idle(LoopStage):
        def trains(self, parameter):
            return parameter.startswith("nothing.")

    stages = (LoopStage(name="whole", epochs=1), Idle(name="idle", epochs=1))
    with pytest.raises(UsageError) as caught:
        make(tmp_path, config(stages=stages))
    assert str(caught.value) == "stage 'idle' trains no part of the model; what should it learn?"
