"""Counting: against torch's own counter where it can count, and by hand."""

import pytest
import timm
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import sightline
from sightline.cost import count, peak_memory, throughput


def test_plain_nets_agree_with_torch():
    model = timm.create_model("resnet18", num_classes=10).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.to("meta")(torch.empty(1, 3, 64, 48, device="meta"))
    counted = count(model, (64, 48))
    assert counted.macs == counter.get_total_flops() // 2
    assert counted.parameters == sum(p.numel() for p in model.parameters())


def test_fused_attention_counts_by_its_closed_form():
    model = sightline.create_model("vit_mini", num_classes=10, img_size=32)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # torch 2.11 does not count its fused kernel for CPUs
        model.eval()(torch.randn(1, 3, 32, 32))
    counted = count(model, (32, 32))
    assert counted.macs == pytest.approx(counter.get_total_flops() / 2, rel=1e-6)


def test_local_attention_by_hand():
    model = sightline.create_model("sasa_resnet_mini", num_classes=10, img_size=32)
    counted = count(model, (32, 32))
    first = counted.ops[0]
    assert first.op == "local_attention"
    assert first.cost.macs == 32 * 32 * (25 * (32 + 32) + 5 * 32)
    assert first.cost.weights_stored == 32 * 32 * 4 * 25
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_peak_memory_sees_the_activations():
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(12, 1000)

        def forward(self, x):
            return self.inner(x.flatten(1))

    peak = peak_memory(Wide(), (2, 2), batch_size=64)
    activation = 64 * 1000 * 4
    assert 2 * activation <= peak <= 6 * activation
    assert peak == peak_memory(Wide(), (2, 2), batch_size=64)


def test_throughput_leaves_the_model_alone():
    model = sightline.create_model("resnet_mini", num_classes=2).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert throughput(model, (8, 8), 2, training=True, seconds=0) > 0
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(("dtype", "size"), [(torch.float64, 8), (torch.bfloat16, 2)])
def test_nets_of_other_precisions(dtype, size):
    model = sightline.create_model("sasa_resnet_mini", num_classes=2)
    plain, counted = count(model, (9, 8)), count(model.to(dtype), (9, 8))
    assert (counted.macs, counted.parameters) == (plain.macs, plain.parameters)
    assert counted.ops[0].cost.bytes_moved == plain.ops[0].cost.bytes_moved * size // 4
    assert peak_memory(model, (9, 8), 2) > 0
    assert throughput(model, (9, 8), 2, training=False, seconds=0) > 0
