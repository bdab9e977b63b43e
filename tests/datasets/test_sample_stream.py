"""Order, division, bad samples and decoding; test_stream_resume.py has the rest."""

from __future__ import annotations

import json
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from data_files import Numbers, Parts, jpeg, just_id, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.datasets import JsonLinesLog, Loaded, Sample, SampleStream, open_source
from anytag.datasets.windows import read_windows
from anytag.errors import DataError, PictureError, UsageError


def stream(sources, **options) -> SampleStream[str]:
    options = {"load": just_id, "threads": 0, "epochs": 1} | options
    return SampleStream(sources if isinstance(sources, list) else [sources], **options)


def everyone(sources, world_size: int, workers: int = 1, **options) -> list[list[str]]:
    return [
        list(stream(sources, rank=rank, world_size=world_size, worker=worker, workers=workers, **options))
        for rank in range(world_size)
        for worker in range(workers)
    ]


class TestExactOrder:
    @settings(max_examples=30, deadline=None)
    @given(
        sizes=st.lists(st.integers(0, 30), min_size=1, max_size=3),
        world_size=st.integers(1, 4),
        workers=st.integers(1, 3),
        seed=st.integers(0, 99),
    )
    def test_all_ranks_and_workers_together_give_every_sample_once(self, sizes, world_size, workers, seed) -> None:
        class Named(Numbers):
            def __getitem__(self, index: int) -> Sample:
                return Sample(f"{self.name}/{index}", b"", source="")

        sources = [Named(size, name=str(place)) for place, size in enumerate(sizes)]
        shares = everyone(sources, world_size, workers, seed=seed)
        wanted = sorted(f"{place}/{index}" for place, size in enumerate(sizes) for index in range(size))
        assert sorted(item for share in shares for item in share) == wanted
        assert max(map(len, shares)) - min(map(len, shares)) <= 1

    def test_the_order_is_the_same_for_any_number_of_ranks(self) -> None:
        (alone,) = everyone(Numbers(100), 1, seed=3)
        for world_size, workers in ((2, 1), (3, 1), (2, 2)):
            shares = everyone(Numbers(100), world_size, workers, seed=3)
            # Consumers are ranks first, then workers.
            ordered = [shares[rank * workers + worker] for worker in range(workers) for rank in range(world_size)]
            turns = [share[turn] for turn in range(100) for share in ordered if turn < len(share)]
            assert turns == alone

    def test_epochs_differ_and_seeds_differ(self) -> None:
        items = list(stream(Numbers(40), epochs=3))
        epochs = [items[:40], items[40:80], items[80:]]
        assert all(sorted(epoch, key=int) == [str(number) for number in range(40)] for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 3
        assert list(stream(Numbers(40), seed=1)) != epochs[0] == list(stream(Numbers(40), seed=0))

    def test_unshuffled_order(self) -> None:
        assert list(stream([Numbers(3), Numbers(2)], shuffle=False)) == ["0", "1", "2", "0", "1"]

    def test_a_stream_is_endless_by_default(self) -> None:
        endless = stream(Numbers(5), epochs=None)
        assert len(list(islice(endless, 23))) == 23
        assert endless.epoch == 4

    @pytest.mark.parametrize(("tail", "sizes"), [("keep", [4, 3, 3]), ("drop", [3, 3, 3]), ("pad", [4, 4, 4])])
    def test_the_tail(self, tail: str, sizes: list[int]) -> None:
        assert [len(share) for share in everyone(Numbers(10), 3, tail=tail)] == sizes
        made = [stream(Numbers(10), tail=tail, rank=rank, world_size=3) for rank in range(3)]
        assert [one.samples_per_epoch for one in made] == sizes

    def test_a_new_iteration_continues_the_last_one(self) -> None:
        whole = list(stream(Numbers(20)))
        made = stream(Numbers(20), threads=2)
        assert [*islice(made, 7), *islice(made, 3), *made] == whole


class TestWindows:
    @settings(max_examples=30, deadline=None)
    @given(
        sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6),
        consumers=st.integers(1, 7),
        window=st.integers(1, 10),
        threads=st.sampled_from([0, 2]),
    )
    def test_all_consumers_together_give_every_sample_once(self, sizes, consumers, window, threads) -> None:
        shares = everyone(Parts(sizes), consumers, window=window, threads=threads)
        wanted = sorted(f"{part}/{row}" for part, size in enumerate(sizes) for row in range(size))
        assert sorted(item for share in shares for item in share) == wanted

    def test_parts_change_places_and_windows_are_shuffled(self) -> None:
        made = stream(Parts([8] * 6), epochs=2, window=16)
        assert not made.is_exact
        items = list(made)
        first, second = items[:48], items[48:]
        assert sorted(first) == sorted(second)
        assert first != second
        orders = [list(dict.fromkeys(item.split("/")[0] for item in epoch)) for epoch in (first, second)]
        assert orders[0] != orders[1]
        # A window holds two whole parts, in mixed order.
        assert all(len({item.split("/")[0] for item in first[at : at + 16]}) == 2 for at in (0, 16, 32))
        assert first[:16] != sorted(first[:16])

    def test_windows_start_at_their_position(self) -> None:
        source = Parts([3, 0, 4])
        windows = list(read_windows(source.read, [2, 1, 0], 2))
        assert [(w.number, w.part, w.row, [item.id for item in w.items]) for w in windows] == [
            (0, 0, 0, ["2/0", "2/1"]),
            (1, 0, 2, ["2/2", "2/3"]),
            (2, 2, 0, ["0/0", "0/1"]),
            (3, 2, 2, ["0/2"]),
        ]
        again = list(read_windows(source.read, [2, 1, 0], 2, number=2, part=2, row=0))
        assert again == windows[2:]

    def test_indexed_sources_may_be_read_by_windows_and_both_may_be_mixed(self, tmp_path: Path) -> None:
        here = open_source({"path": write_shards(tmp_path / "a", [5, 6])})
        packed = open_source({"path": write_shards(tmp_path / "b", [4], "w:gz")})
        assert stream(here).is_exact
        assert not stream(here, shuffle="window").is_exact
        assert sorted(map(int, stream(here, shuffle="window", window=4))) == list(range(11))
        assert sorted(map(int, stream([here, packed], window=4))) == sorted([*range(11), *range(4)])
        assert list(stream([here, packed], window=4, shuffle=False)) == [*map(str, range(11)), *map(str, range(4))]

    def test_sizes_that_are_unknown_before_reading(self) -> None:
        made = stream(Parts([3]))
        with pytest.raises(UsageError, match="how many samples streamed sources hold is not known"):
            made.count  # noqa: B018
        with pytest.raises(UsageError, match="how many samples a windowed stream gives in an epoch is not known"):
            made.samples_per_epoch  # noqa: B018
        with pytest.raises(UsageError, match="tail='drop' needs to know how many samples there are"):
            stream(Parts([3]), tail="drop")

    def test_an_empty_epoch_ends_the_stream(self) -> None:
        with pytest.raises(DataError, match="parts: an epoch has passed without a single sample"):
            list(stream(Parts([0, 0]), epochs=None))


class TestBadSamples:
    def test_they_are_logged_and_skipped(self, tmp_path: Path) -> None:
        log = JsonLinesLog(tmp_path / "log.jsonl")
        made = stream(Numbers(300, bad={7, 100}), log=log, threads=2)
        assert sorted(map(int, made)) == [number for number in range(300) if number not in (7, 100)]
        records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert {record["source"] for record in records} == {"numbers:7", "numbers:100"}
        first = records[0]
        assert (first["event"], first["kind"], first["reason"]) == ("bad_sample", "row", "made unreadable")
        assert (first["epoch"], first["bad"], records[1]["bad"]) == (0, 1, 2)
        assert 0 < first["seen"] < records[1]["seen"] <= 300

    def test_the_others_keep_their_order(self) -> None:
        whole = list(stream(Numbers(50)))
        assert list(stream(Numbers(50, bad={3, 4}))) == [item for item in whole if item not in ("3", "4")]

    def test_pictures_that_cannot_be_decoded_are_bad_too(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("image,caption\na.jpg,one\nb.jpg,two\nc.jpg,three\nd.jpg\n")
        (tmp_path / "a.jpg").write_bytes(jpeg())
        (tmp_path / "b.jpg").write_bytes(jpeg()[:200])
        records: list[dict] = []
        made = SampleStream([open_source(tmp_path / "t.csv")], epochs=1, log=records.append)
        assert [loaded.sample.captions for loaded in made] == [("one",)]
        assert {record["source"]: record["kind"] for record in records} == {
            f"t.csv:3 ({tmp_path / 'b.jpg'})": "truncated",
            f"t.csv:4 ({tmp_path / 'c.jpg'})": "not_found",
            "t.csv:5": "row",
        }

    def test_too_many_stop_the_stream(self) -> None:
        made = stream(Numbers(1000, bad=set(range(0, 1000, 10))), bad_share=0.05, bad_minimum=100)
        with pytest.raises(DataError) as caught:
            list(made)
        state = made.state()["health"]
        assert (state["seen"] >= 100, state["bad"] > 0.05 * state["seen"]) == (True, True)
        message = str(caught.value)
        assert message.startswith(
            f"{state['bad']} of {state['seen']} samples cannot be read, more than the allowed 5.00%"
        )
        assert message.count("\n  numbers:") == 3
        assert "made unreadable" in message

    def test_a_share_at_the_limit_is_allowed(self) -> None:
        assert len(list(stream(Numbers(1000, bad={5}), bad_share=0.01, bad_minimum=1000))) == 999
        ten = stream(Numbers(1000, bad=set(range(10))), bad_share=0.01, bad_minimum=1000)
        assert len(list(ten)) == 990
        with pytest.raises(DataError, match=r"11 of 1,000 samples cannot be read, more than the allowed 1\.00%"):
            list(stream(Numbers(1000, bad=set(range(11))), bad_share=0.01, bad_minimum=1000, shuffle=False, epochs=2))

    @pytest.mark.parametrize("epochs", [1, None])
    def test_nothing_but_bad_samples_ends_with_the_first_epoch(self, epochs) -> None:
        with pytest.raises(DataError, match=r"no sample can be read \(3 tried\)"):
            list(stream(Numbers(3, bad={0, 1, 2}), epochs=epochs))

    def test_one_shard_may_break_off_but_not_many(self) -> None:
        records: list[dict] = []
        items = list(stream(Parts([4] * 10, broken={3: 2}), log=records.append))
        assert len(items) == 38
        assert [(record["event"], record["source"]) for record in records] == [("broken_shard", "3")]
        with pytest.raises(DataError, match=r"2 of 10 shards are truncated, more than the allowed 1\.00%"):
            list(stream(Parts([4] * 10, broken={3: 2, 4: 0})))

    def test_shards_that_were_cut_off_when_opened_count(self, tmp_path: Path) -> None:
        paths = write_shards(tmp_path, [3, 2, 2])
        for path in paths[:2]:
            content = path.read_bytes()
            path.write_bytes(content[: content.rindex(b".json") + 520])
        records: list[dict] = []
        assert len(list(stream(open_source({"path": paths[1:]}), log=records.append))) == 3
        assert [record["source"] for record in records] == ["shard-001.tar"]
        with pytest.raises(DataError, match="2 of 3 shards are truncated"):
            stream(open_source({"path": paths}))

    def test_an_error_in_the_callers_code_is_not_a_bad_sample(self) -> None:
        def wrong(sample: Sample, epoch: int) -> str:
            raise ValueError("a mistake")

        with pytest.raises(ValueError, match="a mistake"):
            list(stream(Numbers(3), load=wrong, threads=2))

    def test_a_loader_may_refuse_a_sample(self) -> None:
        def choosy(sample: Sample, epoch: int) -> str:
            if sample.id == "1":
                raise PictureError("too_large", sample.place, "too large")
            return sample.id

        assert sorted(stream(Numbers(3), load=choosy)) == ["0", "2"]


class TestLoading:
    def test_pictures_are_decoded(self, tmp_path: Path) -> None:
        source = open_source({"path": write_shards(tmp_path, [4])})
        made = SampleStream([source], epochs=2)
        loaded = list(made)
        assert all(isinstance(item, Loaded) and item.picture.size == (8, 6) for item in loaded)
        assert [item.epoch for item in loaded] == [0] * 4 + [1] * 4

    def test_threads_do_not_change_the_order(self) -> None:
        def uneven(sample: Sample, epoch: int) -> str:
            time.sleep(0.002 * (int(sample.id) % 3))
            return f"{epoch}/{sample.id}"

        assert list(stream(Numbers(40), load=uneven, threads=5, epochs=2)) == list(
            stream(Numbers(40), load=uneven, epochs=2)
        )

    def test_read_ahead_is_limited_and_threads_end(self) -> None:
        begun: list[str] = []

        def note(sample: Sample, epoch: int) -> str:
            begun.append(sample.id)
            return sample.id

        before = threading.active_count()
        items = iter(stream(Numbers(1000), load=note, threads=2, ahead=5))
        next(items)
        time.sleep(0.05)
        assert 1 <= len(begun) <= 6
        items.close()
        deadline = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() == before

    def test_augmentation_can_be_drawn_from_source_and_epoch(self) -> None:
        def draw(sample: Sample, epoch: int) -> float:
            return float(np.random.default_rng([epoch, *sample.source.encode()]).random())

        first = list(stream(Numbers(10), load=draw, epochs=2))
        assert first == list(stream(Numbers(10), load=draw, epochs=2, threads=3))
        assert len(set(first)) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world_size": 2}, "rank 2 of 2: they are numbered from 0"),
        ({"worker": -1}, "worker -1 of 1: they are numbered from 0"),
        ({"seed": -1}, "a stream needs a source, a seed of 0 or more, and a window of 1 or more"),
        ({"sources": []}, "a stream needs a source, a seed of 0 or more, and a window of 1 or more"),
        ({"tail": "cut"}, "tail is 'keep', 'drop' or 'pad', not 'cut'"),
        ({"bad_share": 1.5}, "bad_share is a share from 0 to 1, not 1.5"),
        ({"world_size": 4, "epochs": None}, "3 samples cannot be divided among 4 ranks and workers"),
    ],
)
def test_arguments_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        SampleStream(**({"sources": [Numbers(3)]} | options))
    assert str(caught.value) == message
