"""Which model is kept, when a run stops early, and that kills change neither."""

from __future__ import annotations

import os
import signal

import pytest
import torch
import toy_run
from toy_run import Stopped, assert_same, config, make, records, stopping

from anytag.errors import UsageError
from anytag.foundations.interrupts import StoppedBySignalError
from anytag.training.engine.checkpointing import SaveError
from anytag.training.engine.keeper import BestWeights

#: What the validations of the toy run give, by step: better until 9, then never again.
COURSE = {3: 0.2, 6: 0.5, 9: 0.7, 12: 0.6, 15: 0.7, 18: 0.1, 21: 0.69, 24: 0.3}


def best(**changes):
    return config(**({"validate_every": 3, "best_metric": "score"} | changes))


class Run:
    """A loop with given validation metrics; records the kept models, and the weights at each validation."""

    def __init__(self, folder, settings, course=COURSE, **more):
        self.kept, self.seen = [], {}

        def validate(model, final):
            self.seen[self.loop.step] = [tensor.clone() for tensor in model.state_dict().values()]
            return {"score": 1.0 if final else course[self.loop.step], "final": float(final)}

        def keep(model, figures):
            self.kept.append((self.loop.step, figures["score"]))

        self.loop = make(folder, settings, keep=keep, **more)
        self.loop.validate = validate


class TestBestWeights:
    def test_only_a_better_validation_beats_it(self, tmp_path):
        weights = BestWeights(tmp_path, "map")
        assert weights.is_beaten([(1, {"map": 0.3})])
        weights.save(torch.nn.Linear(1, 1), 1)
        assert weights.step == 1
        for value, better in ((0.29, False), (0.3, False), (0.31, True), (float("nan"), False)):
            assert weights.is_beaten([(1, {"map": 0.3}), (2, {"map": value})]) == better
        assert weights.misses([(1, {"map": 0.3}), (2, {"map": 0.2}), (3, {"map": 0.1})]) == 2

    def test_losses_are_better_the_lower(self, tmp_path):
        weights = BestWeights(tmp_path, "tagging", lower_is_better=True)
        weights.save(torch.nn.Linear(1, 1), 1)
        assert weights.is_beaten([(1, {"tagging": 3.0}), (2, {"tagging": 2.0})])
        assert not weights.is_beaten([(1, {"tagging": 3.0}), (2, {"tagging": 4.0})])

    def test_what_the_log_has_forgotten_does_not_count(self, tmp_path):
        weights = BestWeights(tmp_path, "map")
        weights.save(torch.nn.Linear(1, 1), 9)
        assert weights.is_beaten([(3, {"map": 0.1})])
        assert weights.misses([(3, {"map": 0.1})]) == 0

    def test_a_figure_that_there_is_not(self, tmp_path):
        with pytest.raises(UsageError) as caught:
            BestWeights(tmp_path, "cider").is_beaten([(1, {"map": 0.3, "f1": 0.2})])
        assert str(caught.value) == "best_metric=cider: the validation has no such figure; it has map, f1"


class TestTheBest:
    def test_is_what_the_run_leaves(self, tmp_path):
        run = Run(tmp_path, best())
        assert run.loop.run()
        assert run.kept == [(3, 0.2), (6, 0.5), (9, 0.7)]
        assert_same(list(run.loop.kept().state_dict().values()), run.seen[9])
        assert run.loop.keeper.figures(24) == (9, {"score": 1.0, "final": 1.0})
        # The final validation is of the best, and does not compete.
        last = [record for record in records(tmp_path) if "validation" in record][-2:]
        assert [(record["step"], record.get("final")) for record in last] == [(24, None), (24, True)]

    def test_without_a_figure_every_validated_model_is_kept(self, tmp_path):
        run = Run(tmp_path, config(validate_every=3))
        assert run.loop.run()
        assert [step for step, _ in run.kept] == [3, 6, 9, 12, 15, 18, 21]
        assert not (tmp_path / "best.pt").exists()

    def test_without_validation_data_a_model_is_kept_as_often(self, tmp_path):
        kept = []
        loop = make(tmp_path, config(validate_every=10), keep=lambda model, figures: kept.append((loop.step, figures)))
        loop.validate = lambda model, final: {}
        assert loop.run()
        assert kept == [(10, {}), (20, {})]

    def test_patience_ends_the_run(self, tmp_path):
        lines = []
        run = Run(tmp_path, best(patience=3), lines=lines)
        assert run.loop.run()
        assert run.loop.step == run.loop.saved_step == 18
        assert "stopped at step 18 of 24: no better score in 3 validations" in lines
        assert_same(list(run.loop.kept().state_dict().values()), run.seen[9])

    def test_an_ended_run_goes_on_with_more_patience(self, tmp_path):
        Run(tmp_path, best(patience=3)).loop.run()
        same = Run(tmp_path, best(patience=3))
        assert same.loop.resume()
        assert same.loop.is_over()
        more = Run(tmp_path, best(patience=4))
        assert more.loop.resume()
        assert not more.loop.is_over()
        more.loop.run()
        assert more.loop.step == 21

    @pytest.mark.parametrize("ema_decay", [0.0, 0.9])
    def test_training_is_the_same_whatever_is_kept(self, tmp_path, ema_decay):
        """Compares metrics and kept weights with those of an uninterrupted run."""
        run = Run(tmp_path / "best", best(ema_decay=ema_decay))
        run.loop.run()
        other = make(tmp_path / "last", config(ema_decay=ema_decay))
        other.run()
        states = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("best", "last")]
        assert_same(*(list(state["model"].values()) for state in states))
        assert torch.equal(*(state["generators"]["0"] for state in states))

    def test_a_full_disk(self, tmp_path):
        run = Run(tmp_path, best())
        (tmp_path / "best.pt.part").mkdir()
        with pytest.raises(SaveError, match=r"best\.pt: the checkpoint of step 3 could not be written"):
            run.loop.run()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    run = Run(folder, best(patience=3))
    run.loop.run()
    return folder, run


def end(folder, settings=None):
    """Finish the run in another process."""
    run = Run(folder, settings or best(patience=3))
    run.loop.resume()
    assert run.loop.run()
    return run


def assert_ended_alike(folder, run, straight):
    expected, other = straight
    assert run.loop.step == other.loop.step
    assert_same(list(run.loop.kept().state_dict().values()), list(other.loop.kept().state_dict().values()))
    figures = [
        [(record["step"], record["validation"]) for record in records(place) if "validation" in record]
        for place in (folder, expected)
    ]
    assert figures[0] == figures[1]
    assert BestWeights(folder, "score").step == BestWeights(expected, "score").step


@pytest.mark.parametrize("at", range(1, 18))
def test_killed_at_any_step_it_ends_the_same(tmp_path, straight, at):
    run = Run(tmp_path, best(patience=3), step=stopping(at))
    with pytest.raises(Stopped):
        run.loop.run()
    assert_ended_alike(tmp_path, end(tmp_path), straight)


@pytest.mark.parametrize("what", ["best", "model"])
@pytest.mark.parametrize("at", [3, 6, 9])
def test_killed_while_the_best_is_kept_it_ends_the_same(tmp_path, straight, monkeypatch, at, what):
    """After the checkpoint, before the weights or the model."""

    def killed(*arguments):
        raise Stopped

    run = Run(tmp_path, best(patience=3))
    keeper = run.loop.keeper
    save, keep = keeper.best.save, keeper._keep
    keeper.best.save = lambda model, step: killed() if step == at and what == "best" else save(model, step)
    keeper._keep = lambda model, figures: killed() if run.loop.step == at and what == "model" else keep(model, figures)
    with pytest.raises(Stopped):
        run.loop.run()
    again = end(tmp_path)
    assert_ended_alike(tmp_path, again, straight)
    if what == "best":
        assert again.kept[0] == (at, COURSE[at])


@pytest.mark.parametrize("at", [3, 9, 15, 18])
def test_stopped_in_a_validation_it_ends_the_same(tmp_path, straight, at):
    """A signal interrupts a validation, which is repeated when the run resumes."""
    run = Run(tmp_path, best(patience=3))
    validate = run.loop.validate

    def signaled(model, final):
        if run.loop.step == at and not final:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(model, final)

    run.loop.validate = signaled
    with pytest.raises(StoppedBySignalError, match=f"saved at step {at} "):
        run.loop.run()
    assert_ended_alike(tmp_path, end(tmp_path), straight)


def test_stopped_again_and_again_it_ends_the_same(tmp_path, straight):
    """A kill after every step."""
    for _ in range(30):
        run = Run(tmp_path, best(patience=3))
        run.loop.resume()
        if run.loop.run(stop_after=0):
            break
    assert_ended_alike(tmp_path, run, straight)


def test_weights_of_the_last_step_may_be_the_best(tmp_path):
    run = Run(tmp_path, best(), course={step: step / 100 for step in COURSE})
    assert run.loop.run()
    assert run.kept[-1] == (24, 0.24)
    assert_same(list(run.loop.kept().state_dict().values()), run.seen[24])
    assert run.loop.keeper.figures(24)[0] == 24


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 2}, "name it as best_metric"),
        ({"lower_is_better": True}, "name it as best_metric"),
        ({"best_metric": "map", "patience": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_say_nothing(settings, message):
    with pytest.raises(ValueError, match=message):
        toy_run.config(**settings)
