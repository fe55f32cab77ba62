"""pairwise_attention against hand-written loops, properties, cost, errors."""

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sightline.ops import pairwise_attention
from sightline.ops.pairwise_attention import PAIRWISE_ATTENTION, SIMILARITIES
from sightline.ops.support import Global, dense

SOFTMAX = ("embedded_gaussian", "gaussian")
# queries, keys: 1, 2 and 3 axes; one position, one row, one column, primes, pooled and not
GRIDS = (
    ((1,), (1,)),
    ((7,), (3,)),
    ((1, 1), (1, 1)),
    ((1, 5), (1, 2)),
    ((5, 1), (5, 1)),
    ((5, 3), (2, 1)),
    ((3, 3, 2), (3, 1, 1)),
)


def operands(similarity, queries, keys, batch=2, depth=3, width=2, dtype=torch.float64):
    """Random query, key, value and the weight of a concatenation (else None); leaves that require gradients."""
    torch.manual_seed(0)
    shapes = [(batch, depth, *queries), (batch, depth, *keys), (batch, width, *keys)]
    shapes += [(2 * depth,)] if similarity == "concatenation" else []
    leaves = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return leaves if similarity == "concatenation" else [*leaves, None]


def weights_by_hand(q, k, a, similarity, scale):
    """The weights of one query over all keys, in Python floats: q is a list, k a list of lists, a a list or None."""
    depth, keys = len(q), len(k)
    if similarity == "concatenation":
        return [max(0.0, sum(a[c] * q[c] + a[depth + c] * key[c] for c in range(depth))) / keys for key in k]
    products = [scale * sum(q[c] * key[c] for c in range(depth)) for key in k]
    if similarity == "dot_product":
        return [product / keys for product in products]
    total = sum(math.exp(product) for product in products)
    return [math.exp(product) / total for product in products]


def by_hand(query, key, value, concat_weight, similarity, scale=1.0):
    """The formula over positions as tuples of coordinates: (answer, weights (B, 1, queries, keys))."""
    a = None if concat_weight is None else concat_weight.tolist()
    answer = torch.zeros(query.shape[0], value.shape[1], *query.shape[2:], dtype=torch.float64)
    seen = list(itertools.product(*map(range, key.shape[2:])))
    rows = []
    for b in range(query.shape[0]):
        keys = [key[(b, slice(None), *j)].tolist() for j in seen]
        for i in itertools.product(*map(range, query.shape[2:])):
            weight = weights_by_hand(query[(b, slice(None), *i)].tolist(), keys, a, similarity, scale)
            rows.append(weight)
            for e in range(value.shape[1]):
                answer[(b, e, *i)] = sum(w * value[(b, e, *j)].item() for w, j in zip(weight, seen, strict=True))
    return answer, torch.tensor(rows, dtype=torch.float64).reshape(query.shape[0], 1, -1, len(seen))


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(("queries", "keys"), GRIDS)
def test_equals_loops(similarity, queries, keys):
    x = operands(similarity, queries, keys)
    answer, weights = by_hand(*x, similarity)
    torch.testing.assert_close(pairwise_attention(*x, similarity=similarity), answer)
    torch.testing.assert_close(PAIRWISE_ATTENTION.weights(*x, similarity=similarity), weights)


@pytest.mark.parametrize("similarity", ["embedded_gaussian", "gaussian", "dot_product"])
def test_scale_multiplies_the_product(similarity):
    x = operands(similarity, (3, 2), (2, 2))
    answer, weights = by_hand(*x, similarity, scale=0.3)
    torch.testing.assert_close(pairwise_attention(*x, similarity=similarity, scale=0.3), answer)
    torch.testing.assert_close(PAIRWISE_ATTENTION.weights(*x, similarity=similarity, scale=0.3), weights)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(("queries", "keys"), [((3, 2), (3, 2)), ((5,), (2,)), ((2, 1, 2), (2, 1, 1))])
def test_gradients(similarity, queries, keys):
    x = operands(similarity, queries, keys, batch=1)
    torch.autograd.gradcheck(lambda *x: pairwise_attention(*x, similarity=similarity), x)
    torch.autograd.gradcheck(lambda *x: PAIRWISE_ATTENTION.weights(*x, similarity=similarity), x)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("size", [(5, 7), (1, 6), (3, 1), (1, 1)])
def test_weights_of_chosen_queries_are_rows_of_the_dense_map(similarity, size):
    """With pooled keys, through the support a layer hands to its tap."""
    support = Global(key_stride=(2, 2))
    height, width = size
    x = operands(similarity, size, support.key_grid(height, width))
    queries = torch.tensor([height * width - 1, 0])
    chosen = PAIRWISE_ATTENTION.weights(*x, queries=queries, similarity=similarity)
    _, expected = by_hand(*x, similarity)
    torch.testing.assert_close(chosen, expected[:, :, queries])
    spread = dense(support, chosen, queries, height, width)
    torch.testing.assert_close(spread, expected[:, :, queries].unflatten(-1, support.key_grid(height, width)))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rows_of_the_gaussians_sum_to_one(similarity):
    x = operands(similarity, (4, 3), (2, 3))
    total = PAIRWISE_ATTENTION.weights(*x, similarity=similarity).sum(-1)
    assert torch.allclose(total, torch.ones_like(total)) == (similarity in SOFTMAX)


def test_constant_and_identity_attention():
    """Keys alike: the mean of the values. Keys apart: each position its own value."""
    value = torch.randn(1, 2, 2, 3, dtype=torch.float64)
    alike = torch.ones(1, 4, 2, 3, dtype=torch.float64)
    mean = value.mean((2, 3), keepdim=True).expand_as(value)
    torch.testing.assert_close(pairwise_attention(alike, alike, value), mean)
    torch.testing.assert_close(pairwise_attention(alike, alike, value, similarity="dot_product"), 4 * mean)
    unit = torch.eye(6, dtype=torch.float64).reshape(1, 6, 2, 3)
    torch.testing.assert_close(pairwise_attention(100 * unit, unit, value), value)
    torch.testing.assert_close(pairwise_attention(6 * unit, unit, value, similarity="dot_product"), value)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_positions_have_no_order(similarity):
    """Transposed, everything transposes; any order of the keys gives the same; one axis or two, too."""
    query, key, value, a = operands(similarity, (3, 5), (2, 4))
    expected = pairwise_attention(query, key, value, a, similarity=similarity)
    turned = [t.transpose(2, 3) for t in (query, key, value)]
    torch.testing.assert_close(pairwise_attention(*turned, a, similarity=similarity), expected.transpose(2, 3))
    order = torch.randperm(8)
    shuffled = [t.flatten(2)[:, :, order].unflatten(2, (2, 4)) for t in (key, value)]
    torch.testing.assert_close(pairwise_attention(query, *shuffled, a, similarity=similarity), expected)
    flat = pairwise_attention(*[t.flatten(2) for t in (query, key, value)], a, similarity=similarity)
    torch.testing.assert_close(flat, expected.flatten(2))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_dtypes(similarity):
    x = operands(similarity, (3, 4), (3, 2), dtype=torch.float32)
    exact = pairwise_attention(*[None if t is None else t.double() for t in x], similarity=similarity)
    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)):
        got = pairwise_attention(*[None if t is None else t.to(dtype) for t in x], similarity=similarity)
        assert got.dtype == dtype
        assert (got.double() - exact).abs().max() <= bound * exact.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(pairwise_attention(*x, similarity=similarity), exact.float())


def test_large_products_do_not_overflow():
    x = [1e3 * t for t in operands("gaussian", (2, 3), (2, 3), dtype=torch.float32)[:3]]
    assert torch.isfinite(pairwise_attention(*x)).all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_cost_is_what_torch_counts(similarity):
    x = operands(similarity, (5, 3), (2, 3), depth=4, width=7)
    with FlopCounterMode(display=False) as counter:
        pairwise_attention(*x, similarity=similarity, backend="reference")
    cost = PAIRWISE_ATTENTION.cost(*[None if t is None else t.to("meta") for t in x], similarity=similarity)
    assert cost.macs * 2 == counter.get_total_flops()
    by_pair = 2 * (15 + 6) * 4 if similarity == "concatenation" else 2 * 15 * 6 * 4
    assert cost.macs == by_pair + 2 * 15 * 6 * 7
    assert cost.weights_stored == 2 * 15 * 6
    assert cost.bytes_moved == 8 * (2 * (4 * 15 + 4 * 6 + 7 * 6 + 7 * 15) + 8 * (similarity == "concatenation"))


ERRORS = {
    r"similarity must be one of embedded_gaussian, gaussian, .*; got 'cosine'": {"similarity": "cosine"},
    r"with the same 1 to 3 spatial axes; got \(1, 3\), \(1, 3, 2, 2\)": {"query": (1, 3)},
    r"with the same 1 to 3 spatial axes; got \(1, 3, 4\), \(1, 3, 2, 2\)": {"query": (1, 3, 4)},
    r"got query \(1, 4, 2, 2\), key \(1, 3, 2, 2\)": {"query": (1, 4, 2, 2)},
    r"key and value in batch and positions; .* value \(1, 5, 2, 3\)": {"value": (1, 5, 2, 3)},
    r"needs at least one key; got key \(1, 3, 0, 2\)": {"key": (1, 3, 0, 2), "value": (1, 5, 0, 2)},
    r"'concatenation' needs a concat_weight .* got none with 'concatenation'": {"similarity": "concatenation"},
    r"the others take none; got one of \(6,\) with 'gaussian'": {"similarity": "gaussian", "concat_weight": (6,)},
    r"one per key channel, \(6,\); got \(5,\)": {"similarity": "concatenation", "concat_weight": (5,)},
    r"has no scale, leave it at 1; got 0.5": {"similarity": "concatenation", "concat_weight": (6,), "scale": 0.5},
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_quote_value_and_rule(message):
    call = {"query": (1, 3, 2, 2), "key": (1, 3, 2, 2), "value": (1, 5, 2, 2)} | ERRORS[message]
    call = {name: torch.zeros(given) if isinstance(given, tuple) else given for name, given in call.items()}
    for function in (pairwise_attention, PAIRWISE_ATTENTION.weights):
        with pytest.raises(ValueError, match=message):
            function(**call)


def test_unknown_backend_is_named():
    x = operands("gaussian", (2,), (2,))
    with pytest.raises(ValueError, match=r"pairwise_attention has no backend 'sorted'; it has: auto, .*reference"):
        pairwise_attention(*x, backend="sorted")
