"""Maps: stretched to 0 … 1, to a picture's size, and laid over it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from anytag.errors import UsageError
from anytag.pictures import overlay_heat_map, resize_heat_map
from anytag.pictures.heat_maps import to_heat_map

GRID = np.array([[0.0, 1.0], [0.5, 0.0]], np.float32)


class TestStretching:
    def test_by_hand(self):
        np.testing.assert_allclose(to_heat_map(np.array([[2.0, 4.0], [3.0, 2.0]])), GRID)

    def test_all_the_same_is_zero(self):
        np.testing.assert_array_equal(to_heat_map(np.full((2, 3), 0.7)), np.zeros((2, 3)))

    @given(arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)))
    def test_order_is_kept_between_zero_and_one(self, values):
        heat = to_heat_map(values)
        assert heat.min() == 0
        assert heat.max() in (0, 1)
        assert ((heat[0, 0] > heat) <= (values[0, 0] > values)).all()


class TestResizing:
    def test_nearest_repeats_cells(self):
        expected = [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0.5, 0.5, 0.5, 0, 0, 0], [0.5, 0.5, 0.5, 0, 0, 0]]
        np.testing.assert_array_equal(resize_heat_map(GRID, 6, 4, "nearest"), expected)

    def test_bilinear_blends_between_the_cells_middles(self):
        # Four columns of a row from 0 to 1: middles at 1/8, 3/8, 5/8, 7/8, the cells' at 1/4 and 3/4.
        row = resize_heat_map(np.array([[0.0, 1.0]], np.float32), 4, 1)
        np.testing.assert_allclose(row, [[0, 0.25, 0.75, 1]], atol=1e-6)

    def test_width_comes_before_height(self):
        assert resize_heat_map(GRID, 7, 3).shape == (3, 7)

    def test_unknown_resampling(self):
        with pytest.raises(UsageError, match=r"^unknown resampling 'magic'; use one of: nearest, bilinear$"):
            resize_heat_map(GRID, 2, 2, "magic")


class TestOverlay:
    def test_size_and_mode_are_the_picture_s_and_it_is_left_alone(self):
        picture = Image.new("RGB", (30, 20), "white")
        laid = overlay_heat_map(picture, GRID)
        assert (laid.size, laid.mode) == ((30, 20), "RGB")
        assert picture.getpixel((0, 0)) == (255, 255, 255)

    def test_the_hotter_the_brighter(self):
        laid = np.asarray(overlay_heat_map(Image.new("RGB", (20, 20), "gray"), GRID).convert("L"), int)
        cold, hot, warm = laid[2, 2], laid[2, 17], laid[17, 2]
        assert cold < warm < hot

    def test_opacity_is_the_share_of_the_colors(self):
        picture = Image.new("RGB", (2, 2), (100, 100, 100))
        assert overlay_heat_map(picture, GRID, 0).getpixel((0, 0)) == (100, 100, 100)
        # Cold is (20, 5, 70).
        assert overlay_heat_map(picture, GRID, 1).getpixel((0, 0)) == (20, 5, 70)
        assert overlay_heat_map(picture, GRID, 0.5).getpixel((0, 0)) == (60, 52, 85)

    @pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
    def test_opacity_out_of_range(self, opacity):
        with pytest.raises(UsageError, match=r"^opacity must lie between 0 and 1, not "):
            overlay_heat_map(Image.new("RGB", (2, 2)), GRID, opacity)
