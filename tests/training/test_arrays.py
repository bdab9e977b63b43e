"""Arrays on disk, whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from anytag.training.arrays import save_array


def test_it_is_read_back_and_nothing_else_is_left(tmp_path):
    save_array(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert np.array_equal(np.load(tmp_path / "a.npy"), [[0, 1, 2], [3, 4, 5]])
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_full_disk_leaves_what_was_there(tmp_path):
    save_array(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"requested and|No space left"):
        save_array(tmp_path / "a.npy", np.ones(1 << 16))
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.zeros(3))
