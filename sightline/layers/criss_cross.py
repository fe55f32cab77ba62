"""Recurrent criss-cross attention (CCNet) as layers: look along row and column, then do it again with the same weights.

    repeat R times:   q = W_Q x,  k = W_K x,  v = W_V x;   x = gamma * criss_cross_attention(q, k, v) + x

Source: Huang et al. 2019, arXiv 1811.11721, sections 3.2 (one pass) and 3.3 (recurrence); video in its journal version (T-PAMI).
Ours:   the gate gamma, one scalar shared by all passes and zero at the start, is the authors' code; the paper's sum has none.
Ours:   a pass moves along one axis: every position reaches every other after R = 2 in an image, R = 3 in a video, the defaults.
Ours:   the passes run in channels_last, where projections and cross read pixels as they lie; the answer has the input's format.
Ours:   queries and keys have C // 8 channels, as in the authors' code, but at least 1; projections have biases, and start as
        torch's convolutions do.
Legend: B batch, C in_channels, D query_channels, R recurrence, T frames, H W rows and columns.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.criss_cross_pass import passes, possible
from sightline.layers.projection import joined, plain
from sightline.ops.criss_cross_attention import CRISS_CROSS_ATTENTION
from sightline.ops.support import CrissCross
from sightline.ops.tap import Tap


class CrissCrossAttention(nn.Module):
    """Recurrent criss-cross attention: input (B, C, H, W) of any H and W, output of the same shape.

    At the start it is the identity: gamma is zero, and until it leaves zero no other parameter gets a gradient.

    Args:
        in_channels: C.
        query_channels: D, channels of queries and keys. None: C // 8, at least 1.
        recurrence: passes R, at least 1; they share all parameters.
        backend: backend of the op.

    Raises:
        ValueError: an option breaks the rules above, or the input has another number of axes.
    """

    convolution: ClassVar[type[nn.Module]] = nn.Conv2d
    axes: ClassVar[str] = "(B, C, H, W)"
    channels_last: ClassVar[torch.memory_format] = torch.channels_last
    convolve: ClassVar[Callable[..., Tensor]] = staticmethod(F.conv2d)

    def __init__(
        self,
        in_channels: int,
        query_channels: int | None = None,
        recurrence: int = 2,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        query_channels = max(in_channels // 8, 1) if query_channels is None else query_channels
        if in_channels < 1 or query_channels < 1:
            raise ValueError(
                f"channels must be positive; got in_channels={in_channels}, query_channels={query_channels}"
            )
        if recurrence < 1:
            raise ValueError(f"recurrence must be at least 1; got {recurrence}")
        factory = {"device": device, "dtype": dtype}
        self.recurrence = recurrence
        self.query = self.convolution(in_channels, query_channels, 1, **factory)
        self.key = self.convolution(in_channels, query_channels, 1, **factory)
        self.value = self.convolution(in_channels, in_channels, 1, **factory)
        self.gamma = nn.Parameter(torch.zeros(1, **factory))
        self.attend = Tap(CRISS_CROSS_ATTENTION, CrissCross(), backend=backend)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != self.axes.count(",") + 1:
            raise ValueError(f"{type(self).__name__} takes {self.axes}; got a tensor of shape {tuple(x.shape)}")
        first, whole = x.is_contiguous(), self._joined()
        if whole is not None and possible(self.attend, x, *whole, self.gamma):
            x = passes(x, *whole, self.gamma, self.recurrence)
            return x.contiguous() if first else x
        x = x.contiguous(memory_format=self.channels_last)
        for _ in range(self.recurrence):
            # no name holds queries, keys and values: they are gone before the sum and the next pass need memory
            x = torch.addcmul(x, self.gamma, self.attend(*self._project(x, whole)))
        return x.contiguous() if first else x

    def _joined(self) -> tuple[Tensor, Tensor] | None:
        """Weights and biases of queries, keys and values as those of one convolution; None where each wants to be called."""
        maps = (self.query, self.key, self.value)
        if not all(map(plain, maps)):
            return None
        weight, bias = joined(maps)
        return weight, weight.new_zeros(len(weight)) if bias is None else bias

    def _project(self, x: Tensor, whole: tuple[Tensor, Tensor] | None) -> Sequence[Tensor]:
        maps = (self.query, self.key, self.value)
        if whole is None:
            return [one(x) for one in maps]
        return self.convolve(x, *whole).split([one.out_channels for one in maps], dim=1)


class CrissCrossAttention3d(CrissCrossAttention):
    """Recurrent criss-cross attention for video: input (B, C, T, H, W), output of the same shape.

    Every position looks along its column, its row and its own history, T + H + W - 2 positions. Arguments as `CrissCrossAttention`.
    """

    convolution = nn.Conv3d
    axes = "(B, C, T, H, W)"
    channels_last = torch.channels_last_3d
    convolve = staticmethod(F.conv3d)

    def __init__(
        self,
        in_channels: int,
        query_channels: int | None = None,
        recurrence: int = 3,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, query_channels, recurrence, backend, device, dtype)
