"""local_relation: loops in Python floats, properties of the formula, weights, cost, precision, errors."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from sightline.ops import local_relation, support
from sightline.ops.local_relation import BACKENDS, LOCAL_RELATION

F64 = torch.float64
SIMILARITIES = {
    "multiply": lambda q, k: q * k,
    "squared_difference": lambda q, k: -((q - k) ** 2),
    "absolute_difference": lambda q, k: -abs(q - k),
}
CASES = [  # rows, columns, K, stride, dilation, groups, channels a group, order, geometry
    (1, 1, 3, 1, 1, 1, 2, "contiguous", True),
    (1, 6, 3, 1, 1, 2, 1, "interleaved", True),
    (5, 1, 5, 2, 1, 3, 2, "contiguous", False),
    (3, 4, 3, 1, 1, 2, 3, "interleaved", True),
    (5, 7, 3, 2, 2, 2, 2, "contiguous", True),
    (4, 5, 7, 3, 1, 1, 3, "interleaved", False),
]


def made(case, dtype=F64, batch=2):
    height, width, kernel_size, stride, dilation, groups, share, order, prior = case
    torch.manual_seed(height * 100 + width)
    query = torch.randn(batch, groups, -(-height // stride), -(-width // stride), dtype=dtype)
    key = torch.randn(batch, groups, height, width, dtype=dtype)
    value = torch.randn(batch, groups * share, height, width, dtype=dtype)
    geometry = torch.randn(groups, kernel_size, kernel_size, dtype=dtype) if prior else None
    options = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation, "order": order}
    return (query, key, value, geometry), options


def willing(tensors, options):
    """Names of the backends that run these operands."""
    return [name for name, module in BACKENDS.items() if module.objection(*tensors, **options) is None]


def loops(tensors, *, kernel_size, stride, dilation, order, similarity, border, share=None):
    """The formula, one query and tap at a time: the output, and the dense weights (B, G, queries, H, W)."""
    query, key, value, geometry = tensors
    (batch, groups, h, w), (height, width), channels = query.shape, key.shape[2:], value.shape[1]
    q, k, v = query.tolist(), key.tolist(), value.tolist()
    prior = None if geometry is None else geometry.tolist()
    share = channels // groups if share is None else share
    members = {
        g: [c for c in range(channels) if (c // share if order == "contiguous" else c % groups) == g]
        for g in range(groups)
    }
    y = torch.zeros(batch, channels, h, w, dtype=F64)
    maps = torch.zeros(batch, groups, h * w, height, width, dtype=F64)
    for b in range(batch):
        for g in range(groups):
            for r in range(h):
                for c in range(w):
                    taps = []
                    for i in range(kernel_size):
                        for j in range(kernel_size):
                            row = r * stride + (i - kernel_size // 2) * dilation
                            col = c * stride + (j - kernel_size // 2) * dilation
                            inside = 0 <= row < height and 0 <= col < width
                            if not inside and border == "exclude":
                                continue
                            logit = SIMILARITIES[similarity](q[b][g][r][c], k[b][g][row][col] if inside else 0.0)
                            logit += 0.0 if prior is None else prior[g][i][j]
                            taps.append((logit, row, col, inside))
                    total = sum(math.exp(logit) for logit, *_ in taps)
                    for logit, row, col, inside in taps:
                        if inside:
                            weight = math.exp(logit) / total
                            maps[b, g, r * w + c, row, col] += weight
                            for channel in members[g]:
                                y[b, channel, r, c] += weight * v[b][channel][row][col]
    return y, maps


@pytest.mark.parametrize("border", ["exclude", "zero"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_and_weights_agree_with_loops(case, similarity, border):
    tensors, options = made(case)
    options |= {"similarity": similarity, "border": border}
    expected, maps = loops(tensors, **options)
    flat = (*tensors[:3], None if tensors[3] is None else tensors[3].flatten(1))
    for backend in willing(tensors, options):
        for operands in (tensors, flat):
            got = local_relation(*operands, **options, backend=backend)
            torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)
    h, w = expected.shape[2:]
    queries = torch.tensor([h * w - 1, 0, h * w // 2])
    weights = LOCAL_RELATION.weights(*tensors, queries=queries, **options)
    torch.testing.assert_close(weights, LOCAL_RELATION.weights(*tensors, **options)[:, :, queries])
    where = support.Window(options["kernel_size"], options["stride"], options["dilation"], border)
    dense = support.dense(where, weights, queries, *case[:2])
    torch.testing.assert_close(dense, maps[:, :, queries], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("order", ["contiguous", "interleaved"])
def test_groups_that_do_not_divide_the_channels(order):
    """7 channels, 3 to a group: groups of 3, 3 and 1, or of 3, 2 and 2."""
    tensors, options = made((4, 5, 3, 1, 1, 3, 3, order, True), batch=1)
    tensors = (tensors[0], tensors[1], tensors[2][:, :7], tensors[3])
    options |= {"similarity": "multiply", "border": "exclude"}
    expected, _ = loops(tensors, **options, share=3)
    for backend in willing(tensors, options):
        got = local_relation(*tensors, **options, share=3, backend=backend)
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)
    assert LOCAL_RELATION.cost(*tensors, **options, share=3).macs == 4 * 5 * 9 * (3 + 7)


@pytest.mark.parametrize("border", ["exclude", "zero"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_gradients(case, similarity, border):
    tensors, options = made(case, batch=1)
    options |= {"similarity": similarity, "border": border}
    tensors = tuple(t.requires_grad_() for t in tensors)
    for backend in willing(tensors, options):
        assert torch.autograd.gradcheck(partial(local_relation, **options, backend=backend), tensors, fast_mode=True)


@pytest.mark.parametrize("border", ["exclude", "zero"])
def test_rows_sum_to_one(border):
    tensors, options = made(CASES[4])
    weights = LOCAL_RELATION.weights(*tensors, **options, border=border)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert weights.min() >= 0


@pytest.mark.parametrize("case", [CASES[3], CASES[4]], ids=str)
def test_transposing_image_and_window_transposes_the_answer(case):
    (query, key, value, geometry), options = made(case)
    expected = local_relation(query, key, value, geometry, **options).mT
    torch.testing.assert_close(local_relation(query.mT, key.mT, value.mT, geometry.mT, **options), expected)


def test_orders_differ_by_a_permutation_of_the_channels():
    (query, key, value, geometry), _ = made(CASES[3])
    turns = (
        torch.arange(6).view(3, 2).T.flatten()
    )  # contiguous channel c stands where interleaved channel turns[c] does
    expected = local_relation(query, key, value[:, turns], geometry, kernel_size=3, order="contiguous")
    got = local_relation(query, key, value, geometry, kernel_size=3, order="interleaved")
    torch.testing.assert_close(got[:, turns], expected)


def test_gradient_is_zero_outside_the_window():
    query, key, value = (torch.randn(1, 2, 9, 8, dtype=F64, requires_grad=True) for _ in range(3))
    local_relation(query, key, value, kernel_size=3, dilation=2)[0, :, 4, 3].sum().backward()
    window = torch.zeros(9, 8, dtype=torch.bool)
    window[2:7:2, 1:6:2] = True
    own = torch.zeros(9, 8, dtype=torch.bool)
    own[4, 3] = True
    assert torch.equal(query.grad.abs().sum(1)[0] > 0, own)
    assert torch.equal(key.grad.abs().sum(1)[0] > 0, window)
    assert torch.equal(value.grad.abs().sum(1)[0] > 0, window)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_translation_equivariance_in_the_interior(similarity):
    (query, key, value, geometry), _ = made((9, 8, 3, 1, 1, 2, 2, "contiguous", True))
    y = local_relation(query, key, value, geometry, kernel_size=3, similarity=similarity)
    moved = (torch.roll(x, (2, 1), (2, 3)) for x in (query, key, value))
    shifted = local_relation(*moved, geometry, kernel_size=3, similarity=similarity)
    torch.testing.assert_close(shifted[:, :, 3:-1, 2:-1], y[:, :, 1:-3, 1:-2])


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_identities(similarity):
    (query, key, value, geometry), _ = made((5, 7, 3, 1, 1, 2, 2, "contiguous", True))
    options = {"similarity": similarity}
    torch.testing.assert_close(local_relation(query, key, value, kernel_size=1, **options), value)
    constant = torch.full_like(value, 3.0)
    torch.testing.assert_close(local_relation(query, key, constant, geometry, kernel_size=3, **options), constant)
    same = torch.ones_like(query)
    flat = local_relation(same, same, value, kernel_size=3, **options)  # equal logits average
    torch.testing.assert_close(flat, F.avg_pool2d(value, 3, 1, 1, count_include_pad=False))
    peaked = torch.full_like(geometry, -1e4)
    peaked[:, 0, 1] = 0  # the pixel above
    above = local_relation(same, same, value, peaked, kernel_size=3, **options)
    torch.testing.assert_close(above[:, :, 1:], value[:, :, :-1])


def test_a_constant_added_to_the_prior_changes_nothing():
    (query, key, value, geometry), options = made(CASES[4])
    expected = local_relation(query, key, value, geometry, **options)
    torch.testing.assert_close(local_relation(query, key, value, geometry + 5, **options), expected)


def plain(query, key, value, kernel_size):
    """The textbook way in one precision: unfold, product, softmax, sum; taps outside the image excluded, contiguous groups."""
    b, groups, h, w = query.shape
    outside = (
        F.unfold(torch.ones_like(key[:1, :1]), kernel_size, padding=kernel_size // 2).view(1, 1, 1, -1, h * w) == 0
    )
    unfolded = (F.unfold(x, kernel_size, padding=kernel_size // 2) for x in (key, value))
    k, v = (x.view(b, groups, -1, kernel_size**2, h * w) for x in unfolded)
    logits = query.view(b, groups, 1, 1, h * w) * k
    return (logits.masked_fill(outside, float("-inf")).softmax(3) * v).sum(3).reshape(b, -1, h, w)


# the kernels, held to the same in test_cpu_local_relation.py, do not take float16
LOW = [(dtype, backend) for dtype in (torch.bfloat16, torch.float16) for backend in ("dense", "reference")]


@pytest.mark.parametrize(("dtype", "backend"), LOW)
def test_low_precision_error_is_at_most_twice_that_of_plain_low_precision(dtype, backend):
    torch.manual_seed(0)
    low = [torch.randn(2, channels, 9, 11).to(dtype) for channels in (4, 4, 16)]
    exact = plain(*(x.double() for x in low), 5)
    got = local_relation(*low, kernel_size=5, backend=backend)
    assert got.dtype == dtype
    error, allowed = ((y.double() - exact).abs() for y in (got, plain(*low, 5)))
    assert error.max() <= 2 * allowed.max()
    assert error.mean() <= allowed.mean()


def test_cost_by_hand():
    sizes = (3, 4, 2), (3, 7, 4), (12, 7, 4)  # channels, rows and columns of query, key and value at stride 2
    query, key, value = (torch.empty(2, *size, device="meta", dtype=torch.float16) for size in sizes)
    geometry = torch.empty(3, 25, device="meta", dtype=torch.float16)
    cost = LOCAL_RELATION.cost(query, key, value, geometry, kernel_size=5, stride=2, similarity="multiply")
    positions = 2 * 4 * 2
    assert cost.macs == positions * (25 * 3 + 25 * 12)
    assert cost.bytes_moved == 2 * (2 * 3 * 8 + 2 * 3 * 28 + 2 * 12 * 28 + positions * 12 + 75)
    assert cost.weights_stored == positions * 3 * 25


def test_errors_quote_value_and_rule():
    q, v, x = torch.zeros(1, 2, 5, 6), torch.zeros(1, 4, 5, 6), torch.zeros(2, 9)
    wrong = {
        "kernel_size must be odd and positive": ((q, q, v), {"kernel_size": 2}),
        "similarity must be one of multiply, squared_difference, absolute_difference; got 'dot'": (
            (q, q, v),
            {"kernel_size": 3, "similarity": "dot"},
        ),
        "border must be one of exclude, zero; got 'reflect'": ((q, q, v), {"kernel_size": 3, "border": "reflect"}),
        "order must be one of contiguous, interleaved; got 'mixed'": ((q, q, v), {"kernel_size": 3, "order": "mixed"}),
        r"must be \(B, C, H, W\); got \(2, 5, 6\)": ((q[0], q, v), {"kernel_size": 3}),
        "query and key must agree": ((q[:, :1], q, v), {"kernel_size": 3}),
        "groups must divide the value channels.*got 2 groups, 3 channels": ((q, q, v[:, :3]), {"kernel_size": 3}),
        "3 value channels, share=3 .*need 1 groups; got 2": ((q, q, v[:, :3]), {"kernel_size": 3, "share": 3}),
        "share=0 of them to a group, need a positive share": ((q, q, v), {"kernel_size": 3, "share": 0}),
        r"with stride 2 a \(5, 6\) key needs a query of \(3, 3\)": ((q, q, v), {"kernel_size": 3, "stride": 2}),
        r"geometry must be \(2, 25\) or \(2, 5, 5\); got \(2, 9\)": ((q, q, v, x), {"kernel_size": 5}),
    }
    for message, (tensors, options) in wrong.items():
        with pytest.raises(ValueError, match=f"local_relation: .*{message}"):
            local_relation(*tensors, **options)
