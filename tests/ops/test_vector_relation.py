"""SAN's relations: golden differences, loops in Python floats for every kind and geometry, gradients, errors."""

import pytest
import torch

from sightline.ops import pairwise_relation, patchwise_relation
from sightline.ops.vector_attention import PAIRWISE, PATCHWISE, pairwise_channels, patchwise_channels
from tests import golden_cases

F64 = torch.float64
CASES = [  # rows, columns, K, stride, dilation
    (1, 1, 3, 1, 1),
    (1, 5, 3, 1, 2),
    (4, 1, 3, 2, 1),
    (3, 5, 3, 1, 1),
    (5, 4, 3, 2, 2),
    (2, 3, 5, 1, 1),
]
BORDERS = ("reflect", "zero")


def operands(case, channels=2, batch=2):
    """Query and key at full resolution."""
    torch.manual_seed(case[0] * 100 + case[1])
    query, key = (torch.randn(batch, channels, *case[:2], dtype=F64) for _ in range(2))
    return query, key, {"kernel_size": case[2], "stride": case[3], "dilation": case[4]}


def read(plane, row, col, border):
    """A pixel of nested lists, whatever the coordinate."""
    height, width = len(plane), len(plane[0])
    if border == "reflect":
        ladder = [*range(height), *range(height - 2, 0, -1)]
        row = ladder[row % len(ladder)]
        ladder = [*range(width), *range(width - 2, 0, -1)]
        col = ladder[col % len(ladder)]
    return plane[row][col] if 0 <= row < height and 0 <= col < width else 0.0


def windows(planes, case, border):
    """For every output position, row by row: the channels' values at the K*K taps, [channel][tap]."""
    height, width, kernel_size, stride, dilation = case
    reach = [(i - kernel_size // 2) * dilation for i in range(kernel_size)]
    for row in range(0, height, stride):
        for col in range(0, width, stride):
            yield [[read(plane, row + i, col + j, border) for i in reach for j in reach] for plane in planes]


def pair(kind, q, k):
    """The relation of two vectors."""
    return {
        "subtraction": lambda: [a - b for a, b in zip(q, k, strict=True)],
        "summation": lambda: [a + b for a, b in zip(q, k, strict=True)],
        "hadamard": lambda: [a * b for a, b in zip(q, k, strict=True)],
        "concatenation": lambda: [*q, *k],
        "dot": lambda: [sum(a * b for a, b in zip(q, k, strict=True))],
    }[kind]()


def patch(kind, q, k):
    """The relation of two windows [channel][tap]."""
    taps, middle = range(len(k[0])), len(k[0]) // 2
    centre = [channel[middle] for channel in q]
    at = [[channel[t] for channel in k] for t in taps]
    if kind == "star":
        return [pair("dot", centre, at[t])[0] for t in taps]
    if kind == "clique":
        return [pair("dot", [channel[s] for channel in q], at[t])[0] for s in taps for t in taps]
    return centre + [value for channel in k for value in channel]


@pytest.mark.parametrize("name", golden_cases.names("san_subtraction*"))
def test_golden(name):
    case = golden_cases.load(name)
    c = case.config
    leaves = {key: tensor.requires_grad_() for key, tensor in case.part("input").items()}
    query, key = list(leaves.values()) if len(leaves) == 2 else list(leaves.values()) * 2
    step = c["stride"]
    options = {"kernel_size": c["kernel_size"], "stride": step, "dilation": c["dilation"], "border": c["pad_mode"]}
    y = pairwise_relation(query[:, :, ::step, ::step], key, **options)
    golden_cases.check(case, {"y": y.flatten(3)}, leaves)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("kind", PAIRWISE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_pairwise_agrees_with_loops(case, kind, border):
    query, key, options = operands(case)
    step = options["stride"]
    centres = query[:, :, ::step, ::step]
    got = pairwise_relation(centres, key, kind, border=border, **options)
    assert got.shape == (2, pairwise_channels(kind, 2), case[2] ** 2, *centres.shape[2:])
    for q, k, answer in zip(centres.flatten(2).mT.tolist(), key.tolist(), got.flatten(3).tolist(), strict=True):
        for position, seen in enumerate(windows(k, case, border)):
            for tap in range(case[2] ** 2):
                expected = pair(kind, q[position], [channel[tap] for channel in seen])
                assert [plane[tap][position] for plane in answer] == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("kind", PATCHWISE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_patchwise_agrees_with_loops(case, kind, border):
    query, key, options = operands(case)
    step = options["stride"]
    asked = query if kind == "clique" else query[:, :, ::step, ::step]
    got = patchwise_relation(asked, key, kind, border=border, **options)
    assert got.shape == (2, patchwise_channels(kind, 2, case[2]), *query[:, :, ::step, ::step].shape[2:])
    for q, k, answer in zip(query.tolist(), key.tolist(), got.flatten(2).mT.tolist(), strict=True):
        both = zip(windows(q, case, border), windows(k, case, border), answer, strict=True)
        for seen_q, seen_k, vector in both:
            assert vector == pytest.approx(patch(kind, seen_q, seen_k), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(
    "relation", [(pairwise_relation, kind) for kind in PAIRWISE] + [(patchwise_relation, kind) for kind in PATCHWISE]
)
def test_gradients(relation, border):
    function, kind = relation
    query, key, options = operands((3, 4, 3, 1, 2), batch=1)
    leaves = (query.requires_grad_(), key.requires_grad_())
    assert torch.autograd.gradcheck(lambda *t: function(*t, kind, border=border, **options), leaves, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_wide(dtype):
    query, key, options = operands((4, 5, 3, 1, 1), channels=16)
    query, key = query.to(dtype), key.to(dtype)
    for function, kinds in ((pairwise_relation, PAIRWISE), (patchwise_relation, PATCHWISE)):
        for kind in kinds:
            got = function(query, key, kind, **options)
            exact = function(query.double(), key.double(), kind, **options)
            assert got.dtype == dtype
            torch.testing.assert_close(got, exact.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "shapes", "options", "message"),
    [
        (
            pairwise_relation,
            ((1, 2, 4, 5), (1, 2, 4, 5)),
            {"kind": "star"},
            "kind must be one of subtraction, .*; got 'star'",
        ),
        (
            patchwise_relation,
            ((1, 2, 4, 5), (1, 2, 4, 5)),
            {"kind": "dot"},
            "kind must be one of concatenation, star, clique",
        ),
        (
            pairwise_relation,
            ((1, 2, 4, 5), (1, 2, 4, 5)),
            {"kernel_size": 2},
            "kernel_size must be odd and positive.*got 2",
        ),
        (pairwise_relation, ((1, 2, 4, 5), (1, 2, 4, 5)), {"border": "wrap"}, "border must be one of .*; got 'wrap'"),
        (pairwise_relation, ((1, 3, 4, 5), (1, 2, 4, 5)), {}, r"same B and D; got \(1, 3, 4, 5\), \(1, 2, 4, 5\)"),
        (
            pairwise_relation,
            ((1, 2, 4, 5), (1, 2, 4, 5)),
            {"stride": 2},
            r"a query of \(2, 3\) positions; got \(4, 5\)",
        ),
        (
            patchwise_relation,
            ((1, 2, 2, 3), (1, 2, 4, 5)),
            {"stride": 2, "kind": "clique"},
            r"a query of \(4, 5\) positions; got \(2, 3\)",
        ),
    ],
)
def test_errors_quote_value_and_rule(function, shapes, options, message):
    with pytest.raises(ValueError, match=message):
        function(*(torch.zeros(shape) for shape in shapes), **{"kernel_size": 3} | options)
