"""Geometry: which pixel lies in which cell, whatever the sizes; and how one grid shares out over another."""

import pytest
import torch

from sightline.explain import Geometry
from sightline.explain.geometry import between, stride_of


@pytest.mark.parametrize(
    ("image", "grid", "known", "stride"),
    [
        ((224, 224), (14, 14), [16], (16, 16)),
        ((97, 53), (7, 4), [16], (16, 16)),  # padded patches
        ((97, 53), (6, 3), [16], (16, 16)),  # patches cut off
        ((97, 53), (25, 14), [1, 2, 4], (4, 4)),
        ((97, 53), (24, 13), [1, 2, 4], (4, 4)),  # rounded down twice
        ((97, 53), (25, 14), [], (4, 4)),  # a net that states nothing
        ((3, 5), (1, 2), [1, 2, 4], (4, 4)),
        ((16, 16), (16, 16), [1, 2, 4], (1, 1)),
        ((1, 9), (1, 9), [], (1, 1)),
        ((30, 20), (10, 10), [], (3, 2)),
        (None, (4, 4), [8], (1, 1)),
    ],
)
def test_stride_from_sizes(image, grid, known, stride):
    assert stride_of(image, grid, known) == stride


def test_pixels_and_cells_agree():
    where = Geometry(7, 4, (16, 16), (97, 53), ("class",))
    for row in range(97):
        for col in range(53):
            r, c = where.cell(row, col)
            top, left, bottom, right = where.box(r, c)
            assert top <= row < bottom
            assert left <= col < right
            assert where.flat((row, col)) == 1 + r * 4 + c
    with pytest.raises(ValueError, match=r"\(97, 0\) lies outside the image of 97 rows"):
        where.cell(97, 0)
    with pytest.raises(ValueError, match="no 'distillation' token in this layer; its tokens are class"):
        where.flat("distillation")


def test_cells_that_are_no_squares():
    where, cells = Geometry(2, 3, (5, 2), (10, 6)), torch.arange(6.0).view(2, 3)
    large = where.over_image(cells)
    assert [large[row, col].item() for row, col in ((0, 1), (4, 2), (5, 2), (9, 5))] == [0, 1, 4, 5]


def test_maps_over_the_image():
    where = Geometry(2, 3, (4, 4), (9, 11))  # the last row of pixels lies beyond the cells
    cells = torch.arange(6.0).view(2, 3)
    large = where.over_image(cells)
    assert large.shape == (9, 11)
    for row in range(9):
        for col in range(11):
            assert large[row, col] == cells[where.cell(row, col)]
    smooth = where.over_image(cells[None], smooth=True)
    assert smooth.shape == (1, 9, 11)
    assert smooth[0, 0, 0] == 0
    assert smooth[0, 0, 7] == 1.375  # its centre lies 1.5 pixels behind that of the second cell, of 4 to the third
    assert smooth[0, 8, 10] == cells[1, 2]


@pytest.mark.parametrize("sizes", [((97, 53), 1, 4), ((97, 53), 4, 1), ((7, 5), 2, 4), ((1, 1), 4, 1)])
def test_shares_sum_to_one_and_follow_the_pixels(sizes):
    (height, width), have, want = sizes
    coarse = Geometry(-(-height // have), -(-width // have), (have, have), (height, width))
    fine = Geometry(-(-height // want), -(-width // want), (want, want), (height, width))
    rows, cols = between(coarse, fine)
    torch.testing.assert_close(rows.sum(1), torch.ones(coarse.rows))
    torch.testing.assert_close(cols.sum(1), torch.ones(coarse.cols))
    counts = torch.zeros(coarse.rows, fine.rows)
    for row in range(height):
        counts[row // have, row // want] += 1
    torch.testing.assert_close(rows, counts / counts.sum(1, keepdim=True))
