"""Windows: every way to read a footprint against plain index arithmetic."""

import itertools

import pytest
import torch

from sightline.ops import window

SHAPES = [(1, 1), (1, 6), (5, 1), (2, 3), (7, 5)]
GEOMETRIES = [(1, 1, 1), (3, 1, 1), (3, 2, 1), (5, 1, 2), (3, 3, 2), (7, 2, 3)]


def bounce(index, size):
    """Walk back and forth between the edges until inside."""
    if size == 1:
        return 0
    while not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index


def source(position, tap, size, geometry, border):
    """Row (or column) that a tap of an output row (column) reads; None outside the image."""
    kernel_size, stride, dilation = geometry
    index = position * stride + (tap - kernel_size // 2) * dilation
    if border == "reflect":
        return bounce(index, size)
    return index if 0 <= index < size else None


def reads(height, width, geometry, border):
    """(output row, output column, tap, source row or None, source column or None) of every read."""
    kernel_size, stride, _ = geometry
    out = range(-(-height // stride)), range(-(-width // stride))
    for r, c, i, j in itertools.product(*out, range(kernel_size), range(kernel_size)):
        row, col = source(r, i, height, geometry, border), source(c, j, width, geometry, border)
        yield r, c, i * kernel_size + j, row, col


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_reflection_at_any_distance(size):
    index = torch.arange(-50, 51)
    assert window.reflect_index(index, size).tolist() == [bounce(i, size) for i in range(-50, 51)]


@pytest.mark.parametrize("border", ["zero", "reflect"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_shifted_reads_the_right_pixel(shape, geometry, border):
    x = torch.arange(1.0, 1 + 2 * shape[0] * shape[1]).reshape(1, 2, *shape)
    taps = torch.stack(list(window.shifted(x, *geometry, border)), dim=2)  # 1, 2, K*K, h, w
    assert taps.shape[3:] == window.output_size(*shape, geometry[1])
    for r, c, tap, row, col in reads(*shape, geometry, border):
        expected = [0.0, 0.0] if row is None or col is None else x[0, :, row, col].tolist()
        assert taps[0, :, tap, r, c].tolist() == expected


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_inside_marks_the_pixels_of_the_image(shape, geometry):
    got = window.inside(*shape, *geometry, torch.device("cpu"))
    for r, c, tap, row, col in reads(*shape, geometry, "zero"):
        assert got[tap, r, c].item() == (row is not None and col is not None)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_axis_taps_are_the_inverse_of_the_reads(size, geometry):
    tap, reads = window.axis_taps(size, *geometry, torch.device("cpu"))
    got = {(out, at): tap[out, at].item() for out, at in reads.nonzero().tolist()}
    places = itertools.product(range(-(-size // geometry[1])), range(geometry[0]))
    expected = {(out, source(out, i, size, geometry, "zero")): i for out, i in places}
    assert got == {key: i for key, i in expected.items() if key[1] is not None}


@pytest.mark.parametrize("border", ["exclude", "zero", "reflect"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_targets_and_gather(shape, geometry, border):
    height, width = shape
    h, w = window.output_size(height, width, geometry[1])
    queries = torch.arange(h * w).flip(0)
    target = window.targets(height, width, *geometry, border, queries)
    x = torch.rand(2, 3, height, width) + 1
    taken = window.gather(x, target)  # 2, 3, Q, K*K
    for r, c, tap, row, col in reads(height, width, geometry, border):
        at = h * w - 1 - (r * w + c)
        inside = row is not None and col is not None
        assert target[at, tap].item() == (row * width + col if inside else -1)
        torch.testing.assert_close(taken[:, :, at, tap], x[:, :, row, col] if inside else torch.zeros(2, 3))


def test_errors_quote_value_and_rule():
    for kernel_size in (0, 4, -3):
        with pytest.raises(ValueError, match=f"op: kernel_size must be odd and positive.*got {kernel_size}"):
            window.check_window("op", kernel_size, 1, 1)
    with pytest.raises(ValueError, match="at least 1; got stride=0, dilation=2"):
        window.check_window("op", 3, 0, 2)
