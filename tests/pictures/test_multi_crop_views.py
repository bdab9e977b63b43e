"""The four corners of a picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from anytag.pictures.multi_crop import CORNERS, corner


def test_the_four_corners_overlap_and_cover_the_picture():
    pixels = np.arange(100, dtype=np.uint8).reshape(10, 10)
    crops = [np.array(corner(Image.fromarray(pixels), number)) for number in range(CORNERS)]
    assert [crop.shape for crop in crops] == [(6, 6)] * 4
    assert [int(crop[0, 0]) for crop in crops] == [0, 40, 4, 44]
    assert [int(crop[-1, -1]) for crop in crops] == [55, 95, 59, 99]
    assert set(np.concatenate([crop.ravel() for crop in crops])) == set(range(100))


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (2, 3)])
def test_the_narrowest_picture_has_corners(size):
    for number in range(CORNERS):
        width, height = corner(Image.new("RGB", size), number).size
        assert 1 <= width <= size[0]
        assert 1 <= height <= size[1]
