"""The compiled kernels cpu.cpp as torch operators, `torch.ops.sightline.relation_mapping` and the moments its norms need."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops import native
from sightline.ops.native import operator
from sightline.ops.relation_mapping import reference

SCHEMA = (
    "(Tensor centre, Tensor around, Tensor gain1, Tensor offset1, Tensor weight1, Tensor gain2, Tensor offset2, "
    "Tensor weight2, Tensor bias, Tensor moments1, Tensor moments2, "
    "int kernel_size, float eps1, float eps2, bool batch1, bool batch2)"
)
_TENSORS = 11


def affine(gain: Tensor, offset: Tensor, moments: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """A norm as scale x + shift."""
    scale = gain.detach().float() * (moments[1].float() + eps).rsqrt()
    return scale, offset.detach().float() - moments[0].float() * scale


def forward(*operands) -> Tensor:
    """Run the forward kernel."""
    logits = empty(*operands)
    _Kernels(*operands).call("relation_mapping", logits)
    return logits


def backward(needed, grad, *operands) -> list[Tensor | None]:
    """Run both passes of the backward: the gradients of all but the moments, None where they are not needed."""
    kernels = _Kernels(*operands)
    grad = operator.table(grad)
    sums, grad_weight2, grad_bias = kernels.first(grad)
    norm2 = BatchNorm(kernels.gain2, kernels.moments2, kernels.eps2, kernels.batch2, kernels.count)
    grad_gain2, coefficients = norm2.backward(sums[:, 0], sums[:, 1])
    grad_weight1, by_centre, by_neighbour = kernels.second(grad, torch.stack(coefficients))
    total = by_centre.sum((0, 2, 3))
    moment = (by_centre * kernels.centre).sum((0, 2, 3)) + (by_neighbour * kernels.around).sum((0, 2, 3))
    norm1 = BatchNorm(kernels.gain1, kernels.moments1, kernels.eps1, kernels.batch1, kernels.count)
    grad_gain1, coefficients = norm1.backward(total, moment)
    grad_maps = kernels.spread(by_centre, by_neighbour, coefficients)
    found = [*grad_maps, grad_gain1, total, grad_weight1, grad_gain2, sums[:, 0], grad_weight2, grad_bias, None, None]
    pairs = zip(found, operands[:_TENSORS], needed, strict=True)
    return [one.to(operand.dtype) if want and one is not None else None for one, operand, want in pairs]


class BatchNorm:
    """What the gradient of y = gain (x - mean) / deviation + offset takes from the sums of dy and of dy x."""

    def __init__(self, gain: Tensor, moments: Tensor, eps: float, batch: bool, count: int) -> None:
        self.mean, self.inverse = moments[0], (moments[1] + eps).rsqrt()
        self.scale, self.batch, self.count = gain * self.inverse, batch, count

    def backward(self, total: Tensor, moment: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The gradient of gain, and c with dx = c[0] dy + c[1] + c[2] x."""
        grad_gain = (moment - self.mean * total) * self.inverse
        if not self.batch:
            return grad_gain, (self.scale, torch.zeros_like(total), torch.zeros_like(total))
        slope = -self.scale * self.inverse * grad_gain / self.count
        return grad_gain, (self.scale, -self.scale * total / self.count - slope * self.mean, slope)


class _Kernels:
    """The operands as the kernels read them, contiguous float32, and calls of the kernels."""

    def __init__(self, *operands) -> None:
        tensors = [operator.table(one) for one in operands[:_TENSORS]]
        self.centre, self.around, self.gain1, offset1, self.weight1 = tensors[:5]
        self.gain2, offset2, self.weight2, self.bias, self.moments1, self.moments2 = tensors[5:]
        self.K, self.eps1, self.eps2, self.batch1, self.batch2 = operands[_TENSORS:]
        first = affine(self.gain1, offset1, self.moments1, self.eps1)
        second = affine(self.gain2, offset2, self.moments2, self.eps2)
        self.inputs = (self.centre, self.around, *first, self.weight1, *second, self.weight2, self.bias)
        self.count = self.centre.shape[0] * self.K**2 * self.centre.shape[2] * self.centre.shape[3]

    def call(self, kernel: str, logits: Tensor | None, coefficients: Tensor | None = None, *outputs: Tensor) -> None:
        """The fields of `Arguments` in cpu.cpp, in order."""
        missing = [None] * (4 - len(outputs))
        addresses = [0 if t is None else t.data_ptr() for t in (*self.inputs, logits, coefficients, *outputs, *missing)]
        batch, relation, rows, cols = self.centre.shape
        hidden, groups = self.weight1.shape[0], self.weight2.shape[0]
        native.call(kernel, *addresses, batch, relation, hidden, groups, self.K, rows, cols)

    def first(self, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums (D, 2) of du and du x, gradients of weight2 and bias."""
        groups, hidden = self.weight2.shape
        sums, weights = self.centre.new_empty(hidden, 2), self.centre.new_empty(groups * hidden + groups)
        self.call("relation_mapping_first", grad, None, sums, weights)
        return sums, weights[:-groups].view(groups, hidden), weights[-groups:]

    def second(self, grad: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradient of weight1, sums of dz by centre and by neighbour."""
        found = [torch.empty_like(one) for one in (self.weight1, self.centre, self.around)]
        self.call("relation_mapping_second", grad, coefficients, *found)
        return found[0], found[1], found[2]

    def spread(self, by_centre: Tensor, by_neighbour: Tensor, c: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Gradients of centre and around: dr = c[0] dz + c[1] + c[2] r, summed over the taps that a pixel takes part in."""
        c0, c1, c2 = (one[:, None, None] for one in c)
        if not self.batch1:
            return c0 * by_centre, c0 * by_neighbour
        taps, border = self.K**2, (self.K - 1,) * 4
        times = _box(F.pad(torch.ones_like(self.centre[:1, :1]), border), self.K)  # windows that read a neighbour
        near = _box(self.around, self.K)
        far = _box(F.pad(self.centre, border), self.K)
        return (
            c0 * by_centre + c1 * taps + c2 * (taps * self.centre + near),
            c0 * by_neighbour + c1 * times + c2 * (times * self.around + far),
        )


def _box(x: Tensor, side: int) -> Tensor:
    """Sums over all side x side windows inside x by adding shifted maps: torch's pooling takes five to nine times as long."""
    for axis in (2, 3):
        length = x.shape[axis] - side + 1
        found = x.narrow(axis, 0, length).clone()
        for tap in range(1, side):
            found += x.narrow(axis, tap, length)
        x = found
    return x


def empty(centre, around, gain1, offset1, weight1, gain2, offset2, weight2, *rest) -> Tensor:
    """Logits of the right shape, float32."""
    taps = rest[3] ** 2
    return centre.new_empty(centre.shape[0], weight2.shape[0], taps, *centre.shape[2:], dtype=torch.float32)


def flops(centre, around, gain1, offset1, weight1, gain2, offset2, weight2, *rest, **_named) -> int:
    """Two a multiply-add of the two linear maps, at every tap."""
    (batch, relation, rows, cols), (groups, hidden) = centre, weight2
    return 2 * batch * rest[3] ** 2 * rows * cols * hidden * (relation + groups)


def _moments(kernel: str, channels: int, centre: Tensor, around: Tensor, layer: tuple[Tensor, ...], K: int) -> Tensor:
    """Run a moments kernel; layer: scale, shift and weight of the hidden layer, or nothing."""
    tensors = [operator.table(one) for one in (centre, around, *layer)]
    out = centre.new_empty(2, channels, dtype=torch.float32)
    inputs = [one.data_ptr() for one in tensors]
    addresses = [*inputs, *[0] * (11 - len(inputs)), out.data_ptr(), 0, 0, 0]
    native.call(kernel, *addresses, *centre.shape[:2], channels, 0, K, *centre.shape[2:])
    return out


def relation_moments(centre: Tensor, around: Tensor, kernel_size: int) -> Tensor:
    """Moments (2, R) of the relation itself."""
    return _moments("relation_moments", centre.shape[1], centre, around, (), kernel_size)


def hidden_moments(centre: Tensor, around: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, K: int) -> Tensor:
    """Moments (2, D) of the hidden layer."""
    return _moments("hidden_moments", weight.shape[0], centre, around, (scale, shift, weight), K)


operator.register("relation_mapping", SCHEMA, forward, backward, empty, flops, reference.run)
operator.define(
    "relation_moments",
    "(Tensor centre, Tensor around, int kernel_size) -> Tensor",
    relation_moments,
    lambda centre, around, kernel_size: centre.new_empty(2, centre.shape[1], dtype=torch.float32),
)
operator.define(
    "hidden_moments",
    "(Tensor centre, Tensor around, Tensor scale, Tensor shift, Tensor weight, int kernel_size) -> Tensor",
    hidden_moments,
    lambda centre, around, scale, shift, weight, kernel_size: centre.new_empty(2, weight.shape[0], dtype=torch.float32),
)
