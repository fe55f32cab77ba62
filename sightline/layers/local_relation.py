"""The local relation layer (LR-Net): window weights from scalar queries and keys of each channel group, and a geometry prior.

    q = W_q x,  k = W_k x  (one scalar a group);   y = W_o local_relation(q, k, x, geometry);   geometry = W_2 relu(W_1 offset)

Source: Hu et al. 2019, arXiv 1904.11491, eq. 2 and figure 2: the value is the input itself, m = 8 channels share a weight map.
Ours:   ceil(C / m) groups. Where m does not divide C the last contiguous group has fewer channels (C = 100, m = 8, the width of
        the paper's second stage: 13 groups, the last of 4), so that any C runs and no map is shared by more than m channels.
Ours:   the offset is (row, column) of the neighbour minus the centre, counted in taps: integers from -(K//2) to K//2. A prior then
        means the same at any window side (nothing is rescaled), and at any dilation it speaks of the same tap.
Ours:   the hidden width of the geometry network is the number of groups, so that even few groups can learn a prior that peaks
        at the centre (a peak in two dimensions takes three ReLUs); public re-implementations use half of it.
Ours:   biases in query and key, as in public re-implementations; none in the last 1 x 1, a normalisation follows it in the network.
Legend: B batch, C in_channels, F out_channels, G groups, m channels a group, K window side, H W rows and columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.projection import check_map, project
from sightline.layers.sasa import BORDERS
from sightline.ops.local_relation import LOCAL_RELATION, ORDERS
from sightline.ops.local_relation.reference import SIMILARITIES
from sightline.ops.support import Window
from sightline.ops.tap import Tap
from sightline.ops.window import check_window


class LocalRelation2d(nn.Module):
    """Local relation layer, a drop-in for Conv2d(in_channels, out_channels, kernel_size, stride, padding="same").

    Input (B, C, H, W) of any H and W, output (B, F, ceil(H / stride), ceil(W / stride)). With a stride the queries are taken at
    the strided positions, keys and values everywhere.

    Args:
        in_channels: C.
        out_channels: F; None: in_channels. Another number needs the projection.
        kernel_size: odd window side K.
        stride: output stride.
        dilation: pixels between taps.
        share: m, channels that share a weight map.
        similarity: "multiply", "squared_difference" or "absolute_difference", see `sightline.ops.local_relation`.
        geometry: add the geometry prior.
        geometry_hidden: hidden width of the geometry network; None: the number of groups.
        border: "exclude" or "zero", for taps outside the image.
        order: "contiguous" or "interleaved", which group a channel belongs to.
        projection: end with a 1 x 1 convolution C -> F.
        query_key_bias: biases of queries and keys.
        bias: bias of the projection.
        backend: backend of the op.

    Raises:
        ValueError: an option breaks the rules above.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        kernel_size: int = 7,
        stride: int = 1,
        dilation: int = 1,
        share: int = 8,
        similarity: str = "multiply",
        geometry: bool = True,
        geometry_hidden: int | None = None,
        border: str = "exclude",
        order: str = "contiguous",
        projection: bool = True,
        query_key_bias: bool = True,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_window("LocalRelation2d", kernel_size, stride, dilation)
        for name, given, known in (
            ("similarity", similarity, SIMILARITIES),
            ("border", border, BORDERS),
            ("order", order, ORDERS),
        ):
            if given not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {given!r}")
        if share < 1:
            raise ValueError(f"share, the channels of a weight map, must be at least 1; got {share}")
        if out_channels != in_channels and not projection:
            raise ValueError(
                f"without the projection the output has the input's {in_channels} channels; "
                f"got out_channels={out_channels}: leave it out or set projection=True"
            )
        factory = {"device": device, "dtype": dtype}
        groups = -(-in_channels // share)
        self.stride = stride
        self.query = nn.Conv2d(in_channels, groups, 1, bias=query_key_bias, **factory)
        self.key = nn.Conv2d(in_channels, groups, 1, bias=query_key_bias, **factory)
        self.geometry: GeometryPrior | None = None
        if geometry:
            hidden = groups if geometry_hidden is None else geometry_hidden
            self.geometry = GeometryPrior(groups, hidden, kernel_size, **factory)
        self.attend = Tap(
            LOCAL_RELATION,
            Window(kernel_size, stride, dilation, border),
            kernel_size=kernel_size,
            similarity=similarity,
            stride=stride,
            dilation=dilation,
            border=border,
            order=order,
            share=None if in_channels % share == 0 else share,
            backend=backend,
        )
        self.out = nn.Conv2d(in_channels, out_channels, 1, bias=bias, **factory) if projection else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        check_map(x)
        step = self.stride
        if step > 1:
            query, key = self.query(x[:, :, ::step, ::step]), self.key(x)
        else:
            query, key = project(x, (self.query, self.key))
        prior = None if self.geometry is None else self.geometry()
        return self.out(self.attend(query, key, x, prior))


class GeometryPrior(nn.Module):
    """Logits (G, K*K) of the taps of a K x K window, by a two-layer network on the tap's (row, column) offset from the centre.

    Args:
        groups: G.
        hidden: hidden width of the network, at least 1.
        kernel_size: window side K.
    """

    def __init__(
        self,
        groups: int,
        hidden: int,
        kernel_size: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"geometry_hidden must be at least 1; got {hidden}")
        factory = {"device": device, "dtype": dtype}
        self.kernel_size = kernel_size
        self.inner = nn.Linear(2, hidden, **factory)
        self.outer = nn.Linear(hidden, groups, **factory)

    def forward(self) -> Tensor:
        weight, side = self.inner.weight, self.kernel_size
        steps = torch.arange(side, device=weight.device, dtype=weight.dtype) - side // 2
        offsets = torch.stack([steps.repeat_interleave(side), steps.repeat(side)], dim=1)  # K*K, 2
        return self.outer(F.relu(self.inner(offsets))).T
