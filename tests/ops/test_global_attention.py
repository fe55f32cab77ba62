"""global_attention against hand-written loops, its two backends against each other, properties, cost, errors."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops import global_attention
from sightline.ops.global_attention import GLOBAL_ATTENTION

GRIDS = ((1, 1), (1, 5), (4, 1), (2, 3), (5, 3))


def operands(grid, depth=3, value_depth=2, batch=2, heads=2, relative=True, dtype=torch.float64):
    """Random query, key, value and, when relative, tables for the grid; leaves that require gradients."""
    torch.manual_seed(0)
    tokens = grid[0] * grid[1]
    shapes = [(batch, heads, tokens, depth), (batch, heads, tokens, depth), (batch, heads, tokens, value_depth)]
    if relative:
        shapes += [(2 * grid[0] - 1, depth), (2 * grid[1] - 1, depth)]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def by_hand(query, key, value, rows=None, cols=None, grid=None, scale=None):
    """The formula, one number at a time, in Python floats."""
    q, k, v = query.tolist(), key.tolist(), value.tolist()
    rows, cols = (None if table is None else table.tolist() for table in (rows, cols))
    depth = query.shape[3]
    scale = 1 / math.sqrt(depth) if scale is None else scale
    answer = []
    for b in range(query.shape[0]):
        for n in range(query.shape[1]):
            for i in range(query.shape[2]):
                logits = []
                for j in range(key.shape[2]):
                    seen = list(k[b][n][j])
                    if rows is not None:
                        down = j // grid[1] - i // grid[1]
                        right = j % grid[1] - i % grid[1]
                        seen = [
                            seen[d] + rows[down + grid[0] - 1][d] + cols[right + grid[1] - 1][d] for d in range(depth)
                        ]
                    logits.append(scale * sum(q[b][n][i][d] * seen[d] for d in range(depth)))
                exponentials = [math.exp(logit) for logit in logits]
                weight = [one / sum(exponentials) for one in exponentials]
                answer.append([sum(w * v[b][n][j][e] for j, w in enumerate(weight)) for e in range(value.shape[3])])
    return torch.tensor(answer, dtype=torch.float64).reshape(*query.shape[:3], value.shape[3])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("scale", [None, 0.7])
def test_relative_equals_loops(grid, scale):
    x = operands(grid)
    torch.testing.assert_close(global_attention(*x, grid=grid, scale=scale), by_hand(*x, grid, scale))


@pytest.mark.parametrize("backend", ["sdpa", "reference"])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (7, 7), (3, 11), (13, 1)])
def test_content_equals_loops(backend, queries, keys):
    torch.manual_seed(0)
    shapes = ((2, 3, queries, 5), (2, 3, keys, 5), (2, 3, keys, 4))
    query, key, value = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    got = global_attention(query, key, value, backend=backend)
    torch.testing.assert_close(got, by_hand(query, key, value))


@pytest.mark.parametrize("grid", [(2, 3), (3, 1)])
def test_gradients(grid):
    x = operands(grid, batch=1)
    torch.autograd.gradcheck(lambda *x: global_attention(*x, grid=grid), x)
    torch.autograd.gradcheck(lambda *x: global_attention(*x, backend="sdpa"), x[:3])
    torch.autograd.gradcheck(lambda *x: GLOBAL_ATTENTION.weights(*x, grid=grid), x)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_fused_kernel_agrees_with_reference(dtype, bound):
    x = operands((5, 7), depth=16, value_depth=16, relative=False, dtype=dtype)
    exact = global_attention(*[t.double() for t in x], backend="reference")
    for backend in ("sdpa", "reference"):
        y = global_attention(*x, backend=backend)
        assert y.dtype == dtype
        assert (y.double() - exact).abs().max() <= bound
    if dtype == torch.float64:
        slopes = [torch.autograd.grad(global_attention(*x, backend=b).square().sum(), x) for b in ("sdpa", "reference")]
        torch.testing.assert_close(*slopes)


def test_auto_takes_the_fused_kernel_unless_it_objects(monkeypatch):
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *x, **o: calls.append(1) or fused(*x, **o)
    )
    x = operands((2, 3))
    global_attention(*x[:3])
    assert len(calls) == 1
    global_attention(*x, grid=(2, 3))
    global_attention(x[0], x[1], x[2].float())
    assert len(calls) == 1
    with pytest.raises(NotImplementedError, match="a dense map of 36 pairs with relative terms is quicker"):
        global_attention(*x, grid=(2, 3), backend="sdpa")
    with pytest.raises(
        NotImplementedError, match=r"must have one dtype; got torch.float64, torch.float64, torch.float32"
    ):
        global_attention(x[0], x[1], x[2].float(), backend="sdpa")


@pytest.mark.parametrize("grid", GRIDS)
def test_weights_give_the_answer_and_sum_to_one(grid):
    x = operands(grid)
    weights = GLOBAL_ATTENTION.weights(*x, grid=grid)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    torch.testing.assert_close(weights @ x[2], global_attention(*x, grid=grid))
    some = torch.tensor([grid[0] * grid[1] - 1, 0])
    torch.testing.assert_close(GLOBAL_ATTENTION.weights(*x, queries=some, grid=grid), weights[:, :, some])


def test_without_positions_tokens_have_no_order():
    """A permutation of the keys and values changes nothing, one of the queries permutes the answer."""
    query, key, value = operands((3, 4), relative=False)
    order = torch.randperm(12)
    expected = global_attention(query, key, value)
    torch.testing.assert_close(global_attention(query, key[:, :, order], value[:, :, order]), expected)
    torch.testing.assert_close(global_attention(query[:, :, order], key, value), expected[:, :, order])


def test_relative_logits_depend_on_offsets_alone():
    """Equal queries, silent keys: two queries give equal odds to keys at equal offsets."""
    grid = (4, 5)
    query, key, value, rows, cols = operands(grid, batch=1, heads=1)
    query = query[:, :, :1].expand_as(query)
    logits = GLOBAL_ATTENTION.weights(query, key * 0, value, rows, cols, grid=grid).log()[0, 0]
    logits = logits.reshape(4, 5, 4, 5)  # query row, query column, key row, key column
    here, there = logits[0, 1, :3, :4], logits[1, 2, 1:, 1:]  # the same offsets seen from two queries
    torch.testing.assert_close(here - here[0, 0], there - there[0, 0])


def test_transposing_the_grid_swaps_the_tables():
    grid = (3, 5)
    query, key, value, rows, cols = operands(grid)
    turned = [t.unflatten(2, grid).transpose(2, 3).flatten(2, 3) for t in (query, key, value)]
    got = global_attention(*turned, cols, rows, grid=(5, 3))
    expected = global_attention(query, key, value, rows, cols, grid=grid)
    torch.testing.assert_close(got, expected.unflatten(2, grid).transpose(2, 3).flatten(2, 3))


def test_identity_weights_return_the_values():
    value = torch.randn(1, 1, 6, 2, dtype=torch.float64)
    eye = 100 * torch.eye(6, dtype=torch.float64)[None, None]
    for backend in ("sdpa", "reference"):
        torch.testing.assert_close(global_attention(eye, eye, value, backend=backend), value)


@pytest.mark.parametrize("relative", [False, True])
def test_cost_is_what_torch_counts(relative):
    x = operands((3, 5), relative=relative)
    with FlopCounterMode(display=False) as counter:
        global_attention(*x, grid=(3, 5), backend="reference")
    cost = GLOBAL_ATTENTION.cost(*[t.to("meta") for t in x], grid=(3, 5))
    assert cost.macs * 2 == counter.get_total_flops()
    assert cost.macs == 2 * 2 * 15 * (15 * (3 + 2) + (3 + 5) * 3 * relative)
    assert cost.weights_stored == 2 * 2 * 15 * 15
    assert cost.bytes_moved == 8 * (2 * 2 * 15 * (3 + 3 + 2 + 2) + (5 + 9) * 3 * relative)


@pytest.mark.parametrize("relative", [False, True])
def test_compiles_and_exports(relative):
    class Call(torch.nn.Module):
        def forward(self, *x):
            return global_attention(*x, grid=(2, 3))

    x = tuple(operands((2, 3), relative=relative))
    expected = Call()(*x)
    torch.testing.assert_close(torch.compile(Call(), fullgraph=True, backend="aot_eager")(*x), expected)
    torch.testing.assert_close(torch.export.export(Call(), x).module()(*x), expected)


def test_autocast_leaves_the_operands_alone():
    x = operands((2, 3), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(global_attention(*x, grid=(2, 3)), global_attention(*x, grid=(2, 3)))
        content = global_attention(*x[:3])
    assert content.dtype == torch.float32
    torch.testing.assert_close(content, global_attention(*x[:3]))


ERRORS = {
    "must be .batch, heads, tokens, channels.; got .1, 2, 6., .1, 2, 6, 3., .1, 2, 6, 3.": ((1, 2, 6), {}),
    "query and key in channels.* got query .1, 2, 6, 4., key .1, 2, 6, 3.": ((1, 2, 6, 4), {}),
    "the 2 x 4 grid needs 8 queries and keys; got 6 and 6": ((1, 2, 6, 3), {"grid": (2, 4), "tables": (3, 7)}),
    r"relative terms need the grid of the tokens, grid=.rows, columns.": ((1, 2, 6, 3), {"tables": (3, 5)}),
    r"relative_cols must be .5, 3., one embedding an offset -2..2; got .7, 3.": (
        (1, 2, 6, 3),
        {"grid": (2, 3), "tables": (3, 7)},
    ),
    "give both relative_rows and relative_cols, or neither": ((1, 2, 6, 3), {"grid": (2, 3), "tables": (3,)}),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_quote_value_and_rule(message):
    shape, options = ERRORS[message]
    tables = [torch.zeros(size, 3) for size in options.pop("tables", ())] if "tables" in options else []
    with pytest.raises(ValueError, match=message):
        global_attention(torch.zeros(shape), torch.zeros(1, 2, 6, 3), torch.zeros(1, 2, 6, 3), *tables, **options)


def test_no_keys_is_an_error():
    with pytest.raises(ValueError, match="needs at least one key of at least one channel"):
        global_attention(torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 0, 3), torch.zeros(1, 1, 0, 3))
