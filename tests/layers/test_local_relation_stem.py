"""LocalRelationStem2d: the joined path is the two modules one after the other, and gives way to whoever looks between them."""

import pytest
import torch
from torch import nn

from sightline.layers import LocalRelation2d, LocalRelationStem2d


def stem(channels=16, share=8, image=3, dtype=torch.float64, **options):
    torch.manual_seed(0)
    first = nn.Conv2d(image, channels, 1, bias=False)
    return LocalRelationStem2d(first, LocalRelation2d(channels, 12, 5, 2, share=share, bias=True, **options)).to(dtype)


def run(module, x):
    x = x.clone().requires_grad_()
    y = module(x)
    y.square().sum().backward()
    found = [y.detach(), x.grad, *(one.grad for one in module.parameters())]
    module.zero_grad()
    return found


@pytest.mark.parametrize("size", [(9, 14), (1, 7), (5, 5)])
@pytest.mark.parametrize(
    "options", [{}, {"border": "zero"}, {"geometry": False, "similarity": "squared_difference"}, {"dilation": 2}]
)
def test_joined_is_apart(size, options):
    module, x = stem(**options), torch.randn(2, 3, *size, dtype=torch.float64)
    assert module._joinable(3)
    joined = run(module, x)
    module[1].register_forward_hook(lambda *_: None)
    assert not module._joinable(3)
    for one, other in zip(joined, run(module, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_only_where_it_is_exact_and_pays():
    assert not stem(channels=20)._joinable(3)  # the last group is smaller
    assert not stem(share=2, image=3)._joinable(3)  # an image channel more than a group has
    assert not stem(order="interleaved")._joinable(3)
    changed = stem()
    changed[0] = nn.Conv2d(3, 16, 3, padding=1, bias=False).double()
    assert not changed._joinable(3)
    x = torch.randn(1, 3, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(changed(x), changed[1](changed[0](x)))


def test_layout_and_weights_of_the_tap():
    module, x = stem(dtype=torch.float32), torch.randn(2, 3, 10, 7)
    seen = []
    module[1].attend.register_forward_hook(lambda tap, operands, y: seen.append(tap.weights(*operands)))
    y, z = module(x), module(x.contiguous(memory_format=torch.channels_last))
    assert z.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, z)
    module[1].register_forward_pre_hook(lambda *_: None)  # apart from here on
    module(x)
    torch.testing.assert_close(seen[0], seen[2])
    torch.testing.assert_close(module(x), y, rtol=1e-4, atol=1e-5)


def test_it_compiles_and_keeps_the_names():
    module, x = stem(dtype=torch.float32), torch.randn(2, 3, 10, 7)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x))
    program = torch.export.export(module, (x,))
    torch.testing.assert_close(program.module()(x), module(x), rtol=1e-4, atol=1e-5)
    assert {name.partition(".")[0] for name in module.state_dict()} == {"0", "1"}
