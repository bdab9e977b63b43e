"""A row costs bytes, not objects."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest
from data_files import just_id

from anytag.datasets import SampleStream, open_source

ROWS = 200_000


def write_csv(path: Path) -> None:
    rows = (
        f'pictures/{number:09d}.jpg,"A caption, number {number}, of some words.",dog|run\n' for number in range(ROWS)
    )
    with path.open("w") as handle:
        handle.write("image,caption,tags\n")
        handle.writelines(rows)


def _record(number: int) -> str:
    return f'{{"image": "{number}.jpg", "captions": ["A \\"caption\\", number {number}."], "tags": ["dog"]}}'


def write_lines(path: Path) -> None:
    with path.open("w") as handle:
        handle.writelines(_record(number) + "\n" for number in range(ROWS))


def write_list(path: Path) -> None:
    with path.open("w") as handle:
        handle.write("[")
        handle.writelines(_record(number) + ",\n" for number in range(ROWS - 1))
        handle.write(_record(ROWS - 1) + "]")


@pytest.mark.parametrize(("name", "write"), [("t.csv", write_csv), ("r.jsonl", write_lines), ("r.json", write_list)])
def test_many_rows_take_little_memory(tmp_path: Path, name: str, write) -> None:
    write(tmp_path / name)
    open_source(tmp_path / name)  # What is imported on the way is not the rows' memory.
    tracemalloc.start()
    try:
        stream = SampleStream([open_source(tmp_path / name)], load=just_id, threads=0)
        first = list(islice(stream, 500))
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        list(islice(stream, 2000))
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(set(first)) == 500
    assert stream.count == ROWS
    assert peak < 40e6
    # Where it begins and ends, and its place in the epoch's order: 8 + 8 + 4 bytes a row at the most.
    assert after < 24 * ROWS
    assert after - before < 100_000
