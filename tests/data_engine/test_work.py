"""Units of work: done once, redone where something changed, never half written."""

import json
import os
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from anytag.data_engine.executors import LocalExecutor
from anytag.data_engine.work import Outcome, Problem, Step, finished, perform, run_step
from anytag.errors import AnytagError, DataError, UsageError


@dataclass(frozen=True)
class Upper(Step):
    """Writes files in capitals."""

    name: ClassVar[str] = "upper"

    folder: Path
    given: Path
    count: int
    end: str = ""

    @property
    def units(self):
        return self.count

    def settings(self):
        return {"end": self.end}

    def files(self, unit):
        return [self.given / f"{unit}.txt"]

    def run(self, unit, output):
        text = (self.given / f"{unit}.txt").read_text()
        output.write_text("half")
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "refuse":
            raise DataError("this cannot be done")
        output.write_text(text.upper() + self.end)
        outcome = Outcome(Counter({"pictures_in": 100, "pictures_out": 100}))
        for _ in range(text.count("?")):
            outcome.fail((f"{unit}.txt", "picture", "a question"))
        outcome.examples.append({"text": text})
        return outcome


@pytest.fixture
def step(tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    for unit, word in enumerate(("one", "two", "three")):
        (given / f"{unit}.txt").write_text(word)
    return Upper(tmp_path / "out", given, 3)


def run(step, **options):
    """What was done, and the report."""
    done = []
    report = run_step(
        step, LocalExecutor(), lambda name, n, total, marker: done.append((n, total, marker.unit)), **options
    )
    return done, report


def texts(step):
    return [step.output(unit).read_text() for unit in range(step.units)]


def test_everything_is_done_once(step):
    done, report = run(step)
    assert done == [(1, 3, 0), (2, 3, 1), (3, 3, 2)]
    assert texts(step) == ["ONE", "TWO", "THREE"]
    assert report.counts == {"pictures_in": 300, "pictures_out": 300}
    assert (report.kept, report.pictures_now) == (0, 300)
    assert [example["text"] for example in report.examples] == ["one", "two", "three"]
    done, again = run(step)
    assert done == []
    assert (again.kept, again.pictures_now, again.counts) == (3, 0, report.counts)
    assert again.per_second is None


def test_only_changed_units_are_redone(step):
    run(step)
    (step.given / "1.txt").write_text("zwei")
    os.utime(step.given / "2.txt", (1, 1))  # Touched, but the same: its content decides.
    done, _ = run(step)
    assert [unit for _, _, unit in done] == [1]
    assert texts(step) == ["ONE", "ZWEI", "THREE"]


def test_other_settings_redo_all(step):
    run(step)
    other = Upper(step.folder, step.given, 3, "!")
    assert len(run(other)[0]) == 3
    assert texts(other) == ["ONE!", "TWO!", "THREE!"]


def test_more_units_cost_only_themselves(step):
    run(step)
    (step.given / "3.txt").write_text("four")
    assert [unit for _, _, unit in run(Upper(step.folder, step.given, 4))[0]] == [3]


@pytest.mark.parametrize("damage", ["output", "marker", "no output", "version"])
def test_damaged_outputs_are_redone(step, damage):
    run(step)
    if damage == "output":
        step.output(1).write_text("TwO")
    elif damage == "no output":
        step.output(1).unlink()
    elif damage == "marker":
        step.marker_path(1).write_text('{"version": 1, "unit"')
    else:
        marker = json.loads(step.marker_path(1).read_text())
        step.marker_path(1).write_text(json.dumps(marker | {"version": 0}))
    assert finished(step, 1) is None
    assert [unit for _, _, unit in run(step)[0]] == [1]
    assert texts(step) == ["ONE", "TWO", "THREE"]


def test_redo_does_all(step):
    run(step)
    assert len(run(step, redo=True)[0]) == 3


def test_a_manifest_is_not_complete_while_it_is_redone(step):
    run(step)
    (step.folder / "manifest.json").write_text("{}")
    run(step)
    assert (step.folder / "manifest.json").exists()
    (step.given / "1.txt").write_text("refuse")
    with pytest.raises(DataError, match="upper: this cannot be done"):
        run(step)
    assert not (step.folder / "manifest.json").exists()


def test_a_unit_that_fails_leaves_nothing_and_the_others_stay(step):
    (step.given / "1.txt").write_text("refuse")
    with pytest.raises(DataError, match="this cannot be done"):
        run(step)
    assert sorted(path.name for path in step.folder.iterdir()) == ["part-00000.jsonl", "part-00000.jsonl.done.json"]
    (step.given / "1.txt").unlink()
    done = perform(step, 1)
    assert isinstance(done, Problem)
    assert done.message.endswith("1.txt: No such file or directory")


def test_too_many_bad_pictures_stop_the_step(step):
    (step.given / "0.txt").write_text("?" * 90)
    (step.given / "1.txt").write_text("?" * 9)
    assert run(step)[1].failed == 99  # 90 of the first 100 are too few pictures to judge by.
    with pytest.raises(DataError, match=r"99 of 300 pictures fail, more than the allowed 30%.*0\.txt: a question"):
        run(step, bad_share=0.3)


def test_a_step_in_which_everything_fails_is_an_error(step):
    alone = Upper(step.folder, step.given, 1)
    (step.given / "0.txt").write_text("?" * 100)
    with pytest.raises(DataError, match="100 of 100 pictures fail"):
        run(alone, bad_share=1)


def test_failures_are_all_counted_and_some_are_kept(step):
    (step.given / "0.txt").write_text("?" * 130)
    report = run(step, bad_share=1)[1]
    assert report.failed == 130
    assert len(report.failures) == 100
    assert report.failures[0] == {"place": "0.txt", "kind": "picture", "reason": "a question"}
    text = report.to_text()
    assert text.startswith("upper: 300 pictures in, 300 out, 130 failed (3 parts)")
    assert "… and 125 more" in text


def test_processes_give_the_same(step, tmp_path):
    run(step)
    other = Upper(tmp_path / "other", step.given, 3)
    report = run_step(other, LocalExecutor(2))
    assert texts(other) == texts(step)
    assert report.counts["pictures_in"] == 300


def test_a_killed_worker_is_reported_and_finished_units_are_kept(step):
    (step.given / "2.txt").write_text("die")
    with pytest.raises(AnytagError, match="upper: a worker process was killed, most likely because memory ran out"):
        run_step(step, LocalExecutor(2))
    assert not step.output(2).exists()
    (step.given / "2.txt").write_text("three")
    run(step)
    assert texts(step) == ["ONE", "TWO", "THREE"]
    assert not list(step.folder.glob("*.part"))


def test_no_workers():
    with pytest.raises(UsageError, match="workers is 0"):
        LocalExecutor(0)
