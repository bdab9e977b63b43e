"""A run that ends anywhere goes on with the very next sample."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from data_files import Numbers, Parts, just_id, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.datasets import SampleStream, merge_states, open_source
from anytag.errors import UsageError


def stream(source, **options) -> SampleStream[str]:
    return SampleStream([source], **{"load": just_id, "threads": 0, "epochs": 3} | options)


def through_json(state: dict) -> dict:
    return json.loads(json.dumps(state))


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 40),
    world_size=st.integers(1, 5),
    rank=st.integers(0, 4),
    kills=st.lists(st.integers(0, 50), max_size=3),
    tail=st.sampled_from(["keep", "drop", "pad"]),
    bad=st.sets(st.integers(0, 40), max_size=3),
    threads=st.sampled_from([0, 2]),
)
def test_a_killed_and_resumed_stream_gives_the_same_samples(count, world_size, rank, kills, tail, bad, threads) -> None:
    options = {"rank": rank % world_size, "world_size": world_size, "tail": tail, "bad_share": 1.0}
    # Nobody's share may be all bad: that stops a stream.
    source = Numbers(count, bad=bad if count >= 20 else set())
    whole = list(stream(source, **options))
    items: list[str] = []
    made = stream(source, threads=threads, **options)
    for kill in kills:
        items += islice(made, kill)
        state = through_json(made.state())
        made = stream(source, threads=threads, **options)
        made.restore(state)
    assert items + list(made) == whole


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    consumers=st.integers(1, 4),
    consumer=st.integers(0, 3),
    window=st.integers(1, 8),
    kill=st.integers(0, 60),
    broken=st.booleans(),
)
def test_windows_resume_with_the_next_sample(sizes, consumers, consumer, window, kill, broken) -> None:
    source = Parts(sizes, broken={0: sizes[0] // 2} if broken else None)
    options = {"rank": consumer % consumers, "world_size": consumers, "window": window, "bad_share": 1.0, "epochs": 2}
    if broken and len(sizes) == 1:
        options["epochs"] = 1
    if broken and (sizes[0] == 1 or len(sizes) == 1 < consumers):
        return  # Somebody's whole share is unreadable, and that stops a stream.
    whole = list(stream(source, **options))
    made = stream(source, **options)
    items = list(islice(made, kill))
    again = stream(source, **options)
    again.restore(through_json(made.state()))
    assert items + list(again) == whole


def test_resuming_windows_reads_from_the_window_on(tmp_path: Path) -> None:
    source = Parts([10] * 5)
    made = stream(source, window=4, epochs=1)
    items = list(islice(made, 27))
    source.reads.clear()
    again = stream(source, window=4, epochs=1)
    again.restore(made.state())
    assert sorted(items + list(again)) == sorted(f"{part}/{row}" for part in range(5) for row in range(10))
    # 27 samples lie in the seventh window, which begins with sample 24: row 4 of the third part.
    assert (len(source.reads), source.reads[0][1]) == (3, 4)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 60), worlds=st.lists(st.integers(1, 6), min_size=2, max_size=4), data=st.data())
def test_a_run_can_resume_with_other_ranks(count, worlds, data) -> None:
    """Whatever each had taken when it ended, each epoch's samples are given once."""
    given_: Counter[tuple[int, str]] = Counter()
    state = None
    for turn, world_size in enumerate(worlds):
        ranks = [
            stream(Numbers(count), rank=rank, world_size=world_size, load=lambda sample, epoch: (epoch, sample.id))
            for rank in range(world_size)
        ]
        for one in ranks:
            if state is not None:
                one.restore(state)
            last = turn == len(worlds) - 1
            given_.update(list(one) if last else islice(one, data.draw(st.integers(0, 3 * count // world_size))))
        state = through_json(merge_states([through_json(one.state()) for one in ranks]))
    assert given_ == Counter((epoch, str(number)) for epoch in range(3) for number in range(count))


def test_counts_of_bad_samples_are_kept() -> None:
    records: list[dict] = []
    made = stream(Numbers(50, bad={1, 2}), epochs=1, log=records.append, bad_share=0.5)
    list(islice(made, 40))
    state = made.state()
    again = stream(Numbers(50, bad={1, 2}), epochs=1, log=records.append, bad_share=0.5)
    again.restore(state)
    assert len(list(again)) == 8
    assert again.state()["health"] | {"examples": None, "complete": None} == {
        "seen": 50,
        "complete": None,
        "bad": 2,
        "broken_parts": 0,
        "epoch": 0,
        "examples": None,
    }
    assert [record["bad"] for record in records] == [1, 2]


class TestStatesThatDoNotFit:
    def saved(self, **options) -> dict:
        made = stream(Numbers(20), **options)
        list(islice(made, 5))
        return made.state()

    @pytest.mark.parametrize(
        ("source", "options", "message"),
        [
            (Numbers(21), {}, r"saved with sources \['numbers: 20'\], and cannot resume with \['numbers: 21'\]"),
            (Numbers(20), {"seed": 1}, "saved with seed 0, and cannot resume with 1: the order would change"),
            (Numbers(20), {"shuffle": False}, "saved with shuffle True, and cannot resume with False"),
            (Numbers(20), {"tail": "drop"}, "saved with tail 'keep', and cannot resume with 'drop'"),
            (
                Numbers(20),
                {"rank": 1, "world_size": 2},
                "the state of consumer 0 of 1 cannot be that of 1 of 2; for another number of ranks or workers, join "
                "all states with merge_states",
            ),
        ],
    )
    def test_other_data_or_settings(self, source, options, message) -> None:
        with pytest.raises(UsageError, match=message):
            stream(source, **options).restore(self.saved())

    def test_another_version(self) -> None:
        with pytest.raises(UsageError, match="a stream's state of version 99; this is version 1"):
            stream(Numbers(20)).restore(self.saved() | {"version": 99})

    def test_states_that_cannot_be_merged(self) -> None:
        states = [self.saved(rank=rank, world_size=3) for rank in range(3)]
        for some in ([], states[:2], [*states, states[0]], [merge_states(states)]):
            with pytest.raises(UsageError, match=r"the states of all .* ranks and workers are needed, each once"):
                merge_states(some)
        with pytest.raises(UsageError, match="the states belong to different runs"):
            merge_states([*states[:2], self.saved(rank=2, world_size=3, seed=5)])
        with pytest.raises(
            UsageError, match="a windowed stream goes on with the same number of ranks and workers only"
        ):
            merge_states([self.saved(shuffle="window")])


#: Reads samples, notes each, and saves the state only now and then: the notes behind the last state are void.
READER = """
import json, os, sys, time
from pathlib import Path
from anytag.datasets import SampleStream, open_source

folder, kind = Path(sys.argv[1]), sys.argv[2]
source = open_source({"path": sorted(str(path) for path in (folder / "data").iterdir())})
stream = SampleStream([source], seed=5, epochs=2, window=16, threads=2)
kept = folder / "state.json"
if kept.exists():
    stream.restore(json.loads(kept.read_text()))
notes = os.open(folder / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for number, loaded in enumerate(stream, 1):
    os.write(notes, f"{loaded.epoch}/{loaded.sample.id}\\n".encode())
    if number % 7 == 0:
        part = folder / "state.part"
        part.write_text(json.dumps({**stream.state(), "noted": os.fstat(notes).st_size}))
        part.replace(kept)
    time.sleep(0.003)
(folder / "done").touch()
"""


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_after_a_kill_every_sample_is_seen_once_per_epoch(tmp_path: Path, mode: str) -> None:
    write_shards(tmp_path / "data", [30, 25, 35], mode)
    notes = tmp_path / "notes"
    kills = 0
    while not (tmp_path / "done").exists():
        reader = subprocess.Popen([sys.executable, "-c", READER, str(tmp_path), mode])
        before = notes.stat().st_size if notes.exists() else 0
        deadline = time.monotonic() + 300
        while reader.poll() is None and time.monotonic() < deadline:
            # Two kills, each after some forty samples more; then it may end.
            if kills < 2 and notes.exists() and notes.stat().st_size > before + 160:
                reader.send_signal(signal.SIGKILL)
                kills += 1
                reader.wait()
            time.sleep(0.005)
        assert reader.wait() in (0, -signal.SIGKILL)
        if not (tmp_path / "done").exists():
            state = json.loads((tmp_path / "state.json").read_text())
            # What came after the state is what the training would have lost as well.
            with notes.open("r+b") as handle:
                handle.truncate(state["noted"])
    assert kills == 2
    seen = notes.read_text().split()
    assert sorted(seen) == sorted(f"{epoch}/{number}" for epoch in range(2) for number in range(90))
    source = open_source({"path": sorted(str(path) for path in (tmp_path / "data").iterdir())})
    whole = SampleStream([source], seed=5, epochs=2, window=16, threads=0)
    assert seen == [f"{loaded.epoch}/{loaded.sample.id}" for loaded in whole]
