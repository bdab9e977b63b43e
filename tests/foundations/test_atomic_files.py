"""Files that are there whole or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anytag.foundations.atomic_files import save_array, whole_file, write_text


def test_written_files_are_read_back_and_no_other_is_left(tmp_path):
    save_array(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert np.array_equal(np.load(tmp_path / "a.npy"), [[0, 1, 2], [3, 4, 5]])
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    save_array(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"requested and|No space left"):
        save_array(tmp_path / "a.npy", np.ones(1 << 16))
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.zeros(3))


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    write_text(tmp_path / "a.txt", "before")

    def fail_half_way() -> None:
        with whole_file(tmp_path / "a.txt") as part:
            part.write_text("half")
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        fail_half_way()
    assert (tmp_path / "a.txt").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_files_of_killed_processes_are_overwritten(tmp_path):
    (tmp_path / "a.txt.part").write_text("left by another, and longer than what is written now")
    write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_longest_names_and_names_that_are_not_utf_8_in_texts(tmp_path):
    longest = tmp_path / ("é" * 126 + "xyz")
    write_text(longest, '"\udce9"\n')
    assert [path.name for path in tmp_path.iterdir()] == [longest.name]
    assert json.loads(longest.read_text(encoding="utf-8")) == "\udce9"
