"""A run ends before it ruins its weights."""

from __future__ import annotations

import pytest
import toy_run
from toy_run import config, make, weights

from anytag.training.engine.config import LoopStage
from anytag.training.engine.loss_watch import DivergedError, LossWatch


class TestDivergence:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_nan_loss_does_not_change_the_checkpoint(self, tmp_path, value):
        def step(model, number, stage, share):
            loss, parts = toy_run.step(model, number, stage, share)
            return (loss * value if number == 7 else loss), parts

        loop = make(tmp_path, step=step)
        with pytest.raises(DivergedError) as caught:
            loop.run()
        message = str(caught.value)
        assert message.startswith(f"the loss is {value} at step 7 (parts: {{'square': ")
        assert message.endswith(
            f"the last good state is that of step 5, {loop.checkpoint_path}. Lower the learning rate and resume."
        )
        again = make(tmp_path)
        assert again.resume()
        assert again.step == 5
        assert all(bool(tensor.isfinite().all()) for tensor in weights(again))

    def test_at_the_first_step_no_checkpoint_is_promised(self, tmp_path):
        def step(model, number, stage, share):
            loss, parts = toy_run.step(model, number, stage, share)
            return loss * float("nan"), parts

        with pytest.raises(
            DivergedError, match=r"there is no checkpoint yet\. Lower the learning rate and begin again"
        ):
            make(tmp_path, step=step).run()

    def test_a_nan_gradient_is_not_applied(self, tmp_path):
        def step(model, number, stage, share):
            loss, parts = toy_run.step(model, number, stage, share)
            if number == 4:
                # The square root is finite at zero, its slope is not.
                loss = loss + (loss * 0).sqrt()
            return loss, parts

        loop = make(tmp_path, step=step)
        with pytest.raises(DivergedError, match=r"^the gradient's norm is nan at step 4 "):
            loop.run()
        assert all(bool(tensor.isfinite().all()) for tensor in weights(loop))
        assert not loop.checkpoint_path.exists()

    def test_a_loss_that_stays_far_above_its_median(self, tmp_path):
        """Steps 60 to 62 are out of bounds, then all from 70 on; no checkpoint is later than step 69."""

        def step(model, number, stage, share):
            loss, parts = toy_run.step(model, number, stage, share)
            value = 1.0 + 0.01 * (number % 3) + (200.0 if 60 <= number < 63 or number >= 70 else 0.0)
            return loss * (value / loss.detach()), parts

        stages = (LoopStage(name="s", epochs=20),)
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

        settings = config(stages=(LoopStage(name="s", epochs=9),), divergence_factor=20.0, save_every=60)
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
