"""PairwiseSelfAttention2d and PatchwiseSelfAttention2d: golden cases and the contract of all layers."""

import pytest
import torch
from torch import nn

from sightline.layers import PairwiseSelfAttention2d, PatchwiseSelfAttention2d
from tests import golden_cases
from tests.layers.contract import check_layer, check_sizes

KINDS = {"pairwise": PairwiseSelfAttention2d, "patchwise": PatchwiseSelfAttention2d}
# golden's names for our modules
NAMES = {
    "pos": "position",
    "w_bn1": "mapping.norm1",
    "w_fc1": "mapping.linear1",
    "w_bn2": "mapping.norm2",
    "w_fc2": "mapping.linear2",
}


def ours(theirs: str) -> str:
    """Our name of golden's parameter or buffer: pos.weight -> position.weight."""
    module, _, leaf = theirs.rpartition(".")
    return f"{NAMES.get(module, module)}.{leaf}"


def fill(layer: nn.Module, case: golden_cases.Golden) -> dict[str, nn.Parameter]:
    """Give the layer the case's parameters and buffers; its parameters by golden's names."""
    leaves = {}
    for theirs, tensor in case.part("param").items():
        leaves[theirs] = parameter = layer.get_parameter(ours(theirs))
        parameter.data.copy_(tensor.reshape(parameter.shape))
    for theirs, tensor in case.part("buffer").items():
        layer.get_buffer(ours(theirs)).copy_(tensor)
    assert len(leaves) == len(list(layer.parameters()))
    return leaves


@pytest.mark.parametrize("name", golden_cases.names("san_sam_*"))
def test_golden(name):
    case = golden_cases.load(name)
    c = case.config
    layer = KINDS[c["sa_type"]](
        c["in_planes"],
        c["out_planes"],
        c["kernel_size"],
        c["stride"],
        c["dilation"],
        rel_channels=c["rel_planes"],
        share=c["share_planes"],
    ).double()
    leaves = fill(layer, case)
    layer.train(c["mode"] == "train")
    x = case.tensors["input.x"].requires_grad_()
    outputs = {"y": layer(x)}
    for theirs in case.part("output").keys() - {"y"}:
        outputs[theirs] = layer.get_buffer(ours(theirs))
    golden_cases.check(case, outputs, leaves | {"x": x})
