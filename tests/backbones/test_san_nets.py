"""SAN by name: the printed numbers of its tables, by our count and by the authors' own way of counting; starting weights."""

import pytest
import torch
from torch import nn

import sightline
from sightline.backbones import NETS
from sightline.backbones.san_net import SANStage
from sightline.layers import PairwiseSelfAttention2d, PatchwiseSelfAttention2d
from sightline.ops.tap import Tap

PRINTED = [name for name, net in NETS.items() if net.family == "san" and net.printed]


def build(name: str) -> nn.Module:
    with torch.device("meta"):
        return sightline.create_model(name)


def authors_count(net: nn.Module) -> int:
    """Multiply-adds of one 224 x 224 image as the authors' counter has them: biases 1, norms 2, ReLU and pooling 1 an element,
    a subtraction 1 an element and tap; no softmax, no products of stars and cliques."""
    total = 0

    def add(module: nn.Module, operands: tuple, output: torch.Tensor) -> None:
        nonlocal total
        size, given = output[0].numel(), operands[0][0].numel()
        if isinstance(module, nn.Conv2d):
            total += size * (module.in_channels + (module.bias is not None))
        elif isinstance(module, nn.Linear) and operands[0].ndim == 4:  # gamma's
            total += size * (module.in_features + (module.bias is not None))
        elif isinstance(module, nn.Linear):
            total += module.in_features * module.out_features
        elif isinstance(module, nn.BatchNorm2d):
            total += 3 * given  # a ReLU follows each
        elif isinstance(module, nn.AdaptiveAvgPool2d | SANStage):
            total += given
        elif isinstance(module, Tap):
            total += size * module.options["kernel_size"] ** 2
        elif isinstance(module, PairwiseSelfAttention2d):
            channels = module.query.out_channels if module.relation in ("subtraction", "summation", "hadamard") else 0
            taps = module.geometry["kernel_size"] ** 2 * operands[0][0, 0].numel()
            total += taps * (channels + 2 * (module.position is not None))

    for module in net.modules():
        module.register_forward_hook(add)
    net.eval()(torch.empty(1, 3, 224, 224, device="meta"))
    return total


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_numbers(name):
    """Parameters to the printed digit, operations within 0.005 billion of it."""
    net, printed = build(name), NETS[name].printed
    parameters = sum(one.numel() for one in net.parameters()) / 1e6
    assert f"{parameters:.1f}" == printed.parameters
    assert authors_count(net) / 1e9 == pytest.approx(float(printed.flops), abs=0.055)


def test_starting_weights_are_torchs_own():
    """Uniform within 1 / sqrt(fan-in), weights and biases; norms 1 and 0."""
    torch.manual_seed(0)
    for kind in (PairwiseSelfAttention2d, PatchwiseSelfAttention2d):
        net = sightline.create_model("san10_pairwise", attention=kind, widths=(512,) * 5, layers=(1,) * 5)
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = module.weight[0].numel() ** -0.5
                assert module.weight.abs().max() <= bound, name
                if module.weight.numel() > 1000:
                    assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05), name
            elif isinstance(module, nn.BatchNorm2d):
                assert (module.weight == 1).all(), name
                assert (module.bias == 0).all(), name


@pytest.mark.parametrize("kind", [PairwiseSelfAttention2d, PatchwiseSelfAttention2d])
def test_shared_maps_are_the_distinct_ones_made_equal(kind):
    """One map for queries and keys gives what two equal ones give; likewise one for all."""
    torch.manual_seed(0)
    x, relation = torch.randn(2, 6, 7, 5, dtype=torch.float64), {"relation": "star"} if "Patch" in kind.__name__ else {}
    for transforms, width in (("query=key", 4), ("query=key=value", 8)):
        shared = kind(6, 8, 3, 2, rel_channels=width, transforms=transforms, **relation).double().eval()
        apart = kind(6, 8, 3, 2, rel_channels=width, **relation).double().eval()
        if shared.value is None and kind is PairwiseSelfAttention2d:
            apart.mapping = shared.mapping  # of another width
        state = shared.state_dict()
        for name in ("key", "value"):
            for leaf in ("weight", "bias"):
                state.setdefault(f"{name}.{leaf}", state[f"query.{leaf}"])
        apart.load_state_dict(state)
        torch.testing.assert_close(shared(x), apart(x))


def test_a_repeated_centre_joins_once():
    """Concatenation with q = k: what gamma would read of the query alone is left out, not read twice."""
    torch.manual_seed(0)
    layer = PatchwiseSelfAttention2d(6, 8, 3, rel_channels=4, transforms="query=key").double().eval()
    assert layer.mapping.linear1.in_features == 4 * 9
    whole = PatchwiseSelfAttention2d(6, 8, 3, rel_channels=4).double().eval()
    state = layer.state_dict() | {f"key.{leaf}": layer.state_dict()[f"query.{leaf}"] for leaf in ("weight", "bias")}
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        padding = torch.ones(4) if leaf == "running_var" else torch.zeros(4)
        state[f"mapping.norm1.{leaf}"] = torch.cat([padding, state[f"mapping.norm1.{leaf}"]])
    state["mapping.linear1.weight"] = torch.cat([torch.zeros(1, 4), state["mapping.linear1.weight"]], dim=1)
    whole.load_state_dict(state)
    x = torch.randn(1, 6, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x), whole(x))


def test_wrong_maps_are_refused():
    with pytest.raises(ValueError, match="transforms must be one of distinct, query=key, query=key=value; got 'same'"):
        PairwiseSelfAttention2d(8, transforms="same")
    with pytest.raises(ValueError, match="'query=key=value' need rel_channels = out_channels; got 2 and 8"):
        PatchwiseSelfAttention2d(8, rel_channels=2, transforms="query=key=value")
