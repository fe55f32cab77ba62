"""The non-local block in 1, 2 and 3 dimensions: every position of a feature map looks at every other, added to the map itself.

    q = theta(x),  k = phi(x),  v = g(x);   z = x + norm(W_z pairwise_attention(q, k, v));   "gaussian": q = k = x

Source: Wang et al. 2018, arXiv 1711.07971, sections 3.2 and 3.3 (block, pooled keys), section 4.1 (normalisation, start).
Ours:   `pool` "after" the projections is the text, "before" is the authors' code; only "before" has the cost that the paper prints.
Ours:   pooling takes the maximum over 2 positions along every axis but time; the remainder is dropped, and an axis of one position
        is not pooled, so that keys never vanish.
Ours:   without normalisation W_z itself starts at zero: the block starts as the identity either way.
Ours:   weights start at normal(0, 0.01) and biases at zero, as in the authors' code.
Legend: B batch, C in_channels, D inter_channels, T frames, H W rows and columns, L length of a sequence.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.ops.pairwise_attention import PAIRWISE_ATTENTION, SIMILARITIES
from sightline.ops.support import Global
from sightline.ops.tap import Tap

POOL = ("after", "before")


class _NonLocalBlock(nn.Module):
    """The block in any number of dimensions; a subclass names its convolution, normalisation and pooling.

    `window` is what one pooled key covers; `key_stride` the same in rows and columns, where a sequence is a single row and a
    video is seen frame by frame.
    """

    convolution: ClassVar[type[nn.Module]]
    normalisation: ClassVar[type[nn.Module]]
    max_pool: ClassVar[Callable[..., Tensor]]
    axes: ClassVar[str]
    window: ClassVar[tuple[int, ...]]
    key_stride: ClassVar[tuple[int, int]]

    def __init__(
        self,
        in_channels: int,
        inter_channels: int | None = None,
        similarity: str = "embedded_gaussian",
        subsample: bool = False,
        pool: str = "after",
        scale: bool = False,
        normalise: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        inter_channels = max(in_channels // 2, 1) if inter_channels is None else inter_channels
        _check(in_channels, inter_channels, similarity, pool, scale)
        factory = {"device": device, "dtype": dtype}
        embedded = similarity != "gaussian"
        self.subsample, self.pool = subsample, pool
        self.query = self.convolution(in_channels, inter_channels, 1, **factory) if embedded else nn.Identity()
        self.key = self.convolution(in_channels, inter_channels, 1, **factory) if embedded else nn.Identity()
        self.value = self.convolution(in_channels, inter_channels, 1, **factory)
        self.out = self.convolution(inter_channels, in_channels, 1, **factory)
        self.norm = self.normalisation(in_channels, **factory) if normalise else nn.Identity()
        self.concat_weight: nn.Parameter | None = None
        if similarity == "concatenation":
            self.concat_weight = nn.Parameter(torch.empty(2 * inter_channels, **factory))
        self.attend = Tap(
            PAIRWISE_ATTENTION,
            Global(key_stride=self.key_stride if subsample else (1, 1)),
            similarity=similarity,
            scale=(inter_channels if embedded else in_channels) ** -0.5 if scale else 1.0,
            backend=backend,
        )
        self._initialise()

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.01)
        last = self.out if isinstance(self.norm, nn.Identity) else self.norm
        nn.init.zeros_(last.get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != len(self.window) + 2:
            raise ValueError(f"{type(self).__name__} takes {self.axes}; got a tensor of shape {tuple(x.shape)}")
        source = self._pooled(x) if self.pool == "before" else x
        key, value = self.key(source), self.value(source)
        if self.pool == "after":
            key, value = self._pooled(key), self._pooled(value)
        y = self.attend(self.query(x), key, value, self.concat_weight)
        return x + self.norm(self.out(y))

    def _pooled(self, x: Tensor) -> Tensor:
        if not self.subsample:
            return x
        window = [min(side, size) for side, size in zip(self.window, x.shape[2:], strict=True)]
        return self.max_pool(x, window)


def _check(in_channels: int, inter_channels: int, similarity: str, pool: str, scale: bool) -> None:
    if in_channels < 1 or inter_channels < 1:
        raise ValueError(f"channels must be positive; got in_channels={in_channels}, inter_channels={inter_channels}")
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity must be one of {', '.join(SIMILARITIES)}; got {similarity!r}")
    if pool not in POOL:
        raise ValueError(f"pool must be 'after' or 'before' the projections; got {pool!r}")
    if scale and similarity == "concatenation":
        raise ValueError("similarity 'concatenation' has no product to scale; got scale=True")


class NonLocalBlock2d(_NonLocalBlock):
    """Non-local block for feature maps: input (B, C, H, W) of any H and W, output of the same shape.

    While training with normalisation, batch statistics need more than one value a channel, so B*H*W > 1.

    Args:
        in_channels: C.
        inter_channels: D, channels of query, key and value ("gaussian": of the value alone). None: C // 2, at least 1.
        similarity: "embedded_gaussian", "gaussian", "dot_product" or "concatenation", see `sightline.ops.pairwise_attention`.
        subsample: keys and values from the 2 x 2 max-pooled map, a quarter of the pairs.
        pool: pool "after" or "before" the projections; they do not commute.
        scale: multiply query . key by 1/sqrt(channels compared); not for "concatenation".
        normalise: batch normalisation after the last projection.
        backend: backend of the op.

    Raises:
        ValueError: an option breaks the rules above, or the input has another number of axes.
    """

    convolution = nn.Conv2d
    normalisation = nn.BatchNorm2d
    max_pool = staticmethod(F.max_pool2d)
    axes = "(B, C, H, W)"
    window = (2, 2)
    key_stride = (2, 2)


class NonLocalBlock1d(_NonLocalBlock):
    """Non-local block for sequences (B, C, L); arguments as `NonLocalBlock2d`, keys pooled by 2."""

    convolution = nn.Conv1d
    normalisation = nn.BatchNorm1d
    max_pool = staticmethod(F.max_pool1d)
    axes = "(B, C, L)"
    window = (2,)
    key_stride = (1, 2)


class NonLocalBlock3d(_NonLocalBlock):
    """Non-local block for video (B, C, T, H, W), through space and time; arguments as `NonLocalBlock2d`, time is not pooled."""

    convolution = nn.Conv3d
    normalisation = nn.BatchNorm3d
    max_pool = staticmethod(F.max_pool3d)
    axes = "(B, C, T, H, W)"
    window = (1, 2, 2)
    key_stride = (2, 2)
