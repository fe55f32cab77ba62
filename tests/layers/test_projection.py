"""Several 1 x 1 convolutions as one: values, gradients, and when every module is called itself."""

import torch
from torch import nn

from sightline.layers.projection import project


def maps(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.ModuleList(
        [nn.Conv2d(6, 3, 1, dtype=dtype), nn.Conv2d(6, 3, 1, bias=False, dtype=dtype), nn.Conv2d(6, 5, 1, dtype=dtype)]
    )


def both(built, x):
    """Outputs and gradients, together and one by one."""
    found = []
    for call in (lambda: project(x, built), lambda: [one(x) for one in built]):
        built.zero_grad()
        outputs = call()
        sum(
            (one * torch.linspace(0, 1, one.numel(), dtype=one.dtype).view(one.shape)).sum() for one in outputs
        ).backward()
        found.append([*(one.detach() for one in outputs), *(one.grad.clone() for one in built.parameters())])
    return found


def test_values_and_gradients():
    for x in (torch.randn(2, 6, 5, 3, dtype=torch.float64), torch.randn(1, 6, 1, 1, dtype=torch.float64)):
        for one, other in zip(*both(maps(), x), strict=True):
            torch.testing.assert_close(one, other)


def test_hooked_and_other_modules_are_called():
    built, x, seen = maps(), torch.randn(2, 6, 5, 3, dtype=torch.float64), []
    built[1].register_forward_hook(lambda *_: seen.append("hook"))
    project(x, built)
    assert seen == ["hook"]
    strided = nn.ModuleList(
        [nn.Conv2d(6, 3, 1, stride=2), nn.Conv2d(6, 3, 1, padding=1), nn.Conv2d(6, 3, 1, groups=3), nn.Identity()]
    )
    assert [tuple(one.shape[1:]) for one in project(x.float(), strided)] == [(3, 3, 2), (3, 7, 5), (3, 5, 3), (6, 5, 3)]
