"""AttentionStem2d: golden cases, loops for what they leave out, blocks of any size, and the contract of all layers."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from sightline.layers import AttentionStem2d
from sightline.layers.sasa_stem import pixels_for_kernels
from sightline.ops import support, use_backend
from tests import golden_cases
from tests.layers.contract import check_dtypes, check_layer, check_sizes
from tests.ops.kernels import needs_kernels

OURS = {
    "query.weight": "query.weight",
    "key.weight": "key.weight",
    "value.weight": "value.weight",
    "emb_row": "embed_rows",
    "emb_col": "embed_cols",
    "emb_mix": "embed_mixtures",
    "rel_row": "relative_rows",
    "rel_col": "relative_cols",
}


def small(**options):
    options = {"kernel_size": 3, "heads": 2, "mixtures": 3} | options
    return AttentionStem2d(3, 6, **options)


@pytest.mark.parametrize("name", golden_cases.names("sasa_stem_*"))
def test_golden(name):
    case = golden_cases.load(name)
    c = case.config
    layer = AttentionStem2d(
        c["in_channels"],
        c["out_channels"],
        c["kernel_size"],
        c["heads"],
        c["mixtures"],
        footprint="block" if "max_pool" in c else "window",
        relative=c["relative"],
        border=c.get("border", "exclude"),
        embedding=c["embedding_dim"],
    ).double()
    given = case.part("param")
    assert {OURS[theirs] for theirs in given} == dict(layer.named_parameters()).keys()
    for theirs, value in given.items():
        parameter = layer.get_parameter(OURS[theirs])
        parameter.data.copy_(value.reshape(parameter.shape))
    x = case.tensors["input.x"].requires_grad_()
    y = layer(x)
    outputs = {"y": y}
    if "max_pool" in c:
        outputs = {"y": F.max_pool2d(y, c["max_pool"]), "y_before_pool": y}
    if "output.mixture" in case.tensors:
        outputs["mixture"] = layer.mixture().unflatten(1, (c["kernel_size"],) * 2)
    leaves = {"x": x} | {theirs: layer.get_parameter(OURS[theirs]) for theirs in given}
    golden_cases.check(case, outputs, leaves)


def loops(layer, x, footprint, border):
    """The formula, one position, head and place at a time, in Python floats."""
    options = layer.attend.options
    side, heads = options["kernel_size"], options["heads"]
    _, height, width = x.shape
    query, key, value = (m.weight.flatten(1).tolist() for m in (layer.query, layer.key, layer.value))
    pixels = x.permute(1, 2, 0).tolist()
    out, depth = len(query), len(query) // heads
    rows, cols = layer.relative_rows, layer.relative_cols
    y = torch.zeros(out, height, width, dtype=torch.float64)

    def project(matrix, first, count, pixel):
        return [sum(a * b for a, b in zip(matrix[first + d], pixel, strict=True)) for d in range(count)]

    shares = {}
    for a in range(side):
        for b in range(side):
            place = layer.embed_rows[:, a] + layer.embed_cols[:, b]
            scores = [math.exp(float(nu @ place)) for nu in layer.embed_mixtures]
            shares[a, b] = [score / sum(scores) for score in scores]

    for head in range(heads):
        table = 0 if rows is None or len(rows) == 1 else head
        for r in range(height):
            for c in range(width):
                top, left = (
                    (r // side * side, c // side * side) if footprint == "block" else (r - side // 2, c - side // 2)
                )
                centre = side - 1 if footprint == "block" else side // 2
                q = project(query, head * depth, depth, pixels[r][c])
                logits, values = [], []
                for a in range(side):
                    for b in range(side):
                        inside = 0 <= top + a < height and 0 <= left + b < width
                        if not inside and border == "exclude":
                            continue
                        pixel = pixels[top + a][left + b] if inside else [0.0] * len(x)
                        offset = project(key, head * depth, depth, pixel)
                        if rows is not None:
                            r_row = rows[table, :, top + a - r + centre].tolist()
                            r_col = cols[table, :, left + b - c + centre].tolist()
                            offset = [k + e for k, e in zip(offset, r_row + r_col, strict=True)]
                        logits.append(sum(a * b for a, b in zip(q, offset, strict=True)))
                        parts = [
                            project(value, m * out + head * depth, depth, pixel)
                            for m in range(len(layer.embed_mixtures))
                        ]
                        values.append(
                            [sum(p * v[d] for p, v in zip(shares[a, b], parts, strict=True)) for d in range(depth)]
                        )
                total = sum(math.exp(logit) for logit in logits)
                for d in range(depth):
                    mixed = sum(math.exp(logit) * v[d] for logit, v in zip(logits, values, strict=True))
                    y[head * depth + d, r, c] = mixed / total
    return y


@pytest.mark.parametrize("border", ["exclude", "zero"])
@pytest.mark.parametrize("relative", ["per_head", "shared", "none"])
@pytest.mark.parametrize(
    ("footprint", "side", "size"), [("block", 2, (3, 5)), ("block", 3, (4, 2)), ("window", 3, (2, 4))]
)
def test_agrees_with_loops(footprint, side, size, relative, border):
    torch.manual_seed(0)
    layer = small(kernel_size=side, footprint=footprint, relative=relative, border=border).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([loops(layer, image, footprint, border) for image in x])
        torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("footprint", ["block", "window"])
@pytest.mark.parametrize("border", ["exclude", "zero"])
def test_weights_through_the_support_give_the_output(footprint, border):
    """With one mixture the output is the dense weights times the values."""
    torch.manual_seed(0)
    layer = small(mixtures=1, footprint=footprint, border=border).double()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    seen = []
    layer.attend.register_forward_hook(lambda tap, operands, y: seen.extend([operands, y]))
    y = layer(x)
    operands, queries = seen[0], torch.tensor([0, 7, 19, 7])
    weights = layer.attend.weights(*operands, queries=queries)
    torch.testing.assert_close(weights, layer.attend.weights(*operands)[:, :, queries])
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 4, dtype=torch.float64))
    dense = support.dense(layer.attend.support, weights, queries, 4, 5).flatten(3)  # B, N, Q, H*W
    value = layer.value(x).unflatten(1, (2, -1)).flatten(3)  # B, N, E, H*W
    expected = torch.einsum("bnqt,bnet->bneq", dense, value).flatten(1, 2)
    torch.testing.assert_close(y.flatten(2)[:, :, queries], expected)


def outcomes(layer, x):
    """Output and gradients of input and parameters."""
    y = layer(x)
    cotangent = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape).to(y.dtype)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], cotangent, materialize_grads=True)]


@needs_kernels
@pytest.mark.parametrize("border", ["exclude", "zero"])
@pytest.mark.parametrize("relative", ["per_head", "shared", "none"])
def test_from_the_pixels_themselves_it_is_the_same(relative, border):
    """The kernels make no queries, keys and values; float32 by them against float64 by the definition."""
    torch.manual_seed(0)
    for side, size in ((4, (8, 12)), (3, (7, 5)), (2, (1, 3))):
        layer = small(kernel_size=side, relative=relative, border=border)
        x = torch.randn(2, 3, *size, requires_grad=True)
        assert pixels_for_kernels(layer, x) is not None
        exact = copy.deepcopy(layer).double()
        for one, other in zip(outcomes(layer, x), outcomes(exact, x.detach().double().requires_grad_()), strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=2e-5)


@needs_kernels
def test_whoever_wants_to_see_the_operands_gets_them():
    layer, x, seen = small(), torch.randn(1, 3, 6, 6), []
    expected = layer(x)
    for module in (layer.attend, layer.query):
        handle = module.register_forward_hook(lambda module, *_: seen.append(module))
        torch.testing.assert_close(layer(x), expected)
        handle.remove()
    assert seen == [layer.attend, layer.query]
    handle = layer.attend.register_full_backward_hook(lambda *_: None)
    assert pixels_for_kernels(layer, x) is None
    handle.remove()
    assert pixels_for_kernels(layer, x) is not None
    assert pixels_for_kernels(small(footprint="window"), x) is None
    with use_backend("reference"):
        assert pixels_for_kernels(layer, x) is None


@needs_kernels
def test_autocast_gives_its_dtype():
    layer, x = small(), torch.randn(1, 3, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


def test_a_block_sees_itself_alone():
    layer = small(kernel_size=2).double()
    x = torch.randn(1, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x)[0, :, 2, 1].sum(), x)
    seen = grad.abs().sum(1)[0] > 0
    expected = torch.zeros(5, 4, dtype=torch.bool)
    expected[2:4, 0:2] = True
    assert torch.equal(seen, expected)


def test_block_pool_is_equivariant_to_shifts_of_a_block():
    layer = small(kernel_size=4, relative="none").double()
    x = torch.randn(1, 3, 8, 12, dtype=torch.float64)
    shifted = torch.roll(x, (4, 8), (2, 3))
    expected = torch.roll(F.max_pool2d(layer(x), 4), (1, 2), (2, 3))
    torch.testing.assert_close(F.max_pool2d(layer(shifted), 4), expected)


@pytest.mark.parametrize("footprint", ["block", "window"])
def test_cost_by_hand(footprint):
    layer = small(kernel_size=3, footprint=footprint).to("meta")
    seen = []
    layer.attend.register_forward_hook(lambda tap, operands, y: seen.append(tap.cost(*operands)))
    layer(torch.zeros(2, 3, 5, 7, device="meta"))
    positions, side, length = 2 * 5 * 7, 3, 5 if footprint == "block" else 3
    per_position = 9 * 6 + side * 6 + 9 * 6 + (3 * 6 if footprint == "block" else 9 * 3 * 6)
    assert seen[0].macs == positions * per_position
    assert seen[0].bytes_moved == 4 * (positions * (6 + 6 + 18 + 6) + 3 * 9 + 2 * 3 * length)
    assert seen[0].weights_stored == positions * 2 * 9


def test_gradients():
    torch.manual_seed(0)
    for footprint in ("block", "window"):
        layer = small(footprint=footprint, mixtures=2).double()
        x = torch.randn(1, 3, 2, 4, dtype=torch.float64, requires_grad=True)
        names, parameters = zip(*layer.named_parameters(), strict=True)

        def call(x, *values, layer=layer, names=names):
            return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

        assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)


def test_contract():
    check_layer(small, 3)


def test_contract_of_windows():
    check_sizes(lambda: small(footprint="window", relative="shared"), 3)
    check_dtypes(lambda: small(footprint="window", relative="shared"), 3)


def test_errors_quote_value_and_rule():
    with pytest.raises(ValueError, match=r"kernel_size must be odd and positive.*got 4"):
        AttentionStem2d(kernel_size=4, footprint="window")
    with pytest.raises(ValueError, match="footprint must be one of block, window; got 'centred'"):
        AttentionStem2d(footprint="centred")
    with pytest.raises(ValueError, match="heads must divide out_channels; got heads=3, out_channels=64"):
        AttentionStem2d(heads=3)
    with pytest.raises(ValueError, match="mixtures must be at least 1; got 0"):
        AttentionStem2d(mixtures=0)
    with pytest.raises(ValueError, match="heads must divide out_channels; got heads=0, out_channels=64"):
        AttentionStem2d(heads=0)
    with pytest.raises(ValueError, match="border must be one of exclude, zero; got 'reflect'"):
        AttentionStem2d(border="reflect")
