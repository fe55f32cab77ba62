"""criss_cross_attention against hand-written loops, properties, cost, errors."""

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops import criss_cross_attention
from sightline.ops.criss_cross_attention import CRISS_CROSS_ATTENTION
from sightline.ops.support import CrissCross, dense

IMAGES = ((1, 1), (1, 6), (5, 1), (2, 2), (3, 7), (5, 4))
VIDEOS = ((1, 1, 1), (1, 3, 2), (3, 1, 1), (2, 1, 5), (3, 2, 4), (2, 3, 3))


def operands(grid, batch=2, depth=3, width=2, dtype=torch.float64):
    """Random query, key and value on a grid (H, W) or (T, H, W); leaves that require gradients."""
    torch.manual_seed(0)
    shapes = [(batch, channels, *grid) for channels in (depth, depth, width)]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def cross(here, grid):
    """The positions that differ from here in at most one coordinate, as a set, so that here is in it once."""
    return {(*here[:axis], at, *here[axis + 1 :]) for axis in range(len(grid)) for at in range(grid[axis])}


def weights_by_hand(query, key, b, here):
    """{position: weight} over the cross of one query, in Python floats."""
    q = query[(b, slice(None), *here)].tolist()
    seen = cross(here, tuple(query.shape[2:]))
    products = {at: sum(x * y for x, y in zip(q, key[(b, slice(None), *at)].tolist(), strict=True)) for at in seen}
    total = sum(math.exp(product) for product in products.values())
    return {at: math.exp(product) / total for at, product in products.items()}


def by_hand(query, key, value):
    """The answer, and the weights spread over the whole grid (B, queries, keys)."""
    grid = tuple(query.shape[2:])
    answer = torch.zeros(value.shape, dtype=torch.float64)
    spread = torch.zeros(query.shape[0], *grid, *grid, dtype=torch.float64)
    for b in range(query.shape[0]):
        for here in itertools.product(*map(range, grid)):
            for at, weight in weights_by_hand(query, key, b, here).items():
                spread[(b, *here, *at)] = weight
                answer[(b, slice(None), *here)] += weight * value[(b, slice(None), *at)].detach()
    return answer, spread.reshape(query.shape[0], math.prod(grid), math.prod(grid))


@pytest.mark.parametrize("grid", IMAGES + VIDEOS)
def test_equals_loops(grid):
    x = operands(grid)
    torch.testing.assert_close(criss_cross_attention(*x), by_hand(*x)[0])


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (3, 1), (2, 3), (2, 1, 2), (2, 2, 2)])
def test_gradients(grid):
    x = operands(grid, batch=1)
    torch.autograd.gradcheck(criss_cross_attention, x)
    torch.autograd.gradcheck(CRISS_CROSS_ATTENTION.weights, x)


@pytest.mark.parametrize("grid", IMAGES)
def test_weights_of_chosen_queries_are_rows_of_the_dense_map(grid):
    height, width = grid
    x = operands(grid)
    expected = by_hand(*x)[1]
    for queries in (torch.arange(height * width), torch.tensor([height * width - 1, 0])):
        chosen = CRISS_CROSS_ATTENTION.weights(*x, queries=queries)
        assert chosen.shape == (2, 1, len(queries), height + width)
        spread = dense(CrissCross(), chosen, queries, height, width)
        torch.testing.assert_close(spread.flatten(3)[:, 0], expected[:, queries])


@pytest.mark.parametrize("grid", VIDEOS)
def test_entries_in_a_video_are_column_row_frames(grid):
    """The order that the op states, from the loops' weights; the query's own entries in row and frames weigh nothing."""
    frames, height, width = grid
    x = operands(grid)
    weights = CRISS_CROSS_ATTENTION.weights(*x)
    queries = list(itertools.product(*map(range, grid)))
    assert weights.shape == (2, 1, len(queries), height + width + frames)
    for b, (flat, (t, r, c)) in itertools.product(range(2), enumerate(queries)):
        by_position = weights_by_hand(x[0], x[1], b, (t, r, c))
        entries = [by_position[t, at, c] for at in range(height)]
        entries += [0.0 if at == c else by_position[t, r, at] for at in range(width)]
        entries += [0.0 if at == t else by_position[at, r, c] for at in range(frames)]
        torch.testing.assert_close(weights[b, 0, flat], torch.tensor(entries, dtype=torch.float64))
    some = torch.tensor([len(queries) - 1, 0])
    torch.testing.assert_close(CRISS_CROSS_ATTENTION.weights(*x, queries=some), weights[:, :, some])


@pytest.mark.parametrize("grid", IMAGES + VIDEOS)
def test_rows_sum_to_one_and_constant_attention_is_the_mean_of_the_cross(grid):
    query, key, value = operands(grid)
    total = CRISS_CROSS_ATTENTION.weights(query, key, value).sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))
    weights = CRISS_CROSS_ATTENTION.weights(query, torch.ones_like(key), value)
    live = weights[weights > 0]
    torch.testing.assert_close(live, torch.full_like(live, 1 / (sum(grid) - len(grid) + 1)))
    torch.testing.assert_close(criss_cross_attention(query, key, torch.ones_like(value)), torch.ones_like(value))


def test_identity_attention_returns_the_values():
    unit = torch.eye(6, dtype=torch.float64).reshape(1, 6, 2, 3)
    value = torch.randn(1, 2, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(criss_cross_attention(100 * unit, unit, value), value)


@pytest.mark.parametrize("grid", [(3, 5), (1, 4), (2, 3, 4)])
def test_axes_are_alike(grid):
    """Any order of the axes gives the same answer in that order; so does one frame of a video."""
    x = operands(grid)
    expected = criss_cross_attention(*x)
    for order in itertools.permutations(range(2, 2 + len(grid))):
        got = criss_cross_attention(*[t.permute(0, 1, *order) for t in x])
        torch.testing.assert_close(got, expected.permute(0, 1, *order))
    if len(grid) == 2:
        torch.testing.assert_close(criss_cross_attention(*[t.unsqueeze(2) for t in x]).squeeze(2), expected)


@pytest.mark.parametrize("grid", [(3, 4), (1, 5), (2, 2, 3)])
def test_pixels_outside_the_cross_get_zero_gradient(grid):
    query, key, value = operands(grid, batch=1)
    for here in itertools.product(*map(range, grid)):
        y = criss_cross_attention(query, key, value)[(0, slice(None), *here)].sum()
        for slope in torch.autograd.grad(y, (key, value)):
            reached = {tuple(at) for at in slope[0].abs().sum(0).nonzero().tolist()}
            assert reached == cross(here, grid)


@pytest.mark.parametrize("grid", [(3, 4), (2, 3, 2)])
def test_dtypes(grid):
    x = operands(grid, dtype=torch.float32)
    exact = criss_cross_attention(*[t.double() for t in x])
    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)):
        got = criss_cross_attention(*[t.to(dtype) for t in x])
        assert got.dtype == dtype
        assert (got.double() - exact).abs().max() <= bound * exact.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(criss_cross_attention(*x), exact.float())
    assert torch.isfinite(criss_cross_attention(*[1e3 * t for t in x])).all()


@pytest.mark.parametrize("grid", [(1, 1), (5, 3), (2, 5, 3)])
def test_cost_is_what_torch_counts(grid):
    """The reference multiplies the query's own key once a line; the cost counts it once."""
    x = operands(grid, depth=4, width=7)
    with FlopCounterMode(display=False) as counter:
        criss_cross_attention(*x)
    cost = CRISS_CROSS_ATTENTION.cost(*[t.to("meta") for t in x])
    positions, lines = 2 * math.prod(grid), len(grid)
    assert counter.get_total_flops() == 2 * (cost.macs + positions * (lines - 1) * (4 + 7))
    assert cost.macs == positions * len(cross((0,) * lines, grid)) * (4 + 7)
    assert cost.weights_stored == CRISS_CROSS_ATTENTION.weights(*x).numel()
    assert cost.bytes_moved == 8 * positions * (4 + 4 + 7 + 7)


ERRORS = {
    r"must be \(B, C, H, W\), or \(B, C, T, H, W\), all of one kind; got \(1, 2, 3\)": [(1, 2, 3)] * 3,
    r"all of one kind; got \(1, 2, 3, 4\), \(1, 2, 1, 3, 4\)": [(1, 2, 3, 4), (1, 2, 1, 3, 4), (1, 2, 3, 4)],
    r"query and key must have one shape, .* got query \(1, 2, 3, 4\), key \(1, 2, 4, 3\)": [
        (1, 2, 3, 4),
        (1, 2, 4, 3),
        (1, 2, 4, 3),
    ],
    r"key and value one batch and one grid; .* value \(1, 5, 3, 3\)": [(1, 2, 3, 4), (1, 2, 3, 4), (1, 5, 3, 3)],
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_quote_value_and_rule(message):
    x = [torch.zeros(shape) for shape in ERRORS[message]]
    for function in (criss_cross_attention, CRISS_CROSS_ATTENTION.weights):
        with pytest.raises(ValueError, match=message):
            function(*x)
