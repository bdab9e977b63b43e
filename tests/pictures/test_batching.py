"""Order, laziness and failures of batches."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import encode, noise
from PIL import Image

from anytag.errors import UsageError
from anytag.pictures import Batch, LoadedPicture, Preprocessing, read_picture, to_pixels
from anytag.recognition import Failure


class TestBatches:
    @staticmethod
    def array(value: int) -> np.ndarray:
        return np.full((2, 3, 3), value, np.uint8)

    def test_order_with_failures_in_between(self, tmp_path):
        good = tmp_path / "good.png"
        good.write_bytes(encode(Image.fromarray(noise()), "PNG"))
        text = tmp_path / "text.jpg"
        text.write_text("text")
        sources = [good, tmp_path / "gone.jpg", self.array(7), ("upload", b""), ("named", self.array(8)), str(text)]
        batches = list(Preprocessing(8).batches(sources, 4))
        assert [len(batch.items) for batch in batches] == [4, 2]
        first, second = batches
        assert first.items[0] == LoadedPicture(str(good), 64, 48)
        assert first.items[2] == LoadedPicture("<array 3>", 3, 2, ("blank",))
        assert [(f.path, f.kind) for f in first.failures] == [
            (str(tmp_path / "gone.jpg"), "not_found"),
            ("upload", "empty"),
        ]
        assert first.paths == [str(good), "<array 3>"]
        assert (first.pixels.shape, first.pixels.dtype) == ((2, 8, 8, 3), np.uint8)
        np.testing.assert_array_equal(first.pixels[0], to_pixels(read_picture(good), 8))
        assert (first.pixels[1] == 7).all()
        assert [type(item) for item in second.items] == [LoadedPicture, Failure]
        assert second.items[0].path == "named"
        assert (second.pixels == 8).all()
        merged = list(first.in_order(["one", "two"]))
        assert merged == ["one", first.items[1], "two", first.items[3]]

    def test_in_order_wants_one_result_a_row(self):
        (batch,) = Preprocessing(4).batches([self.array(1), b"", self.array(2)], 8)
        with pytest.raises(ValueError, match="fewer"):
            list(batch.in_order(["one"]))
        with pytest.raises(ValueError, match="more"):
            list(batch.in_order(["one", "two", "three"]))

    def test_all_bad_and_none(self):
        (batch,) = Preprocessing(4).batches([b"", b"x"], 8)
        assert batch.pixels.shape == (0, 4, 4, 3)
        assert [failure.kind for failure in batch.failures] == ["empty", "not_a_picture"]
        assert list(Preprocessing(4).batches([], 8)) == []

    @pytest.mark.parametrize("workers", [1, 4])
    def test_a_batch_equals_singles(self, tmp_path, workers):
        paths = []
        for number in range(12):
            paths.append(tmp_path / f"{number}.jpg")
            paths[-1].write_bytes(encode(Image.fromarray(noise(30 + number, 40, number)), "JPEG"))
        rows = np.concatenate([batch.pixels for batch in Preprocessing(24).batches(paths, 5, workers)])
        np.testing.assert_array_equal(rows, [to_pixels(read_picture(path), 24) for path in paths])

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.one_of(st.none(), st.integers(0, 255)), max_size=30), st.integers(1, 7), st.integers(1, 4))
    def test_any_mix_keeps_its_order(self, values, batch_size, workers):
        sources = [b"" if value is None else self.array(value) for value in values]
        batches = list(Preprocessing(2).batches(sources, batch_size, workers))
        found = [item for batch in batches for item in batch.in_order(int(row[0, 0, 0]) for row in batch.pixels)]
        assert [None if isinstance(item, Failure) else item for item in found] == values
        assert all(len(batch.items) == batch_size for batch in batches[:-1])

    def test_endless_input_is_drawn_only_as_needed(self):
        drawn = 0

        def endless():
            nonlocal drawn
            for number in itertools.count():
                drawn += 1
                yield self.array(number % 256)

        batches = Preprocessing(4).batches(endless(), 8, 2)
        assert drawn == 0
        for number in range(5):
            batch = next(batches)
            assert (batch.pixels[:, 0, 0, 0] == np.arange(8 * number, 8 * number + 8)).all()
            assert drawn <= 8 * (number + 1) + 8
        batches.close()
        assert isinstance(batch, Batch)

    def test_closing_ends_the_threads(self):
        others = set(threading.enumerate())  # Streams that other tests dropped may not have been collected yet.
        batches = Preprocessing(4).batches((self.array(1) for _ in itertools.count()), 8, 3)
        next(batches)
        own = set(threading.enumerate()) - others
        assert any(thread.name.startswith("anytag-pictures") for thread in own)
        batches.close()
        for thread in own:
            thread.join(5)
            assert not thread.is_alive()

    def test_interrupt_reaches_the_consumer(self):
        def interrupted():
            yield self.array(1)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            next(Preprocessing(4).batches(interrupted(), 8))

    def test_bad_numbers_are_told_at_once(self):
        for options in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
            with pytest.raises(UsageError, match="must be 1 or more, not 0"):
                Preprocessing(options[0]).batches([], *options[1:])

    def test_unusable_sources_are_not_passed_over(self):
        with pytest.raises(UsageError):
            list(Preprocessing(4).batches([3], 8))


def test_sources_that_are_not_ready_hold_nothing_back():
    """Three pictures that come one by one, the third after a pause, and then two at once."""

    class Slow:
        def __init__(self):
            self.left = [2, 1, 0, 1, 0]
            self.asked = 0

        def __iter__(self):
            return self

        def __next__(self):
            if self.asked == 5:
                raise StopIteration
            self.asked += 1
            return Image.new("RGB", (4, 4))

        def ready(self):
            return self.asked == 5 or self.left[self.asked - 1] > 0

    assert [len(batch.items) for batch in Preprocessing(4).batches(Slow(), 8, workers=1)] == [3, 2]
