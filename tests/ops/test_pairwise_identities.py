"""The exact identities of pairwise_attention against its reference: values, gradients, ties, precision, memory, graphs."""

from functools import partial

import pytest
import torch

from sightline.layers import NonLocalBlock2d
from sightline.ops import pairwise_attention
from sightline.ops.pairwise_attention import BACKENDS, PAIRWISE_ATTENTION, sdpa, sorting
from tests.ops.largest import Largest

FAST = {"dot_product": "linear", "concatenation": "sorting", "embedded_gaussian": "sdpa", "gaussian": "sdpa"}
# queries, keys: one position, one row, one column, primes, pooled, 1 to 3 axes
GRIDS = (
    ((1,), (1,)),
    ((19,), (7,)),
    ((1, 13), (1, 6)),
    ((11, 1), (5, 1)),
    ((5, 7), (5, 7)),
    ((6, 5), (3, 2)),
    ((3, 4, 5), (3, 2, 2)),
)
WIDTHS = ((3, 2), (2, 5), (4, 4))


@pytest.fixture(autouse=True)
def _no_map_is_too_small(monkeypatch):
    monkeypatch.setattr(sorting, "FEWEST_PAIRS", 0)
    monkeypatch.setattr(sdpa, "FEWEST_PAIRS_PER_CHANNEL", 0)
    monkeypatch.setattr(BACKENDS["linear"], "multiply_adds_saved", lambda *_: 1)


def operands(similarity, queries, keys, widths=(3, 2), batch=2, dtype=torch.float64, seed=0):
    """Random query, key, value and the weight of a concatenation (else None); leaves that require gradients."""
    torch.manual_seed(seed)
    shapes = [(batch, widths[0], *queries), (batch, widths[0], *keys), (batch, widths[1], *keys), (2 * widths[0],)]
    leaves = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return leaves if similarity == "concatenation" else [*leaves[:3], None]


def value_and_slopes(x, similarity, backend, **options):
    """The answer and the gradients of a fixed random sum of it."""
    y = pairwise_attention(*x, similarity=similarity, backend=backend, **options)
    torch.manual_seed(1)
    leaves = [one for one in x if one is not None]
    return [y, *torch.autograd.grad((y * torch.randn(y.shape, dtype=y.dtype)).sum(), leaves)]


def check(x, similarity, rtol=1e-11, atol=1e-12, **options):
    expected = value_and_slopes(x, similarity, "reference", **options)
    got = value_and_slopes(x, similarity, FAST[similarity], **options)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


@pytest.mark.parametrize("similarity", FAST)
@pytest.mark.parametrize(("queries", "keys"), GRIDS)
def test_equals_the_reference(similarity, queries, keys):
    for widths in WIDTHS:
        check(operands(similarity, queries, keys, widths), similarity)
    if similarity != "concatenation":
        check(operands(similarity, queries, keys), similarity, scale=0.3)


@pytest.mark.parametrize("similarity", FAST)
def test_gradients(similarity):
    x = operands(similarity, (4, 3), (2, 3), batch=1)
    torch.autograd.gradcheck(lambda *x: pairwise_attention(*x, similarity=similarity, backend=FAST[similarity]), x)
    if FAST[similarity] != "sdpa":  # torch's fused kernel has no second derivative
        torch.autograd.gradgradcheck(
            lambda *x: pairwise_attention(*x, similarity=similarity, backend=FAST[similarity]), x
        )


@pytest.mark.parametrize("similarity", ["dot_product", "concatenation"])
def test_samples_can_be_mapped_over(similarity):
    """torch.func.vmap, as for gradients of each sample: it knows no memory formats, and functions of ours by their own rule."""
    torch.manual_seed(0)
    x = torch.randn(3, 2, 4, 3, 5, dtype=torch.float64)
    weight = torch.randn(8, dtype=torch.float64) if similarity == "concatenation" else None

    def op(one):
        return pairwise_attention(one, one, one, weight, similarity=similarity, backend=FAST[similarity])

    slope = torch.func.grad(lambda one: op(one).square().sum())
    for maps in (x, x.movedim(2, -1).contiguous().movedim(-1, 2)):
        for call in (op, slope):
            torch.testing.assert_close(torch.func.vmap(call)(maps), torch.stack([call(one) for one in maps]))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:FutureWarning")  # torch's own, in its first jvp
@pytest.mark.parametrize("similarity", FAST)
def test_forward_mode_derivatives(similarity):
    """Neither torch's fused kernel nor the sort has one: "auto" takes the reference."""
    query, *rest = operands(similarity, (4, 3), (4, 3), batch=1)
    given = (query.detach(),)

    def slope(backend):
        op = partial(pairwise_attention, similarity=similarity, backend=backend)
        return torch.func.jvp(lambda q: op(q, *rest), given, given)[1]

    torch.testing.assert_close(slope("auto"), slope("reference"))


def scalars(a, b, width=3):
    """Operands of a concatenation whose parts are exactly a (M) and b (N)."""
    torch.manual_seed(0)
    value = torch.randn(1, width, b.numel(), dtype=torch.float32).to(a.dtype)
    operands = (a.reshape(1, 1, -1), b.reshape(1, 1, -1), value, torch.ones(2, dtype=a.dtype))
    return [one.clone().requires_grad_() for one in operands]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([0.0, 0, 0], [0.0, 0, 0, 0]),  # every pair at the kink
        ([1.0, -1, 0, 2], [1.0] * 5),  # all keys alike, one query at their kink
        ([-3.0, -2, -1, 0, 1], [3.0, 2, 1, 1, 2, 0, -1]),  # duplicates, many kinks
        ([-9.0, -8], [1.0, 2, 3]),  # nobody is seen
        ([9.0, 8], [1.0, 2, 3]),  # everybody is
        ([0.5], [-0.5]),
        ([0.0, -0.0], [-0.0, 0.0]),
    ],
)
def test_ties_and_kinks(a, b):
    """At a_i + b_j = 0 relu's slope is 0, in a, in b and, as it must, in v."""
    check(scalars(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)), "concatenation")


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_sorting_is_as_precise_as_the_dense_sum(offset):
    """In float32, also where a and b are large and cancel: errors against float64 at most twice those of the reference."""
    torch.manual_seed(0)
    a, b = torch.randn(500) - offset, torch.randn(700) + offset
    exact = value_and_slopes(scalars(a.double(), b.double()), "concatenation", "reference")
    worst = {}
    for backend in ("sorting", "reference"):
        got = value_and_slopes(scalars(a, b), "concatenation", backend)
        worst[backend] = [(one - other).abs().max().item() for one, other in zip(got, exact, strict=True)]
    for got, plain in zip(worst["sorting"], worst["reference"], strict=True):
        assert got <= 2 * plain


@pytest.mark.parametrize("similarity", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_error_is_at_most_twice_that_of_plain_low_precision(similarity, dtype):
    x = operands(similarity, (17, 13), (17, 13), (8, 8), dtype=dtype)
    exact = pairwise_attention(*[None if t is None else t.double() for t in x], similarity=similarity)
    got = pairwise_attention(*x, similarity=similarity, backend=FAST[similarity])
    assert got.dtype == dtype
    plain = _plain(*x, similarity)
    assert (got.double() - exact).abs().max() <= 2 * (plain.double() - exact).abs().max()


def _plain(query, key, value, a, similarity):
    """The formula written down in the operands' own dtype."""
    q, k, v = query.flatten(2), key.flatten(2), value.flatten(2)
    if a is None:
        logits = q.transpose(1, 2) @ k
        w = logits / k.shape[2] if similarity == "dot_product" else logits.softmax(-1)
    else:
        w = (
            (q.transpose(1, 2) @ a[: q.shape[1]]).unsqueeze(2) + (k.transpose(1, 2) @ a[q.shape[1] :]).unsqueeze(1)
        ).relu()
        w = w / k.shape[2]
    return (v @ w.transpose(1, 2)).unflatten(2, query.shape[2:])


@pytest.mark.parametrize("similarity", FAST)
def test_no_map_of_all_pairs_appears(similarity):
    """Forward and backward; the reference, which makes one, shows that the watch sees it."""
    x = operands(similarity, (37, 31), (37, 31), (4, 6), batch=1, dtype=torch.float32)
    seen = {}
    for backend in (FAST[similarity], "reference"):
        with Largest() as largest:
            pairwise_attention(*x, similarity=similarity, backend=backend).square().sum().backward()
        seen[backend] = largest.numbers
    assert seen["reference"] == (37 * 31) ** 2
    assert seen[FAST[similarity]] <= 16 * 37 * 31


@pytest.mark.parametrize("similarity", FAST)
def test_strides_and_formats(similarity):
    """Channels-last and every second pixel, forward and gradient."""
    x = operands(similarity, (8, 6), (8, 6), dtype=torch.float64)
    last = [t if t is None or t.ndim < 4 else t.contiguous(memory_format=torch.channels_last) for t in x]
    check(last, similarity)
    check([t if t is None or t.ndim < 4 else t[:, :, ::2, ::3] for t in x], similarity)
    for backend in (FAST[similarity], "reference"):
        y = pairwise_attention(*last, similarity=similarity, backend=backend)
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert pairwise_attention(*x, similarity=similarity, backend=backend).is_contiguous()


@pytest.mark.parametrize("similarity", FAST)
def test_graphs(similarity):
    """A block passes through torch.compile(fullgraph=True), backward too, and torch.export with a dynamic batch."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    block = NonLocalBlock2d(6, similarity=similarity, normalise=False)
    torch.nn.init.normal_(block.out.weight)
    block.attend.options["backend"] = FAST[similarity]
    x = torch.randn(2, 6, 5, 6)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    slopes = []
    for one in (block, compiled):
        y = one(x)
        slopes.append([y, *torch.autograd.grad(y.square().sum(), list(block.parameters()))])
    for got, expected in zip(*slopes, strict=True):
        torch.testing.assert_close(got, expected)
    program = torch.export.export(block.eval(), (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(x[:1]), block(x[:1]))


@pytest.mark.parametrize("similarity", FAST)
def test_no_images(similarity):
    x = operands(similarity, (5, 7), (5, 7), batch=0)
    for backend in ("auto", FAST[similarity]):
        y = pairwise_attention(*x, similarity=similarity, backend=backend)
        assert y.shape == (0, 2, 5, 7)
        y.sum().backward()
    assert x[2].grad.shape == (0, 2, 5, 7)


@pytest.mark.parametrize("similarity", FAST)
def test_under_autocast_nothing_is_narrowed(similarity):
    x = operands(similarity, (5, 7), (5, 7), dtype=torch.float32)
    expected = pairwise_attention(*x, similarity=similarity, backend=FAST[similarity])
    with torch.autocast("cpu", torch.bfloat16):
        got = pairwise_attention(*x, similarity=similarity, backend=FAST[similarity])
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_weights_do_not_depend_on_the_backend():
    for similarity, backend in FAST.items():
        x = operands(similarity, (5, 7), (5, 7))
        expected = PAIRWISE_ATTENTION.weights(*x, similarity=similarity)
        torch.testing.assert_close(PAIRWISE_ATTENTION.weights(*x, similarity=similarity, backend=backend), expected)
