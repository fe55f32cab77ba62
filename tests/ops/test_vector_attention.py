"""vector_attention: golden cases, loops in Python floats, both backends, properties of the formula, weights, cost, errors."""

import math

import pytest
import torch

from sightline.ops import support, vector_attention
from sightline.ops.vector_attention import VECTOR_ATTENTION
from tests import golden_cases

F64 = torch.float64
BACKENDS = ("dense", "reference")
CASES = [  # rows, columns, K, stride, dilation, channels, weight groups
    (1, 1, 3, 1, 1, 4, 2),
    (1, 5, 3, 1, 1, 3, 3),
    (4, 1, 5, 2, 1, 4, 1),
    (3, 5, 3, 1, 1, 6, 2),
    (5, 4, 3, 2, 1, 4, 2),
    (5, 7, 3, 3, 2, 2, 1),
    (4, 5, 5, 1, 2, 3, 1),
    (2, 3, 7, 1, 1, 6, 3),
    (2, 2, 1, 2, 1, 2, 2),
]
SHARES = [("softmax", "reflect"), ("softmax", "zero"), ("softmax", "exclude"), ("none", "reflect"), ("none", "zero")]


def operands(case, dtype=F64, batch=2):
    height, width, kernel_size, stride, dilation, channels, groups = case
    torch.manual_seed(height * 100 + width)
    logits = torch.randn(batch, groups, kernel_size**2, -(-height // stride), -(-width // stride), dtype=dtype)
    value = torch.randn(batch, channels, height, width, dtype=dtype)
    return (logits, value), {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}


def bounce(position, size):
    """Walk back and forth between the first and the last pixel."""
    while size > 1 and not 0 <= position < size:
        position = -position if position < 0 else 2 * (size - 1) - position
    return position if size > 1 else 0


def loops(logits, value, *, kernel_size, stride, dilation, normalise, border):
    """The formula, one output and tap at a time: the output, and the dense weights (B, G, queries, H, W)."""
    (batch, groups, _, h, w), (channels, height, width) = logits.shape, value.shape[1:]
    a, v = logits.tolist(), value.tolist()
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
                            if border == "reflect":
                                row, col = bounce(row, height), bounce(col, width)
                            inside = 0 <= row < height and 0 <= col < width
                            if inside or border != "exclude":
                                taps.append((a[b][g][i * kernel_size + j][r][c], row, col, inside))
                    if normalise == "softmax":
                        total = sum(math.exp(logit) for logit, *_ in taps)
                        taps = [(math.exp(logit) / total, *where) for logit, *where in taps]
                    for weight, row, col, inside in taps:
                        if inside:
                            maps[b, g, r * w + c, row, col] += weight
                            for channel in range(
                                g, channels, groups
                            ):  # interleaved: every G-th channel has this weight
                                y[b, channel, r, c] += weight * v[b][channel][row][col]
    return y, maps


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", golden_cases.names("san_aggregation_*"))
def test_golden(name, backend):
    case = golden_cases.load(name)
    c = case.config
    weight, x = (case.tensors[f"input.{key}"].requires_grad_() for key in ("weight", "x"))
    logits = weight.unflatten(3, (c["out_height"], c["out_width"]))
    options = {"kernel_size": c["kernel_size"], "stride": c["stride"], "dilation": c["dilation"]}
    y = vector_attention(logits, x, normalise="none", border=c["pad_mode"], backend=backend, **options)
    golden_cases.check(case, {"y": y}, {"weight": weight, "x": x})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("normalise", "border"), SHARES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_agrees_with_loops(case, normalise, border, backend):
    tensors, options = operands(case)
    options |= {"normalise": normalise, "border": border}
    got = vector_attention(*tensors, **options, backend=backend)
    torch.testing.assert_close(got, loops(*tensors, **options)[0], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("normalise", "border"), SHARES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_weights_agree_with_loops(case, normalise, border):
    tensors, options = operands(case)
    options |= {"normalise": normalise, "border": border}
    expected = loops(*tensors, **options)[1]
    every = VECTOR_ATTENTION.weights(*tensors, **options)
    queries = torch.tensor([every.shape[2] - 1, 0, every.shape[2] // 2])
    asked = VECTOR_ATTENTION.weights(*tensors, queries=queries, **options)
    assert asked.shape == (2, case[6], 3, case[2] ** 2)
    torch.testing.assert_close(asked, every[:, :, queries])
    where = support.Window(*case[2:5], border)
    torch.testing.assert_close(
        support.dense(where, asked, queries, *case[:2]), expected[:, :, queries], rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("normalise", "border"), SHARES)
@pytest.mark.parametrize("case", [CASES[4], CASES[7]], ids=str)
def test_gradients(case, normalise, border, backend):
    tensors, options = operands(case, batch=1)
    options |= {"normalise": normalise, "border": border, "backend": backend}
    leaves = tuple(t.requires_grad_() for t in tensors)
    assert torch.autograd.gradcheck(lambda *t: vector_attention(*t, **options), leaves, fast_mode=True)
    assert torch.autograd.gradcheck(lambda *t: VECTOR_ATTENTION.weights(*t, **options), leaves, fast_mode=True)


@pytest.mark.parametrize("border", ["reflect", "zero", "exclude"])
def test_softmax_rows_sum_to_one(border):
    tensors, options = operands(CASES[4])
    weights = VECTOR_ATTENTION.weights(*tensors, **options, border=border)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert weights.min() >= 0


def test_patchwise_weights_are_signed():
    tensors, options = operands(CASES[4])
    weights = VECTOR_ATTENTION.weights(*tensors, **options, normalise="none")
    assert weights.min() < 0
    torch.testing.assert_close(weights, tensors[0].flatten(3).mT, rtol=0, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("border", ["reflect", "zero"])
def test_identity_weights_return_the_values(border, backend):
    (logits, value), options = operands((4, 5, 3, 1, 2, 6, 3))
    centre = torch.zeros_like(logits)
    centre[:, :, 4] = 1
    same = vector_attention(centre, value, normalise="none", border=border, backend=backend, **options)
    torch.testing.assert_close(same, value)
    sharp = vector_attention(centre * 1e3, value, border=border, backend=backend, **options)
    torch.testing.assert_close(sharp, value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("normalise", "border"), SHARES)
@pytest.mark.parametrize("case", [CASES[3], CASES[5], CASES[7]], ids=str)
def test_transposing_image_and_window_transposes_the_answer(case, normalise, border, backend):
    (logits, value), options = operands(case)
    options |= {"normalise": normalise, "border": border, "backend": backend}
    side = options["kernel_size"]
    turned = logits.unflatten(2, (side, side)).transpose(2, 3).flatten(2, 3).mT
    torch.testing.assert_close(
        vector_attention(turned, value.mT, **options), vector_attention(logits, value, **options).mT
    )


@pytest.mark.parametrize("normalise", ["softmax", "none"])
def test_gradient_is_zero_outside_the_footprint(normalise):
    (logits, value), options = operands((9, 8, 3, 1, 2, 4, 2), batch=1)
    for tensor in (logits, value):
        tensor.requires_grad_()
    y = vector_attention(logits, value, normalise=normalise, border="zero", **options)
    y[0, 1, 4, 3].backward()  # channel 1 of 4 has the weights of group 1 of 2
    footprint = torch.zeros(9, 8, dtype=torch.bool)
    footprint[2:7:2, 1:6:2] = True
    assert torch.equal(value.grad[0, 1] != 0, footprint)
    assert not value.grad[0, [0, 2, 3]].any()
    used = torch.zeros(2, 9, 9, 8, dtype=torch.bool)
    used[1, :, 4, 3] = True
    assert torch.equal(logits.grad[0] != 0, used)


def test_auto_takes_the_product_on_small_maps_alone():
    (logits, value), options = operands((6, 6, 3, 1, 1, 4, 2), torch.float64)
    by_product = vector_attention(logits, value, backend="dense", **options)
    assert torch.equal(vector_attention(logits, value, **options), by_product)
    (logits, value), options = operands((6, 7, 3, 1, 1, 4, 2), torch.float64)
    by_taps = vector_attention(logits, value, backend="reference", **options)
    assert torch.equal(vector_attention(logits, value, **options), by_taps)
    with pytest.raises(NotImplementedError, match="a map of 42 pixels has more than 4 for each of the window's 9 taps"):
        vector_attention(logits, value, backend="dense", **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_wide(dtype, backend):
    (logits, value), options = operands((5, 5, 3, 1, 1, 8, 2), dtype)
    exact = vector_attention(logits.double(), value.double(), backend=backend, **options)
    got = vector_attention(logits, value, backend=backend, **options)
    assert got.dtype == dtype
    torch.testing.assert_close(got, exact.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(vector_attention(logits, value, backend=backend, **options), got)


def test_cost_by_hand():
    logits = torch.empty(3, 2, 25, 4, 2, device="meta", dtype=torch.bfloat16)
    value = torch.empty(3, 8, 7, 4, device="meta", dtype=torch.bfloat16)
    cost = VECTOR_ATTENTION.cost(logits, value, kernel_size=5, stride=2)
    assert cost.macs == 3 * (4 * 2) * 25 * 8
    assert cost.bytes_moved == 2 * (3 * 2 * 25 * 8 + 3 * 8 * 28 + 3 * 8 * 8)
    assert cost.weights_stored == 3 * 2 * 8 * 25


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((1, 2, 9, 4, 5), (1, 4, 4, 5)), {"kernel_size": 4}, "kernel_size must be odd and positive.*got 4"),
        (((1, 2, 9, 4, 5), (1, 4, 4, 5)), {"normalise": "sum"}, "normalise must be one of softmax, none; got 'sum'"),
        (((1, 2, 9, 4, 5), (1, 4, 4, 5)), {"border": "wrap"}, "border must be one of .*; got 'wrap'"),
        (
            ((1, 2, 9, 4, 5), (1, 4, 4, 5)),
            {"border": "exclude", "normalise": "none"},
            "'exclude' needs normalise='softmax'",
        ),
        (((1, 2, 9, 4, 5), (2, 4, 4, 5)), {}, r"got \(1, 2, 9, 4, 5\), \(2, 4, 4, 5\)"),
        (((1, 3, 9, 4, 5), (1, 4, 4, 5)), {}, "groups must divide the channels; got 3 groups, 4 channels"),
        (((1, 2, 9, 4, 5), (1, 4, 4, 5)), {"stride": 2}, r"needs logits of \(B, G, 9, 2, 3\); got \(1, 2, 9, 4, 5\)"),
        (((1, 2, 9, 4, 5), (1, 4, 4, 5)), {"backend": "numba"}, "has no backend 'numba'"),
    ],
)
def test_errors_quote_value_and_rule(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        vector_attention(*(torch.zeros(shape) for shape in shapes), **{"kernel_size": 3} | options)
