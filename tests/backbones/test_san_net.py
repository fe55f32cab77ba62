"""SAN: golden networks, the paper's parameter counts, sizes, timm's conventions for learning rates."""

import re

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from sightline.backbones.san_net import SAN, SANConfig
from sightline.cost import count
from sightline.layers import PairwiseSelfAttention2d, PatchwiseSelfAttention2d
from tests import golden_cases

PAIRWISE, PATCHWISE = PairwiseSelfAttention2d, PatchwiseSelfAttention2d
KINDS = {"pairwise": PAIRWISE, "patchwise": PATCHWISE}
SAN10, SAN15, SAN19 = (2, 1, 2, 4, 1), (3, 2, 3, 5, 2), (3, 3, 4, 6, 3)
RENAME = (  # golden's names for ours
    (r"^stem\.conv", "stem.0"),
    (r"^stem\.bn", "stem.1"),
    (r"\.trans\.", ".transition."),
    (r"\.sam\.pos\.", ".attention.position."),
    (r"\.sam\.w_bn(\d)\.", r".attention.mapping.norm\1."),
    (r"\.sam\.w_fc(\d)\.", r".attention.mapping.linear\1."),
    (r"\.sam\.", ".attention."),
    (r"\.bn(\d?)\.", r".norm\1."),
    (r"\.out\.", ".linear."),
)


def ours(theirs: str) -> str:
    """Our name of golden's parameter or buffer."""
    for pattern, replacement in RENAME:
        theirs = re.sub(pattern, replacement, theirs)
    return theirs


def small(kind: str, num_classes: int = 5, **options) -> SAN:
    """Two stages, for quick tests."""
    torch.manual_seed(0)
    config = SANConfig((1, 2), KINDS[kind], widths=(32, 32), kernels=(3, 5), strides=(1, 2), stem_width=8)
    return SAN(config, num_classes, **options)


@pytest.mark.parametrize("name", golden_cases.names("san_network_*"))
def test_golden(name):
    case = golden_cases.load(name)
    c = case.config
    config = SANConfig(
        tuple(c["layers"]), KINDS[c["sa_type"]], widths=tuple(c["widths"]), kernels=tuple(c["kernels"]), stem_width=64
    )
    net = SAN(config, c["num_classes"]).double().eval()
    leaves = {"x": case.tensors["input.x"].requires_grad_()}
    for theirs, tensor in case.part("param").items():
        leaves[theirs] = parameter = net.get_parameter(ours(theirs))
        parameter.data.copy_(tensor.reshape(parameter.shape))
    for theirs, tensor in case.part("buffer").items():
        net.get_buffer(ours(theirs)).copy_(tensor)
    assert len(leaves) == 1 + len(list(net.parameters()))
    golden_cases.check(case, {"logits": net(leaves["x"])}, leaves)


@pytest.mark.parametrize(("attention", "expected"), [(PAIRWISE, 2_043_668_868), (PATCHWISE, 1_791_048_192)])
def test_multiply_adds(attention, expected):
    # printed with normalisation, ReLU and softmax: 2.2 and 1.9 billion; without, an independent recount says 2.04 and 1.79
    with torch.device("meta"):
        net = SAN(SANConfig(SAN10, attention))
    assert count(net, (224, 224)).macs == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2), (5, 11)])
def test_any_size_passes(kind, size):
    deep = SANConfig((1, 1, 1, 1), KINDS[kind], widths=(32,) * 4, kernels=(3,) * 4, strides=(2,) * 4, stem_width=4)
    torch.manual_seed(0)
    net = SAN(deep, 3).double().eval()
    images = torch.randn(1, 3, *size, dtype=torch.float64, requires_grad=True)
    logits = net(images)
    logits.square().sum().backward()
    assert logits.shape == (1, 3)
    for parameter in (images, *net.parameters()):
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_every_parameter_matters_but_those_a_softmax_cancels():
    """A shift common to all taps, by the bias of the positions or of the last linear, leaves the softmax as it is."""
    net = small("pairwise").double().eval()
    net(torch.randn(4, 3, 8, 8, dtype=torch.float64)).square().sum().backward()
    silent = {name for name, parameter in net.named_parameters() if parameter.grad.abs().max() < 1e-12}
    cancelled = ("attention.position.bias", "attention.mapping.linear2.bias")
    assert silent == {name for name, _ in net.named_parameters() if name.endswith(cancelled)}


def test_grad_checkpointing_recomputes_the_blocks_to_the_same_gradients():
    net = small("patchwise").double().train()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    net(images).square().sum().backward()
    expected = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    net.set_grad_checkpointing(True)
    calls = []
    net.stages[1].blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    net(images).square().sum().backward()
    assert len(calls) == 2
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_layer_decay_sees_every_block_in_order():
    net = small("pairwise")
    groups = param_groups_layer_decay(net, weight_decay=0.05, layer_decay=0.5, min_scale=0.0)
    scale = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    ladder = ["stem.0", "stages.0.blocks.0.linear", "stages.1.blocks.0.linear", "stages.1.blocks.1.linear", "head"]
    scales = [scale[id(net.get_parameter(f"{name}.weight"))] for name in ladder]
    assert scales == sorted(set(scales))
    assert scale[id(net.get_parameter("stages.1.transition.weight"))] == scales[2]


def test_stochastic_depth_grows_and_options_are_checked():
    net = small("pairwise", drop_path_rate=0.2)
    blocks = [block for stage in net.stages for block in stage.blocks]
    assert isinstance(blocks[0].drop_path, nn.Identity)
    assert [block.drop_path.drop_prob for block in blocks[1:]] == pytest.approx([0.1, 0.2])
    with pytest.raises(TypeError, match="wrong_option"):
        timm.create_model("san_mini_patchwise", wrong_option=1)
    assert timm.create_model("san_mini_patchwise", num_classes=0, img_size=32).head_hidden_size == 512
