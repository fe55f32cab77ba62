"""NonLocalBlock1d, 2d, 3d: golden cases, both places of the pool, identity at the start, the printed costs, the contract."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sightline.layers import NonLocalBlock1d, NonLocalBlock2d, NonLocalBlock3d
from sightline.ops.pairwise_attention import SIMILARITIES
from sightline.ops.support import dense
from tests import golden_cases
from tests.layers import contract_nd
from tests.layers.contract import check_layer

BLOCKS = (NonLocalBlock1d, NonLocalBlock2d, NonLocalBlock3d)
SIZES = {
    NonLocalBlock1d: ((1,), (2,), (7,)),
    NonLocalBlock2d: ((1, 1), (1, 4), (3, 1), (5, 4)),
    NonLocalBlock3d: ((1, 1, 1), (2, 1, 3), (3, 5, 2)),
}


def shaken(block):
    """The block with every parameter and running statistic drawn at random, so that it is no longer the identity."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.5)
        if not isinstance(block.norm, nn.Identity):
            block.norm.running_mean.normal_(std=0.1)
            block.norm.running_var.uniform_(0.5, 1.5)
    return block


def observed(block, x):
    """(output, operands of the op) of a call."""
    seen = []
    handle = block.attend.register_forward_hook(lambda _module, operands, _y: seen.append(operands))
    y = block(x)
    handle.remove()
    return y, seen[0]


@pytest.mark.parametrize("name", golden_cases.names("nonlocal_*"))
def test_golden(name):
    case = golden_cases.load(name)
    c = case.config
    block = BLOCKS[c["dim"] - 1](
        c["in_channels"], c["inter_channels"], c["pairwise"], subsample=c["sub_sample"], normalise=c["batch_norm"]
    )
    block = block.double().train(c["mode"] == "train")
    named = {}
    for theirs in case.part("param"):
        ours = "concat_weight" if theirs == "pair.weight" else theirs.replace("out_bn", "norm")
        named[theirs] = block.get_parameter(ours)
        named[theirs].data.copy_(case.tensors[f"param.{theirs}"].reshape(named[theirs].shape))
    for theirs, value in case.part("buffer").items():
        block.get_buffer(theirs.replace("out_bn", "norm")).copy_(value)
    x = case.tensors["input.x"].requires_grad_()
    y, operands = observed(block, x)
    outputs = {"y": y, "attention": block.attend.weights(*operands).squeeze(1)}
    if c["mode"] == "train":
        outputs |= {f"out_bn.{s}": block.norm.get_buffer(s) for s in ("running_mean", "running_var")}
    assert outputs.keys() == case.part("output").keys()
    golden_cases.check(case, outputs, {"x": x, **named})


def pooled_by_hand(t, size):
    """Maxima (B, C, keys) of flat positions t (B, C, N): blocks of 2 along each axis, none along time or an axis of one."""
    flat = torch.arange(t.shape[2]).reshape(size)
    for axis, n in enumerate(size):
        step = 1 if n == 1 or (len(size) == 3 and axis == 0) else 2
        flat = flat.unfold(axis, step, step)
    return torch.stack([t[:, :, block].max(2).values for block in flat.reshape(-1, flat[(0,) * len(size)].numel())], 2)


def weights_by_hand(query, key, a, similarity, scale):
    """Weights of one query (D,) over the keys (D, N)."""
    keys = key.shape[1]
    if similarity == "concatenation":
        return torch.stack([(a @ torch.cat([query, key[:, j]])).clamp(min=0) / keys for j in range(keys)])
    product = torch.stack([scale * (query * key[:, j]).sum() for j in range(keys)])
    return product / keys if similarity == "dot_product" else product.exp() / product.exp().sum()


def block_by_hand(block, x, similarity, pool, scale):
    """The block in evaluation, on flat positions and from its state_dict alone."""
    state = block.state_dict()

    def project(name, t):
        if f"{name}.weight" not in state:
            return t
        return torch.einsum("oi,bin->bon", state[f"{name}.weight"].flatten(1), t) + state[f"{name}.bias"][:, None]

    flat, size = x.flatten(2), tuple(x.shape[2:])
    query = project("query", flat)
    if pool == "after":
        key, value = (pooled_by_hand(project(name, flat), size) for name in ("key", "value"))
    else:
        key, value = (project(name, pooled_by_hand(flat, size)) for name in ("key", "value"))
    y = torch.zeros(x.shape[0], value.shape[1], query.shape[2], dtype=x.dtype)
    for b in range(x.shape[0]):
        for i in range(query.shape[2]):
            weight = weights_by_hand(query[b, :, i], key[b], state.get("concat_weight"), similarity, scale)
            y[b, :, i] = sum(weight[j] * value[b, :, j] for j in range(value.shape[2]))
    mean, variance, gain, bias = (
        state[f"norm.{name}"][:, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return x + ((project("out", y) - mean) / (variance + 1e-5).sqrt() * gain + bias).reshape(x.shape)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("pool", ["after", "before"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_pooled_block_equals_loops(kind, pool, similarity):
    """Odd sizes drop the remainder, an axis of one position is not pooled, time neither."""
    scaled = similarity != "concatenation"
    block = shaken(kind(4, 3, similarity, subsample=True, pool=pool, scale=scaled)).double().eval()
    width = 4 if similarity == "gaussian" else 3
    for size in SIZES[kind]:
        x = torch.randn(2, 4, *size, dtype=torch.float64)
        expected = block_by_hand(block, x, similarity, pool, width**-0.5 if scaled else 1.0)
        torch.testing.assert_close(block(x), expected)


def test_pool_does_not_commute_with_projections():
    after = shaken(NonLocalBlock2d(4, subsample=True)).eval()
    before = NonLocalBlock2d(4, subsample=True, pool="before").eval()
    before.load_state_dict(after.state_dict())
    x = torch.randn(1, 4, 6, 6)
    assert (after(x) - before(x)).abs().max() > 1e-3


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("kind", BLOCKS)
def test_starts_as_the_identity(kind, normalise):
    torch.manual_seed(0)
    block = kind(64, normalise=normalise, similarity="concatenation")
    for size in SIZES[kind][1:]:
        x = torch.randn(2, 64, *size)
        torch.testing.assert_close(block.train()(x), x, rtol=0, atol=0)
        torch.testing.assert_close(block.eval()(x), x, rtol=0, atol=0)
    assert not any(p.abs().max() for name, p in block.named_parameters() if name.endswith("bias"))
    drawn = [block.query.weight, block.key.weight, block.value.weight, *([block.out.weight] if normalise else [])]
    for weight in drawn:
        assert abs(weight.std().item() - 0.01) < 0.001
    last = block.norm.weight if normalise else block.out.weight
    block(torch.randn(2, 64, *SIZES[kind][-1])).square().sum().backward()
    assert last.grad.abs().max() > 0, "the block can not leave the identity"


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_output_depends_on_every_input(kind):
    size = SIZES[kind][-1]
    block = shaken(kind(4)).double().eval()
    x = torch.randn(1, 4, *size, dtype=torch.float64, requires_grad=True)
    y = block(x)[0].flatten(1)
    for i in range(y.shape[1]):
        (slope,) = torch.autograd.grad(y[:, i].sum(), x, retain_graph=True)
        assert (slope.abs().sum(1) > 0).all()


def test_transposing_the_map_transposes_the_answer():
    block = shaken(NonLocalBlock2d(4, subsample=True)).double().eval()
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(block(x.transpose(2, 3)), block(x).transpose(2, 3))


@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("size", [(5, 6), (1, 7), (3, 1), (1, 1)])
def test_tap_shows_a_dense_map(size, subsample):
    """Through the tap of an image block, and of a sequence block as an image of one row."""
    block = shaken(NonLocalBlock2d(4, subsample=subsample)).double().eval()
    _, operands = observed(block, torch.randn(1, 4, *size, dtype=torch.float64))
    queries = torch.tensor([0])
    grid = tuple(n // 2 if n > 1 and subsample else n for n in size)
    spread = dense(block.attend.support, block.attend.weights(*operands, queries=queries), queries, *size)
    assert tuple(spread.shape) == (1, 1, 1, *grid)
    torch.testing.assert_close(spread.sum(), torch.ones((), dtype=torch.float64))
    if size[0] == 1:
        line = shaken(NonLocalBlock1d(4, subsample=subsample)).double().eval()
        _, operands = observed(line, torch.randn(1, 4, size[1], dtype=torch.float64))
        spread = dense(line.attend.support, line.attend.weights(*operands, queries=queries), queries, *size)
        assert tuple(spread.shape) == (1, 1, 1, *grid)


def macs(block, *size):
    """Multiply-adds of a call, by torch's counter on shapes alone; the tap's closed form agrees."""
    x = torch.empty(1, block.out.out_channels, *size, device="meta")
    with FlopCounterMode(display=False) as counter:
        _, operands = observed(block, x)
    projections = block.out.weight.numel() * operands[0][0, 0].numel() + block.query.weight.numel() * (x[0, 0].numel())
    keys = x[0, 0].numel() if block.pool == "after" else operands[1][0, 0].numel()
    projections += (block.key.weight.numel() + block.value.weight.numel()) * keys
    assert counter.get_total_flops() == 2 * (projections + block.attend.cost(*operands).macs)
    return counter.get_total_flops() // 2


def test_printed_parameters_and_costs():
    """Blocks in stages 3 and 4 of a ResNet-101 on 32 frames of 224 x 224 (section 5.1: 2 and 3 of them): 1.2 x 34.2 G."""
    count = {
        width: sum(p.numel() for p in NonLocalBlock3d(width, normalise=False, device="meta").parameters())
        for width in (512, 1024)
    }
    assert count == {512: 525_568, 1024: 2_099_712}
    ratio = {}
    for pool in ("before", "after"):
        stage3 = NonLocalBlock3d(512, subsample=True, pool=pool, device="meta").eval()
        stage4 = NonLocalBlock3d(1024, subsample=True, pool=pool, device="meta").eval()
        ratio[pool] = 1 + (2 * macs(stage3, 4, 28, 28) + 3 * macs(stage4, 4, 14, 14)) / 34.2e9
    assert {pool: round(value, 2) for pool, value in ratio.items()} == {"before": 1.24, "after": 1.33}
    image = NonLocalBlock2d(1024, subsample=True, pool="before", device="meta").eval()
    assert round(macs(image, 14, 14) / 1e9, 2) == 0.27


@pytest.mark.parametrize(
    "options",
    [
        {"subsample": True, "scale": True},
        {"similarity": "concatenation", "subsample": True, "pool": "before"},
        {"similarity": "dot_product", "normalise": False},
        {"similarity": "gaussian", "scale": True},
    ],
)
def test_contract(options):
    check_layer(lambda: shaken(NonLocalBlock2d(6, **options)), 6)


@pytest.mark.parametrize("kind", [NonLocalBlock1d, NonLocalBlock3d])
def test_contract_of_other_dimensions(kind):
    block = shaken(kind(4, subsample=True)).eval()
    contract_nd.check_sizes(block, 4, SIZES[kind])
    # torch exports its MaxPool1d for one size alone
    contract_nd.check_graphs(shaken(kind(4)).eval(), torch.randn(2, 4, *SIZES[kind][-1]))


def test_inner_width_is_half_and_at_least_one():
    assert NonLocalBlock2d(9).query.out_channels == 4
    assert NonLocalBlock2d(1).query.out_channels == 1


ERRORS = {
    "similarity must be one of embedded_gaussian, .*; got 'softmax'": {"similarity": "softmax"},
    "pool must be 'after' or 'before' the projections; got 'first'": {"pool": "first"},
    "channels must be positive; got in_channels=4, inter_channels=0": {"inter_channels": 0},
    "'concatenation' has no product to scale; got scale=True": {"similarity": "concatenation", "scale": True},
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_quote_value_and_rule(message):
    with pytest.raises(ValueError, match=message):
        NonLocalBlock2d(4, **ERRORS[message])


@pytest.mark.parametrize("kind", BLOCKS)
def test_wrong_number_of_axes_is_named(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__} takes \(B, C, .*\); got a tensor of shape \(4, 3\)"):
        kind(4)(torch.zeros(4, 3))
