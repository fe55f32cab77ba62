"""Masked patch prediction: a ViT learns without labels, from patches that are hidden, which mean colour they have.

    corrupt   half of the patch embeddings: 80% become a learned vector, 10% another patch's embedding, 10% stay as they are
    predict   of each corrupted patch its mean colour, 3 bits a channel: 512 classes, from its last token
    loss      the mean cross-entropy over the corrupted patches of the batch

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, appendix B.1.2 and section 4.6.
Ours:   in every image exactly half of the patches, rounded, at least one; another patch is one of the same image; what a border
        patch lacks is left out of its mean; a hybrid's patches are the pixels its tokens stand for.
        Chance: three numbers of 0..1 a patch. The patches with the lowest first numbers are corrupted, the second says how, the
        third which patch comes in its place. They come with the images: it does not matter how many processes share a batch.
Legend: B batch, L patches of an image, K corrupted ones, h w their grid, C token channels, M corrupted patches of the batch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.backbones.transformer_net import PatchTransformer
from sightline.train.objectives import cross_entropy

CORRUPTED, HIDDEN, SWAPPED = 0.5, 0.8, 0.1
DRAWS = 3  # numbers of chance a patch
LEVELS = 8  # of a channel, 3 bits


class MaskedPatches(nn.Module):
    """A ViT with what the task needs beside it; normalised images (B, 3, H, W), and chance (B, 3, L), which is drawn where none
    is given, to logits (M, 512) and colours (M,).

    Args:
        net: the ViT; its classifier learns nothing here and is frozen.
        mean: of the normalisation, to see the colours again.
        std: likewise.

    Raises:
        ValueError: the net has no patches.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not isinstance(net, PatchTransformer):
            raise ValueError(f"masked patches (task=masked_patches) need a ViT or DeiT; got {type(net).__name__}")
        self.net = net
        for part in (net.pre_logits, net.head, net.head_dist):
            if part is not None:
                part.requires_grad_(False)  # processes that share a step wait for every parameter that can learn
        self.hidden = nn.Parameter(torch.zeros(net.embed_dim))
        self.colour = nn.Linear(net.embed_dim, LEVELS**3)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor, chance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        grid = self.net.patch_embed.grid_of(*images.shape[2:])
        chance = self.chance(images) if chance is None else chance
        places = choose(chance[:, 0])
        how, others = (one.gather(1, places) for one in chance[:, 1:].unbind(1))
        tokens = self.net.forward_features(images, lambda embedded: self.corrupt(embedded, places, how, others))
        seen = tokens[:, self.net.num_prefix_tokens :].gather(1, places[..., None].expand(-1, -1, tokens.shape[2]))
        colours = mean_colours(images * self.std + self.mean, self.net.feature_info[0]["reduction"], grid)
        return self.colour(seen.flatten(0, 1)), colours.gather(1, places).flatten()

    def chance(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Numbers of chance (B, 3, L) for images (B, 3, H, W), on their device; without a generator by the global one there."""
        rows, cols = self.net.patch_embed.grid_of(*images.shape[2:])
        device = images.device if generator is None else generator.device
        return torch.rand(len(images), DRAWS, rows * cols, generator=generator, device=device).to(images.device)

    def corrupt(self, embedded: Tensor, places: Tensor, how: Tensor, others: Tensor) -> Tensor:
        """Patch embeddings (B, L, C) with those at `places` (B, K) hidden, swapped or left, as the numbers (B, K) say."""
        draw, other = how[..., None], (others * embedded.shape[1]).long()
        at, strange = (index[..., None].expand(-1, -1, embedded.shape[2]) for index in (places, other))
        new = torch.where(draw < HIDDEN + SWAPPED, embedded.gather(1, strange), embedded.gather(1, at))
        new = torch.where(draw < HIDDEN, self.hidden.to(new.dtype), new)
        return embedded.scatter(1, at, new)

    def no_weight_decay(self) -> set[str]:
        """Parameters that weight decay must spare."""
        return {"hidden"} | {f"net.{name}" for name in self.net.no_weight_decay()}


def choose(chance: Tensor) -> Tensor:
    """Which patches of each image are corrupted, by a number for each (B, L): (B, K), without repetition."""
    count = max(1, round(CORRUPTED * chance.shape[1]))
    return chance.argsort(dim=1)[:, :count]


def mean_colours(pixels: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    """Class (B, L) of the mean colour of each patch of pixels 0..1 (B, 3, H, W): red * 64 + green * 8 + blue, each 0..7."""
    rows, cols = (max(0, count * side - size) for count, size in zip(grid, pixels.shape[2:], strict=True))
    weight = F.pad(torch.ones_like(pixels[:1, :1]), (0, cols, 0, rows))
    sums, shares = (F.avg_pool2d(x, side) for x in (F.pad(pixels, (0, cols, 0, rows)), weight))
    mean = (sums / shares)[:, :, : grid[0], : grid[1]]
    level = (mean * LEVELS).floor().clamp(0, LEVELS - 1).long().flatten(2)  # B, 3, L
    return (level[:, 0] * LEVELS + level[:, 1]) * LEVELS + level[:, 2]


def colour_loss(outputs: tuple[Tensor, Tensor], targets: Tensor | None = None, teacher: Tensor | None = None) -> Tensor:
    """The mean cross-entropy of the colours; labels and teacher are not looked at."""
    return cross_entropy(*outputs)
