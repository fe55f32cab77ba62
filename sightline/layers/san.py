"""SAN's vector self-attention as layers: pairwise and patchwise, each a drop-in where a convolution stood.

    q = W_q x,  k = W_k x,  v = W_v x
    pairwise    l_ij = gamma([delta(q_i, k_j), p_i - p_j])     y = vector_attention(l, v), weights by softmax over the footprint
    patchwise   l_i  = gamma(delta(q_i, k_R(i)))               y = vector_attention(l, v), the logits are the weights
    gamma       norm, ReLU, linear, repeated `mapping_depth` times;   p = W_p (column, row), coordinates in [-1, 1]

Source: Zhao et al. 2020, arXiv 2004.13621, section 3; the biases of the projections, the norms inside gamma, the softmax and the
        reflection are in the authors' code, not in the text. Hidden width of gamma: rel_channels (pairwise), out_channels / share
        (patchwise), which reproduces the printed parameter counts.
Ours:   rel_channels is out_channels / 4 when not given, the ratio within the paper's blocks; share the largest divisor up to 8.
Ours:   position "absolute" puts p_j in the place of p_i - p_j (the paper compares the two and gives no formula for the first).
Ours:   with one map for queries and keys the window of a patchwise concatenation holds the centre already, so it joins once; with
        one map for all, where queries are as wide as values, pairwise gamma keeps its hidden width, out_channels / 4. Both
        reproduce the printed counts.
Ours:   mapping depths 1 and 3 keep the pattern of depth 2: a bias in the last linear only; hidden widths D, but patchwise the last
        of them is out_channels / share. That reproduces the printed counts at every depth.
Legend: B batch, C in_channels, F out_channels, D rel_channels, G = F / share weight groups, K window side, H W input, h w output.
"""

import torch
from torch import Tensor, nn

from sightline.layers import san_fused as fused
from sightline.layers.san_parts import (
    centres,
    channel_plan,
    coordinates,
    transform_maps,
    transformed,
    weight_mapping,
    window_geometry,
)
from sightline.ops.support import Window
from sightline.ops.tap import Tap
from sightline.ops.vector_attention import (
    VECTOR_ATTENTION,
    pairwise_channels,
    pairwise_relation,
    patchwise_channels,
    patchwise_relation,
)

POSITIONS = ("relative", "absolute", "none")


class PairwiseSelfAttention2d(nn.Module):
    """Pairwise vector self-attention, a drop-in for Conv2d(in_channels, out_channels, kernel_size, stride, padding="same").

    Input (B, C, H, W) of any H and W, output (B, F, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels: C.
        out_channels: F. None: in_channels.
        kernel_size: odd side of the footprint.
        stride: output stride.
        dilation: pixels between taps.
        rel_channels: D, width of queries and keys, and of gamma. None: out_channels // 4, at least 1.
        share: channels that have one weight; must divide out_channels. None: the largest divisor up to 8.
        relation: "subtraction", "summation", "concatenation", "hadamard" or "dot".
        mapping_depth: linear layers in gamma.
        transforms: "distinct"; "query=key": one projection for both; "query=key=value": one for all, where D must be F.
        position: "relative", "absolute" or "none", what joins the relation.
        border: "reflect", "zero" or "exclude", see `sightline.ops.vector_attention`.
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
        rel_channels: int | None = None,
        share: int | None = None,
        relation: str = "subtraction",
        mapping_depth: int = 2,
        transforms: str = "distinct",
        position: str = "relative",
        border: str = "reflect",
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if position not in POSITIONS:
            raise ValueError(f"position must be one of {', '.join(POSITIONS)}; got {position!r}")
        factory = {"device": device, "dtype": dtype}
        out_channels, rel_channels, groups = channel_plan(in_channels, out_channels, rel_channels, share)
        self.relation, self.relative = relation, position == "relative"
        self.geometry = window_geometry(kernel_size, stride, dilation, border, ("reflect", "zero", "exclude"))
        channels = in_channels, rel_channels, out_channels
        self.query, self.key, self.value = transform_maps(transforms, *channels, **factory)
        self.position = None if position == "none" else nn.Conv2d(2, 2, 1, **factory)
        related = pairwise_channels(relation, rel_channels) + (0 if position == "none" else 2)
        hidden = rel_channels if self.value is not None else max(out_channels // 4, 1)
        widths = [related, *[hidden] * (mapping_depth - 1), groups]
        self.mapping = weight_mapping(widths, mapping_depth, **factory)
        support = Window(kernel_size, stride, dilation, border)
        self.attend = Tap(VECTOR_ATTENTION, support, normalise="softmax", backend=backend, **self.geometry)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = transformed(x, self.query, self.key, self.value, self.geometry["stride"])
        p = None if self.position is None else self.position(coordinates(x.shape[2], x.shape[3], self.position.weight))
        if fused.pairwise_objection(self.mapping, query, self.relation, self.attend.options) is None:
            logits = fused.pairwise_logits(
                self.mapping, query, key, p, self.relation, self.relative, self.attend.options
            )
        else:
            logits = self._logits(query, key, p)
        return self.attend(logits, value)

    def _logits(self, query: Tensor, key: Tensor, p: Tensor | None) -> Tensor:
        """Gamma of the relation and of the positions p (1, 2, H, W): (B, G, K*K, h, w)."""
        related = pairwise_relation(query, key, self.relation, **self.geometry)  # B, R, K*K, h, w
        if p is not None:
            offsets = self._offsets(p).to(related.dtype)
            related = torch.cat([related, offsets.expand(query.shape[0], -1, -1, -1, -1)], dim=1)
        return self.mapping(related.flatten(3)).unflatten(3, related.shape[3:])

    def _offsets(self, p: Tensor) -> Tensor:
        """p_i - p_j, or p_j, of every tap (1, 2, K*K, h, w)."""
        centre = centres(p, self.geometry["stride"])
        if self.relative:
            return pairwise_relation(centre, p, "subtraction", **self.geometry)
        return pairwise_relation(torch.zeros_like(centre), p, "summation", **self.geometry)


class PatchwiseSelfAttention2d(nn.Module):
    """Patchwise vector self-attention, a drop-in for Conv2d(in_channels, out_channels, kernel_size, stride, padding="same").

    Input (B, C, H, W) of any H and W, output (B, F, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels: C.
        out_channels: F. None: in_channels.
        kernel_size: odd side of the footprint.
        stride: output stride.
        dilation: pixels between taps.
        rel_channels: D, width of queries and keys. None: out_channels // 4, at least 1.
        share: channels that have one weight; must divide out_channels. None: the largest divisor up to 8.
        relation: "concatenation", "star" or "clique" (kernel_size**4 products; for small footprints).
        mapping_depth: linear layers in gamma.
        transforms: "distinct"; "query=key": one projection for both; "query=key=value": one for all, where D must be F.
        border: "reflect" or "zero", see `sightline.ops.vector_attention`.
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
        rel_channels: int | None = None,
        share: int | None = None,
        relation: str = "concatenation",
        mapping_depth: int = 2,
        transforms: str = "distinct",
        border: str = "reflect",
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        out_channels, rel_channels, groups = channel_plan(in_channels, out_channels, rel_channels, share)
        self.relation, self.groups = relation, groups
        self.geometry = window_geometry(kernel_size, stride, dilation, border, ("reflect", "zero"))
        channels = in_channels, rel_channels, out_channels
        self.query, self.key, self.value = transform_maps(transforms, *channels, **factory)
        self.repeated = rel_channels if relation == "concatenation" and self.key is None else 0
        related = patchwise_channels(relation, rel_channels, kernel_size) - self.repeated
        hidden = [*[rel_channels] * (mapping_depth - 2), groups] if mapping_depth > 1 else []
        self.mapping = weight_mapping([related, *hidden, groups * kernel_size**2], mapping_depth, **factory)
        support = Window(kernel_size, stride, dilation, border)
        self.attend = Tap(VECTOR_ATTENTION, support, normalise="none", backend=backend, **self.geometry)

    def forward(self, x: Tensor) -> Tensor:
        # every tap of a clique meets every other, so its queries are needed between the centres too
        stride = 1 if self.relation == "clique" else self.geometry["stride"]
        query, key, value = transformed(x, self.query, self.key, self.value, stride)
        if fused.patchwise_objection(self.mapping, query, self.relation, self.attend.options) is None:
            weights = fused.patchwise_logits(self.mapping, None if self.repeated else query, key, self.attend.options)
        else:
            related = patchwise_relation(query, key, self.relation, **self.geometry)  # B, R, h, w
            weights = self.mapping(related[:, self.repeated :])
        return self.attend(weights.unflatten(1, (self.groups, -1)), value)  # B, G, K*K, h, w
