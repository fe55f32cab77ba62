"""Every net of the catalogue does what timm expects of a model; every check runs for real, on the net in small.

Nets that are equal in small (SAN10 and SAN15, a net and its sibling for 384 x 384) run once.

Gates that start at zero (last norms, gammas, ViT's head) are opened first, for behind a closed gate a gradient is zero.
"""

import copy
import pickle
import re

import pytest
import timm
import torch
from timm.data import resolve_data_config
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay

import sightline
from sightline.backbones import NETS
from tests.backbones.shrunken import open_gates, shrunken, side, small_config

NAMES = sightline.list_models()
DISTINCT = list({repr(small_config(name)): name for name in reversed(NAMES)}.values())[::-1]  # the first of each kind
# a constant that every tap or key of a softmax shares, and what a later norm subtracts, reaches no logit
CANCELLED = r".*(position\.bias|mapping\.linear\d\.bias|key\.bias|geometry\.outer\.bias)$"
CANCELLED_IN = {"san10_pairwise_qk": r".*query\.bias"}  # the bias of q = k is in both terms of q_i - k_j
KINDS = [  # one of each kind of layer, stem, block, head
    "conv_resnet34",
    "se_resnet50",
    "aa_resnet50",
    "aa_resnet50_ratio100",
    "aa_wide_resnet28_10",
    "nonlocal_resnet50",
    "ccnet_resnet50",
    "sasa_resnet26",
    "sasa_resnet50_convstem",
    "lrnet26",
    "san10_pairwise_qkv",
    "san10_patchwise_qk",
    "vit_b16_gap",
    "vit_b16_2d_layers",
    "vit_b16_relative",
    "vit_b16_r50",
    "deit_s16_distilled",
]


EXPORTED = [  # what the small nets of test_catalogue.py do not export
    "conv_resnet34",
    "se_resnet50",
    "aa_resnet50",
    "ccnet_resnet50",
    "sasa_resnet26",
    "san10_patchwise_qk",
    "vit_b16_2d_layers",
    "vit_b16_relative",
    "vit_b16_r50",
]


def images(rows: int, cols: int | None = None, batch: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.randn(batch, channels, rows, cols or rows, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", DISTINCT)
def test_heads_and_features(name):
    net = open_gates(shrunken(name)).eval()
    for x in (images(side(name)), images(side(name) - 16, side(name) + 5, 1)):
        features = net.forward_features(x)
        logits = net(x)
        assert logits.shape == (len(x), 5)
        torch.testing.assert_close(net.forward_head(features), logits)
        pooled = net.forward_head(features, pre_logits=True)
        assert pooled.shape == (len(x), net.head_hidden_size)
    net.reset_classifier(3)
    assert (net(x).shape, net.num_classes) == ((1, 3), 3)
    net.reset_classifier(0)
    assert net(x).shape == (1, net.num_features)
    torch.testing.assert_close(net(x), pooled)
    assert shrunken(name, num_classes=0)(images(side(name))).shape == (2, net.num_features)


@pytest.mark.parametrize("name", DISTINCT)
def test_every_parameter_gets_a_gradient(name):
    net = open_gates(shrunken(name, drop_path_rate=0.1)).train()
    x = images(side(name))
    net(x).square().mean().backward()
    named = dict(net.named_parameters())
    assert [key for key, one in named.items() if one.grad is None or not one.grad.isfinite().all()] == []
    settle(net, x).double().zero_grad()
    net(x.double()).square().mean().backward()
    largest = {key: one.grad.abs().max() for key, one in named.items()}
    silent = [key for key, one in largest.items() if one <= 1e-13 * max(largest.values())]
    cancelled = f"{CANCELLED}|{CANCELLED_IN.get(name)}"
    assert [key for key in silent if not re.fullmatch(cancelled, key)] == []


def settle(net: torch.nn.Module, x: torch.Tensor) -> torch.nn.Module:
    """In inference, with the batch's statistics as constants: while training, a norm hides what it subtracts."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # type: ignore[assignment] (torch: the mean of all batches)
    with torch.no_grad():
        net(x)
    return net.eval()


@pytest.mark.parametrize("name", NAMES)
def test_what_timm_reads_of_a_net(name):
    net = shrunken(name, in_chans=2)
    named, cfg = dict(net.named_parameters()), net.pretrained_cfg
    assert set(net.no_weight_decay()) <= set(named)
    heads, firsts = (one if isinstance(one, tuple) else (one,) for one in (cfg["classifier"], cfg["first_conv"]))
    assert [named[f"{head}.weight"].shape[0] for head in heads] == [5] * len(heads)
    assert [named[f"{first}.weight"].shape[1] for first in firsts] == [2] * len(firsts)
    classifier = net.get_classifier()
    assert classifier == (net.get_submodule(heads[0]) if len(heads) == 1 else tuple(map(net.get_submodule, heads)))
    assert {cfg["architecture"]} == {name}
    data = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    assert data["input_size"] == NETS[name].cfg["input_size"]
    assert all(0 < one < 1 for one in (*data["mean"], *data["std"], 1 - data["crop_pct"] / 2))


@pytest.mark.parametrize("name", DISTINCT)
@pytest.mark.parametrize("coarse", [False, True])
def test_layer_decay_knows_every_parameter(name, coarse):
    net = shrunken(name)
    matcher = net.group_matcher(coarse)
    patterns = [matcher["stem"], *(one if isinstance(one, str) else one[0] for one in _listed(matcher["blocks"]))]
    unknown = {key for key, _ in net.named_parameters() if not any(re.match(one, key) for one in patterns)}
    heads = net.pretrained_cfg["classifier"]
    assert unknown == {f"{head}.{leaf}" for head in _listed(heads) for leaf in ("weight", "bias")}
    layers = group_parameters(net, matcher, reverse=True)
    assert layers[next(key for key, _ in net.named_parameters())] == 0
    assert sum(len(group["params"]) for group in param_groups_layer_decay(net)) == len(list(net.parameters()))


def _listed(one):
    return list(one) if isinstance(one, list | tuple) else [one]


@pytest.mark.parametrize("name", DISTINCT)
def test_features_only(name):
    net = shrunken(name, features_only=True).eval()
    rows = 2 * net.feature_info.reduction()[-1]
    maps = net(images(rows, 2 * rows))
    assert [one.shape[1] for one in maps] == net.feature_info.channels()
    assert [(rows / one.shape[2], 2 * rows / one.shape[3]) for one in maps] == [
        (one, one) for one in net.feature_info.reduction()
    ]


@pytest.mark.parametrize("name", KINDS)
def test_grad_checkpointing_gives_equal_gradients(name):
    net = open_gates(shrunken(name)).double().train()
    other = copy.deepcopy(net)
    other.set_grad_checkpointing()
    recomputed = []
    blocks = [one for key, one in other.named_modules() if re.fullmatch(r"(blocks|layer\d|stages\.\d\.blocks)\.0", key)]
    for block in blocks:
        block.register_forward_pre_hook(lambda *_: recomputed.append(1))
    for one in (net, other):
        one(images(side(name)).double()).square().mean().backward()
    assert len(recomputed) == 2 * len(blocks) > 0
    for (key, a), b in zip(net.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=key)


@pytest.mark.parametrize("name", KINDS)
def test_copies_and_options(name):
    net = open_gates(shrunken(name, in_chans=1, drop_rate=0.2, drop_path_rate=0.2)).train()
    net(images(side(name), channels=1))
    net.eval()
    expected = net(images(side(name), channels=1))
    fresh = shrunken(name, in_chans=1)
    fresh.load_state_dict(net.state_dict())
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), fresh.eval()):
        torch.testing.assert_close(twin(images(side(name), channels=1)), expected, rtol=0, atol=0)
    with pytest.raises(TypeError, match="wrong_option"):
        shrunken(name, wrong_option=1)


@pytest.mark.parametrize("name", EXPORTED)
def test_exports(name):
    net, x = open_gates(shrunken(name)).eval(), images(side(name))
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(x[:1]), net(x[:1]), rtol=1e-4, atol=1e-5)
