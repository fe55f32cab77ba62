"""Supports: which key every entry is, against plain index arithmetic, and the dense maps they give."""

import pytest
import torch

from sightline.ops.support import Block, CrissCross, Global, Window, dense

SHAPES = [(1, 1), (1, 6), (5, 2), (4, 7)]


def window_keys(support, height, width, query):
    """Flat keys of a window; None outside."""
    w = -(-width // support.stride)
    centre = [query // w * support.stride, query % w * support.stride]
    steps = [(t - support.kernel_size // 2) * support.dilation for t in range(support.kernel_size)]
    places = [(centre[0] + a, centre[1] + b) for a in steps for b in steps]
    return [r * width + c if 0 <= r < height and 0 <= c < width else None for r, c in places]


def block_keys(support, height, width, query):
    side = support.kernel_size
    top, left = query // width // side * side, query % width // side * side
    places = [(top + a, left + b) for a in range(side) for b in range(side)]
    return [r * width + c if r < height and c < width else None for r, c in places]


def criss_cross_keys(support, height, width, query):
    row, col = query // width, query % width
    along = [row * width + c if c != col else None for c in range(width)]
    return [r * width + col for r in range(height)] + along


CASES = [
    (Window(3), window_keys),
    (Window(5, stride=2, dilation=2), window_keys),
    (Window(3, stride=3, border="zero"), window_keys),
    (Block(2), block_keys),
    (Block(3), block_keys),
    (CrissCross(), criss_cross_keys),
]


@pytest.mark.parametrize(("support", "keys"), CASES, ids=[str(support) for support, _ in CASES])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_targets_and_dense(support, keys, height, width):
    torch.manual_seed(0)
    rows, cols = support.query_grid(height, width)
    queries = torch.arange(rows * cols)
    expected = [keys(support, height, width, q) for q in range(rows * cols)]
    target = support.targets(height, width, queries)
    assert target.tolist() == [[-1 if key is None else key for key in one] for one in expected]
    picked = queries[[0, -1, rows * cols // 2]]
    assert torch.equal(support.targets(height, width, picked), target[picked])
    weights = torch.rand(2, 3, rows * cols, target.shape[1])
    got = dense(support, weights, queries, height, width)
    assert got.shape == (2, 3, rows * cols, height, width)
    for query, one in enumerate(expected):
        row = torch.zeros(2, 3, height * width)
        for entry, key in enumerate(one):
            if key is not None:
                row[:, :, key] += weights[:, :, query, entry]
        torch.testing.assert_close(got[:, :, query].flatten(2), row)


def test_reflected_entries_add_up():
    support = Window(5, border="reflect")
    weights = torch.rand(1, 1, 2, 25)
    got = dense(support, weights, torch.tensor([0, 1]), 1, 2)  # every tap falls on one of two pixels
    torch.testing.assert_close(got.sum((-2, -1)), weights.sum(-1))
    even = torch.arange(25) % 5 % 2 == 0  # column offsets -2, 0, 2
    torch.testing.assert_close(got[0, 0, 0, 0, 0], weights[0, 0, 0, even].sum())
    torch.testing.assert_close(got[0, 0, 1, 0, 1], weights[0, 0, 1, even].sum())


def test_global_keys_are_all_keys():
    support = Global()
    assert support.targets(2, 3, torch.tensor([4, 0])).tolist() == [list(range(6))] * 2
    weights = torch.rand(1, 2, 2, 6)
    torch.testing.assert_close(dense(support, weights, torch.tensor([4, 0]), 2, 3).flatten(3), weights)


@pytest.mark.parametrize(("height", "width", "grid"), [(5, 7, (2, 3)), (4, 2, (2, 1)), (1, 6, (1, 3))])
def test_pooled_keys(height, width, grid):
    support = Global(key_stride=(2, 2))
    assert support.query_grid(height, width) == (height, width)
    assert support.key_grid(height, width) == grid
    assert support.targets(height, width, torch.tensor([0])).tolist() == [list(range(grid[0] * grid[1]))]


def test_prefix_tokens_are_left_out_of_the_map():
    support = Global(prefix=2)
    weights = torch.rand(1, 1, 3, 2 + 6)
    got = dense(support, weights, torch.arange(3), 2, 3)
    torch.testing.assert_close(got.flatten(3), weights[..., 2:])
