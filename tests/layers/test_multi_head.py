"""MultiHeadSelfAttention: by hand, any number of tokens, what its tap shows, copies and graphs."""

import copy
import pickle

import pytest
import torch

from sightline.layers import MultiHeadSelfAttention


def test_equals_loops_over_heads():
    layer = MultiHeadSelfAttention(6, heads=3, prefix=1).double()
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    query, key, value = layer.qkv(x).chunk(3, dim=-1)
    heads = []
    for n in range(3):
        q, k, v = (part[..., 2 * n : 2 * n + 2] for part in (query, key, value))
        heads.append(torch.softmax(q @ k.mT / 2**0.5, dim=-1) @ v)
    torch.testing.assert_close(layer(x, (2, 3)), layer.proj(torch.cat(heads, dim=-1)))


@pytest.mark.parametrize("tokens", [1, 2, 13])
def test_any_number_of_tokens_and_a_gradient_for_everything(tokens):
    layer = MultiHeadSelfAttention(8, heads=2, dropout=0.1)
    x = torch.randn(1, tokens, 8, requires_grad=True)
    layer(x, (1, tokens)).square().sum().backward()
    for name, tensor in [("input", x), *layer.named_parameters()]:
        assert torch.isfinite(tensor.grad).all(), name


def test_tokens_have_no_order():
    layer, x, order = MultiHeadSelfAttention(8, heads=4).double(), torch.randn(1, 6, 8).double(), torch.randperm(6)
    torch.testing.assert_close(layer(x[:, order], (2, 3)), layer(x, (2, 3))[:, order])


def test_tap_knows_prefix_and_grid():
    layer, seen = MultiHeadSelfAttention(8, heads=2, prefix=2), {}
    layer.attend.register_forward_hook(
        lambda _tap, args, options, _y: seen.update(options, args=args), with_kwargs=True
    )
    layer(torch.randn(1, 2 + 12, 8), (3, 4))
    assert seen["grid"] == (3, 4)
    assert layer.attend.support.prefix == 2
    weights = layer.attend.weights(*seen["args"], queries=torch.tensor([0, 5]), grid=(3, 4))
    assert weights.shape == (1, 2, 2, 14)
    cost = layer.attend.cost(*seen["args"], grid=(3, 4))
    assert (cost.macs, cost.weights_stored) == (2 * 14 * 14 * 8, 2 * 14 * 14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_and_autocast(dtype):
    layer, x = MultiHeadSelfAttention(8, heads=2).double(), torch.randn(2, 5, 8, dtype=torch.float64)
    expected = layer(x, (1, 5))
    narrow = copy.deepcopy(layer).to(dtype)
    got = narrow(x.to(dtype), (1, 5))
    assert got.dtype == dtype
    assert (got.double() - expected).abs().max() <= 0.05 * expected.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = copy.deepcopy(layer).float()(x.float(), (1, 5))
    assert (mixed.double() - expected).abs().max() <= 0.05 * expected.abs().max()


def test_copies_and_graphs():
    layer, x = MultiHeadSelfAttention(8, heads=2).eval(), torch.randn(2, 6, 8)
    expected = layer(x, (2, 3))
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x, (2, 3)), expected)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x, (2, 3)), expected)
    batch = torch.export.Dim("batch")
    program = torch.export.export(layer, (x, (2, 3)), dynamic_shapes=({0: batch}, (None, None)))
    torch.testing.assert_close(program.module()(x[:1], (2, 3)), expected[:1])


def test_errors_quote_value_and_rule():
    with pytest.raises(ValueError, match="heads must divide dim; got heads=3, dim=8"):
        MultiHeadSelfAttention(8, heads=3)
