"""Learning rates against the official functions, by hand, and properties for any settings."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from anytag.errors import UsageError
from anytag.training.engine.schedules import (
    CosineSchedule,
    Schedule,
    StepSchedule,
    WarmupCosineSchedule,
    cosine_rate,
    step_rate,
    warmup_rate,
)


@pytest.fixture(scope="module")
def vectors(oracle):
    return json.loads((oracle / "vectors" / "lr_schedules.json").read_text())


class TestReference:
    def test_cosine(self, vectors):
        for row in vectors["cosine_lr_schedule"]["rows"]:
            epoch, epochs, peak, floor = row["a"]
            assert cosine_rate(epoch, epochs, peak, floor, official=True) == pytest.approx(row["lr"], rel=1e-12, abs=0)
            # Ours stays at the floor after the last epoch; the reference's rises again.
            ours = cosine_rate(epoch, epochs, peak, floor)
            assert ours == pytest.approx(row["lr"] if epoch <= epochs else floor, rel=1e-12, abs=0)

    def test_warmup(self, vectors):
        for row in vectors["warmup_lr_schedule"]["rows"]:
            assert warmup_rate(*row["a"]) == pytest.approx(row["lr"], rel=1e-12, abs=0)

    def test_step(self, vectors):
        for row in vectors["step_lr_schedule"]["rows"]:
            assert step_rate(*row["a"]) == pytest.approx(row["lr"], rel=1e-12, abs=0)

    def test_a_whole_pretraining(self, vectors):
        """The official loop: warm-up by iterations in epoch 0, then one rate per epoch."""
        for row in vectors["warmup_lr_schedule"]["rows"]:
            step, warmup, start, peak = row["a"]
            settings = {"peak": peak, "floor": 0, "decay": 1, "warmup": warmup, "warmup_start": start}
            rate = StepSchedule(**settings).over(steps_per_epoch=warmup + 1, steps=warmup * 100)
            assert rate(step) == pytest.approx(row["lr"], rel=1e-12)
        for row in vectors["step_lr_schedule"]["rows"]:
            epoch, peak, floor, decay = row["a"]
            rate = StepSchedule(peak=peak, floor=floor, decay=decay, warmup=30).over(steps_per_epoch=200, steps=20_000)
            for step in (200 * epoch + 30, 200 * epoch + 199):
                assert rate(step) == pytest.approx(row["lr"], rel=1e-12)

    def test_a_whole_finetuning(self, vectors):
        for row in vectors["cosine_lr_schedule"]["rows"]:
            epoch, epochs, peak, floor = row["a"]
            if epoch < epochs:
                rate = CosineSchedule(peak=peak, floor=floor).over(steps_per_epoch=7, steps=7 * epochs)
                assert [rate(7 * epoch), rate(7 * epoch + 6)] == pytest.approx([row["lr"]] * 2)


class TestStep:
    def test_a_warmup_longer_than_an_epoch(self):
        settings = {"peak": 8.0, "floor": 0.5, "decay": 0.5, "warmup": 8, "warmup_start": 0.0}
        ours = StepSchedule(**settings).over(steps_per_epoch=3, steps=18)
        # Rising by one a step until it meets the falling rate: 8 in the first epoch, 4, 2, 1, then the floor.
        assert [ours(step) for step in range(18)] == [0, 1, 2, 3, 4, 4, 2, 2, 2, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
        official = StepSchedule(**settings, official=True).over(steps_per_epoch=3, steps=18)
        assert [official(step) for step in range(7)] == [0, 1, 2, 4, 4, 4, 2]

    def test_without_a_warmup(self):
        rate = StepSchedule(peak=1.0, decay=0.5, warmup=0).over(2, 6)
        assert [rate(step) for step in range(5)] == [1, 1, 0.5, 0.5, 0.25]


class TestCosine:
    def test_by_hand(self):
        rate = CosineSchedule(peak=2.0, floor=1.0).over(steps_per_epoch=2, steps=7)  # four epochs, the last one short
        expected = [1 + (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in (0, 0, 1, 1, 2, 2, 3)]
        assert [rate(step) for step in range(7)] == pytest.approx(expected)
        assert rate(8) == rate(100) == 1.0


class TestWarmupCosine:
    def test_by_hand(self):
        rate = WarmupCosineSchedule(peak=1.0, warmup=2).over(1, 8)
        cosine = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
        assert [rate(step) for step in range(8)] == pytest.approx([0.5, *cosine[1:]])
        assert rate(8) == pytest.approx(0.01)

    def test_the_warmup_takes_half_of_a_short_run(self):
        rate = WarmupCosineSchedule(peak=1.0, floor_share=1.0, warmup=200).over(1, 8)
        assert [rate(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
        assert WarmupCosineSchedule(peak=1.0, warmup=200).over(1, 1)(0) == 1.0


class Recipe(BaseModel):
    schedule: Schedule


@pytest.mark.parametrize(
    "schedule", [StepSchedule(peak=3e-4), CosineSchedule(floor=1e-7), WarmupCosineSchedule(warmup=50)]
)
def test_recipes_hold_any_schedule(schedule):
    assert Recipe.model_validate_json(Recipe(schedule=schedule).model_dump_json()).schedule == schedule


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (StepSchedule, {"peak": 0}),
        (StepSchedule, {"decay": 1.1}),
        (StepSchedule, {"warmup": -1}),
        (CosineSchedule, {"floor": -1e-9}),
        (WarmupCosineSchedule, {"floor_share": 2}),
        (WarmupCosineSchedule, {"epochs": 2}),
    ],
)
def test_settings_check_themselves(kind, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        kind(**wrong)


@pytest.mark.parametrize("kind", [StepSchedule, CosineSchedule, WarmupCosineSchedule])
def test_a_run_has_steps(kind):
    with pytest.raises(UsageError, match="steps is 0; a schedule needs at least 1"):
        kind().over(5, 0)
    with pytest.raises(UsageError, match="steps_per_epoch is 0"):
        kind().over(0, 5)


@given(
    st.sampled_from([StepSchedule, CosineSchedule, WarmupCosineSchedule]),
    st.integers(1, 50),
    st.integers(1, 300),
    st.integers(0, 400),
)
def test_rates_stay_between_zero_and_the_peak(kind, steps_per_epoch, steps, step):
    schedule = kind()
    rate = schedule.over(steps_per_epoch, steps)
    assert 0 <= rate(step) <= schedule.peak * (1 + 1e-12)
    assert rate(min(step, steps - 1)) > 0
