"""Where the first NaN is found: images, a weight, a layer, the loss, a gradient."""

import pytest
import torch
from torch import nn

from sightline.train.nonfinite import first_nonfinite, first_nonfinite_gradient
from tests.train.tiny import TinyNet


class Overflow(nn.Module):
    def forward(self, x):
        return x * float("inf"), x


def images() -> torch.Tensor:
    return torch.rand(2, 3, 6, 5)


def test_images():
    broken = images()
    broken[1, 0, 2, 2] = float("nan")
    assert first_nonfinite(TinyNet(3, 3), broken) == "the images of the batch are not finite"


@pytest.mark.parametrize("name", ["fc.weight", "norm.running_var"])
def test_a_weight_or_a_statistic(name):
    model = TinyNet(3, 3)
    model.state_dict()[name].view(-1)[0] = float("inf")
    assert first_nonfinite(model, images()) == f"{name} is not finite, the step before broke it"


def test_the_innermost_layer_even_in_a_tuple():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU(), Overflow()))
    assert first_nonfinite(model, images()) == "layer 1.1 (Overflow) is the first whose output is not finite"
    assert not any(module._forward_hooks for module in model.modules())


def test_the_model_itself():
    assert "the model itself (Overflow)" in first_nonfinite(Overflow(), images())


def test_the_loss():
    assert first_nonfinite(TinyNet(3, 3), images()) == "all layers are finite, the loss is not"


def test_a_gradient():
    model = TinyNet(3, 3)
    model(images()).sum().backward()
    model.norm.bias.grad[0] = float("nan")
    assert first_nonfinite_gradient(model) == "the gradient of norm.bias is not finite"
