"""What the contract asks of image layers, for layers of sequences and video: shapes, gradients, dtypes, copies, graphs."""

import copy
import pickle

import torch
from torch import Tensor, nn


def check_sizes(layer: nn.Module, channels: int, sizes: tuple[tuple[int, ...], ...]) -> None:
    """At every size the output has the input's shape, gradients are finite, bfloat16, autocast and a pickled copy agree."""
    for size in sizes:
        x = torch.randn(2, channels, *size, requires_grad=True)
        expected = layer(x)
        assert expected.shape == x.shape
        slopes = torch.autograd.grad(expected.square().sum(), [x, *layer.parameters()])
        assert all(torch.isfinite(slope).all() for slope in slopes)
        half = copy.deepcopy(layer).bfloat16()(x.bfloat16())
        assert half.dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            mixed = layer(x)
        for got in (half, mixed):
            assert (got - expected).abs().max() <= 0.05 * expected.abs().max()
        torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x), expected)


def check_graphs(layer: nn.Module, x: Tensor) -> None:
    """torch.compile(fullgraph=True) and torch.export for any batch and grid give the eager output."""
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    sizes = {0: torch.export.Dim("batch")} | dict.fromkeys(range(2, x.ndim), torch.export.Dim.AUTO)
    program = torch.export.export(layer, (x,), dynamic_shapes=(sizes,)).module()
    for other in (x[:1], torch.randn(3, x.shape[1], *(size + 4 for size in x.shape[2:]))):
        torch.testing.assert_close(program(other), layer(other))
