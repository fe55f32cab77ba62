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
    """torch.compile(fullgraph=True) and torch.export with a dynamic batch give the eager output."""
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(x[:1]), layer(x[:1]))
