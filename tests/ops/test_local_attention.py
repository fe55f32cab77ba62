"""local_attention: loops in Python floats, properties of the formula, weights, cost, precision, errors."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from sightline.ops import local_attention, support, use_backend
from sightline.ops.local_attention import BACKENDS, LOCAL_ATTENTION

F64 = torch.float64
CASES = [  # rows, columns, K, stride, dilation, heads, D, E, p (channels of the row table; None: no tables), tables
    (1, 1, 3, 1, 1, 1, 2, 1, 1, 1),
    (1, 5, 3, 1, 1, 2, 3, 2, 1, 2),
    (4, 1, 5, 2, 1, 1, 3, 2, 2, 1),
    (3, 5, 3, 1, 1, 2, 2, 3, 1, 1),
    (5, 4, 3, 2, 1, 2, 4, 1, 2, 2),
    (5, 7, 3, 3, 2, 1, 1, 1, 0, 1),
    (4, 5, 5, 1, 2, 3, 2, 2, None, 0),
    (2, 3, 7, 1, 1, 2, 3, 2, 2, 2),
]


def operands(case, dtype=F64, batch=2):
    height, width, kernel_size, stride, dilation, heads, depth, out, part, tables = case
    torch.manual_seed(height * 100 + width)
    query = torch.randn(batch, heads * depth, -(-height // stride), -(-width // stride), dtype=dtype)
    key = torch.randn(batch, heads * depth, height, width, dtype=dtype)
    value = torch.randn(batch, heads * out, height, width, dtype=dtype)
    rows = cols = None
    if part is not None:
        rows = torch.randn(tables, part, kernel_size, dtype=dtype)
        cols = torch.randn(tables, depth - part, kernel_size, dtype=dtype)
    options = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation, "heads": heads}
    return (query, key, value, rows, cols), options


def willing(tensors, options):
    """Names of the backends that run these operands."""
    return [name for name, module in BACKENDS.items() if module.objection(*tensors, **options) is None]


def loops(tensors, *, kernel_size, stride, dilation, heads, border):
    """The formula, one query and tap at a time: the output, and the dense weights (B, N, queries, H, W)."""
    query, key, value, rows, cols = tensors
    (batch, channels, h, w), (height, width) = query.shape, key.shape[2:]
    depth, out = channels // heads, value.shape[1] // heads
    q, k, v = (x.permute(0, 2, 3, 1).tolist() for x in (query, key, value))
    tables = None if rows is None else [rows.expand(heads, -1, -1).tolist(), cols.expand(heads, -1, -1).tolist()]
    y = torch.zeros(batch, heads * out, h, w, dtype=F64)
    maps = torch.zeros(batch, heads, h * w, height, width, dtype=F64)
    for b in range(batch):
        for n in range(heads):
            for r in range(h):
                for c in range(w):
                    mine = q[b][r][c][n * depth : (n + 1) * depth]
                    taps = []
                    for i in range(kernel_size):
                        for j in range(kernel_size):
                            row = r * stride + (i - kernel_size // 2) * dilation
                            col = c * stride + (j - kernel_size // 2) * dilation
                            inside = 0 <= row < height and 0 <= col < width
                            if not inside and border == "exclude":
                                continue
                            logit = 0.0
                            for d in range(depth):
                                other = k[b][row][col][n * depth + d] if inside else 0.0
                                if tables is not None:
                                    part = len(tables[0][n])
                                    other += tables[0][n][d][i] if d < part else tables[1][n][d - part][j]
                                logit += mine[d] * other
                            taps.append((logit, row, col, inside))
                    total = sum(math.exp(logit) for logit, *_ in taps)
                    for logit, row, col, inside in taps:
                        if inside:
                            weight = math.exp(logit) / total
                            maps[b, n, r * w + c, row, col] += weight
                            for e in range(out):
                                y[b, n * out + e, r, c] += weight * v[b][row][col][n * out + e]
    return y, maps


@pytest.mark.parametrize("border", ["exclude", "zero"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_and_weights_agree_with_loops(case, border):
    tensors, options = operands(case)
    options |= {"border": border}
    expected, maps = loops(tensors, **options)
    for backend in willing(tensors, options):
        got = local_attention(*tensors, **options, backend=backend)
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)
    h, w = expected.shape[2:]
    queries = torch.tensor([h * w - 1, 0, h * w // 2])
    weights = LOCAL_ATTENTION.weights(*tensors, queries=queries, **options)
    torch.testing.assert_close(weights, LOCAL_ATTENTION.weights(*tensors, **options)[:, :, queries])
    where = support.Window(options["kernel_size"], options["stride"], options["dilation"], border)
    dense = support.dense(where, weights, queries, *case[:2])
    torch.testing.assert_close(dense, maps[:, :, queries], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("border", ["exclude", "zero"])
@pytest.mark.parametrize("case", [CASES[1], CASES[4], CASES[6]], ids=str)
def test_gradients(case, border):
    tensors, options = operands(case, batch=1)
    options |= {"border": border}
    tensors = tuple(None if t is None else t.requires_grad_() for t in tensors)
    for backend in willing(tensors, options):
        call = partial(local_attention, **options, backend=backend)
        assert torch.autograd.gradcheck(call, tensors, fast_mode=True)


@pytest.mark.parametrize("border", ["exclude", "zero"])
def test_rows_sum_to_one(border):
    tensors, options = operands(CASES[4])
    weights = LOCAL_ATTENTION.weights(*tensors, **options, border=border)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert weights.min() >= 0


@pytest.mark.parametrize("case", [CASES[3], CASES[4], CASES[7]], ids=str)
def test_transposing_image_and_window_transposes_the_answer(case):
    (query, key, value, rows, cols), options = operands(case)
    heads, part = options["heads"], rows.shape[1]

    def turned(x):
        """Transpose, and let the channels that met the row table meet the (swapped) column table."""
        return torch.roll(x.mT.unflatten(1, (heads, -1)), -part, dims=2).flatten(1, 2)

    expected = local_attention(query, key, value, rows, cols, **options).mT
    got = local_attention(turned(query), turned(key), value.mT, cols, rows, **options)
    torch.testing.assert_close(got, expected)


def test_gradient_is_zero_outside_the_window():
    query, key, value = (torch.randn(1, 4, 9, 8, dtype=F64, requires_grad=True) for _ in range(3))
    y = local_attention(query, key, value, kernel_size=3, dilation=2, heads=2)
    y[0, :, 4, 3].sum().backward()
    window = torch.zeros(9, 8, dtype=torch.bool)
    window[2:7:2, 1:6:2] = True
    own = torch.zeros(9, 8, dtype=torch.bool)
    own[4, 3] = True
    assert torch.equal(query.grad.abs().sum(1)[0] > 0, own)
    assert torch.equal(key.grad.abs().sum(1)[0] > 0, window)
    assert torch.equal(value.grad.abs().sum(1)[0] > 0, window)


@pytest.mark.parametrize("border", ["exclude", "zero"])
def test_translation_equivariance_in_the_interior(border):
    tensors, _ = operands((9, 8, 3, 1, 1, 2, 2, 2, 1, 2))
    query, key, value, rows, cols = tensors
    options = {"kernel_size": 3, "heads": 2, "border": border}
    y = local_attention(query, key, value, rows, cols, **options)
    moved = (torch.roll(x, (2, 1), (2, 3)) for x in (query, key, value))
    shifted = local_attention(*moved, rows, cols, **options)
    torch.testing.assert_close(shifted[:, :, 3:-1, 2:-1], y[:, :, 1:-3, 1:-2])


def test_identities():
    (query, key, value, rows, cols), _ = operands((5, 7, 3, 1, 1, 2, 2, 2, 1, 2))
    one = local_attention(query, key, value, kernel_size=1, heads=2)
    torch.testing.assert_close(one, value)  # a window of one position returns it
    constant = torch.full_like(value, 3.0)
    torch.testing.assert_close(local_attention(query, key, constant, rows, cols, kernel_size=3, heads=2), constant)
    flat = local_attention(torch.zeros_like(query), key, value, rows, cols, kernel_size=3, heads=2)
    torch.testing.assert_close(flat, F.avg_pool2d(value, 3, 1, 1, count_include_pad=False))  # equal logits average
    kept = local_attention(torch.zeros_like(query), key, value, rows, cols, kernel_size=3, heads=2, border="zero")
    torch.testing.assert_close(kept, F.avg_pool2d(value, 3, 1, 1))


def test_large_logits_stay_finite():
    (query, key, value, rows, cols), options = operands(CASES[4], torch.float32)
    y = local_attention(query * 1e4, key, value, rows, cols, **options)
    assert torch.isfinite(y).all()
    assert y.abs().max() <= value.abs().max()


def plain(query, key, value, kernel_size, heads):
    """The textbook way in one precision: unfold, product, softmax, sum; taps outside the image excluded."""
    b, _, h, w = query.shape
    outside = (
        F.unfold(torch.ones_like(key[:1, :1]), kernel_size, padding=kernel_size // 2).view(1, 1, 1, -1, h * w) == 0
    )
    k, v = (
        F.unfold(x, kernel_size, padding=kernel_size // 2).view(b, heads, -1, kernel_size**2, h * w)
        for x in (key, value)
    )
    logits = (query.view(b, heads, -1, 1, h * w) * k).sum(2, keepdim=True)
    return (logits.masked_fill(outside, float("-inf")).softmax(3) * v).sum(3).reshape(b, -1, h, w)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_error_is_at_most_twice_that_of_plain_low_precision(dtype, backend):
    torch.manual_seed(0)
    low = [torch.randn(2, 16, 9, 11).to(dtype) for _ in range(3)]
    if (objection := BACKENDS[backend].objection(*low, kernel_size=5, heads=2, border="exclude")) is not None:
        with pytest.raises(NotImplementedError, match=f"backend '{backend}' of local_attention: {objection[:20]}"):
            local_attention(*low, kernel_size=5, heads=2, backend=backend)
        return
    exact = plain(*(x.double() for x in low), 5, 2)
    got = local_attention(*low, kernel_size=5, heads=2, backend=backend)
    assert got.dtype == dtype
    error, allowed = ((y.double() - exact).abs() for y in (got, plain(*low, 5, 2)))
    assert error.max() <= 2 * allowed.max()
    assert error.mean() <= allowed.mean()


def test_cost_by_hand():
    sizes = (12, 4, 2), (12, 7, 4), (8, 7, 4)  # channels, rows and columns of query, key and value at stride 2
    query, key, value = (torch.empty(3, *size, device="meta", dtype=torch.bfloat16) for size in sizes)
    rows, cols = (torch.empty(2, 3, 5, device="meta", dtype=torch.bfloat16) for _ in range(2))
    positions = 3 * 4 * 2
    cost = LOCAL_ATTENTION.cost(query, key, value, kernel_size=5, heads=2, stride=2)
    assert cost.macs == positions * (25 * 12 + 25 * 8)
    assert cost.bytes_moved == 2 * (3 * 12 * 8 + 3 * 12 * 28 + 3 * 8 * 28 + positions * 8)
    assert cost.weights_stored == positions * 2 * 25
    relative = LOCAL_ATTENTION.cost(query, key, value, rows, cols, kernel_size=5, heads=2, stride=2)
    assert relative.macs - cost.macs == positions * (5 * 6 + 5 * 6)  # 6 channels meet 5 rows, 6 meet 5 columns
    assert relative.bytes_moved - cost.bytes_moved == 2 * 2 * 30


def test_printed_cost_identity():
    """The paper (section 3): at 128 channels a 19 x 19 attention costs about what a 3 x 3 convolution does."""
    x = torch.empty(1, 128, 56, 56, device="meta")
    convolution, projections = 9 * 128 * 128, 3 * 128 * 128
    per_position = LOCAL_ATTENTION.cost(x, x, x, kernel_size=19, heads=8).macs // (56 * 56) + projections
    assert abs(per_position / convolution - 1) < 0.05


def test_use_backend_and_unknown_backend():
    tensors, options = operands(CASES[3])
    with use_backend("reference"):
        y = local_attention(*tensors, **options)
    torch.testing.assert_close(y, local_attention(*tensors, **options, backend="reference"))
    with pytest.raises(ValueError, match=r"local_attention has no backend 'cuda'; it has: auto, .*reference"):
        local_attention(*tensors, **options, backend="cuda")


def test_errors_quote_value_and_rule():
    x, rows, cols = torch.zeros(1, 4, 5, 6), torch.zeros(2, 1, 3), torch.zeros(2, 1, 3)
    wrong = {
        "kernel_size must be odd and positive": ((x, x, x), {"kernel_size": 2}),
        "stride and dilation must be at least 1; got stride=0": ((x, x, x), {"kernel_size": 3, "stride": 0}),
        "border must be 'exclude' or 'zero'; got 'reflect'": ((x, x, x), {"kernel_size": 3, "border": "reflect"}),
        "heads must divide the channels; got heads=3": ((x, x, x), {"kernel_size": 3, "heads": 3}),
        r"must be \(B, C, H, W\); got \(4, 5, 6\)": ((x[0], x, x), {"kernel_size": 3}),
        "query and key must agree": ((x[:, :2], x, x), {"kernel_size": 3}),
        r"with stride 2 a \(5, 6\) key needs a query of \(3, 3\)": ((x, x, x), {"kernel_size": 3, "stride": 2}),
        "give both relative_rows and relative_cols": ((x, x, x, rows), {"kernel_size": 3, "heads": 2}),
        r"relative_cols must be \(heads or 1, channels, 3\)": (
            (x, x, x, rows, cols[:, :, :2]),
            {"kernel_size": 3, "heads": 2},
        ),
        "must share the 4 channels of a head; got 1 . 1": ((x, x, x, rows[:1], cols[:1]), {"kernel_size": 3}),
    }
    for message, (tensors, options) in wrong.items():
        with pytest.raises(ValueError, match=f"local_attention: .*{message}"):
            local_attention(*tensors, **options)
