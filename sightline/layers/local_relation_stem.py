"""LR-Net's stem: a 1 x 1 convolution of the image and a local relation layer, joined where that is exact.

    x = W_1 image;   y = LocalRelation2d(x)

Source: Hu et al. 2019, arXiv 1904.11491, section 3.3: nothing stands between the two.
Ours:   both are linear in what they map, so the wide x need not exist: queries and keys are (W_q W_1) image, (W_k W_1) image, and
            W_o sum over t of w[g, t] (W_1 image_t)  =  sum over g of (W_o,g W_1,g) (sum over t of w[g, t] image_t)
        aggregates I image channels a group instead of m. Weights and sums are those of the two modules; rounding differs.
Legend: B batch, I image channels, C channels of x, F out_channels, G groups, m channels a group, H W rows and columns.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.local_relation import LocalRelation2d
from sightline.layers.projection import check_map, hooked, plain
from sightline.ops.native.operator import channels_last
from sightline.ops.precision import widen, without_autocast


class LocalRelationStem2d(nn.Sequential):
    """A 1 x 1 convolution, then a local relation layer: (B, I, H, W) -> (B, F, ceil(H / stride), ceil(W / stride)).

    Args:
        first: I -> C.
        relation: C -> F.
    """

    def __init__(self, first: nn.Conv2d, relation: LocalRelation2d) -> None:
        super().__init__(first, relation)

    def forward(self, input: Tensor) -> Tensor:
        check_map(input)
        first, relation = self
        if input.device.type == "cpu" and isinstance(relation, LocalRelation2d) and self._joinable(input.shape[1]):
            return self._joined(input, first, relation)
        return relation(first(input))

    def _joinable(self, channels: int) -> bool:
        """Both are the modules they were, nobody watches what lies between them, and image channels are fewer than a group's."""
        first, relation = self
        if type(relation) is not LocalRelation2d or hooked(relation):
            return False
        options, maps = relation.attend.options, (first, relation.query, relation.key, relation.out)
        if not all(map(plain, maps)) or first.bias is not None:
            return False
        even = options["order"] == "contiguous" and options["share"] is None
        return even and channels * relation.query.out_channels < first.out_channels

    def _joined(self, image: Tensor, first: nn.Module, relation: LocalRelation2d) -> Tensor:
        step, groups, last = relation.stride, relation.query.out_channels, channels_last(image)
        query, key, out = self._weights(first, relation)
        image = image.contiguous()  # of a few channels a convolution is ten times as fast that way
        q = F.conv2d(image[:, :, ::step, ::step], query, relation.query.bias)
        k = F.conv2d(image, key, relation.key.bias)
        prior = None if relation.geometry is None else relation.geometry()
        z = relation.attend(q, k, image.repeat(1, groups, 1, 1), prior)  # B, G*I, h, w
        bias = relation.out.bias if isinstance(relation.out, nn.Conv2d) else None
        return F.conv2d(z.contiguous(memory_format=torch.channels_last) if last else z, out, bias)

    @staticmethod
    def _weights(first: nn.Module, relation: LocalRelation2d) -> tuple[Tensor, Tensor, Tensor]:
        """The weights of queries (G, I, 1, 1), of keys, and of the output (F, G*I, 1, 1)."""
        maps = [cast(nn.Conv2d, one).weight for one in (first, relation.query, relation.key, relation.out)]
        with without_autocast(maps[0].device):
            inner, query, key, out = (one.flatten(1) for one in widen(*maps))  # C, I; G, C; G, C; F, C
            split = (query.shape[0], -1)
            outer = torch.einsum("fgm,gmi->fgi", out.unflatten(1, split), inner.unflatten(0, split)).flatten(1)
            shaped = [one[:, :, None, None].to(maps[0].dtype) for one in (query @ inner, key @ inner, outer)]
        return shaped[0], shaped[1], shaped[2]
