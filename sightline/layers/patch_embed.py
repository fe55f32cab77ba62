"""Patch embedding (ViT, DeiT): an image as words, one linear map of every P x P patch, behind a backbone when hybrid.

    token[r, c] = E flatten(x[r*P : (r+1)*P, c*P : (c+1)*P]) + b          a convolution with kernel = stride = P

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1, eq. 1, "Hybrid Architecture"; names are those of timm's.
Ours:   a size P does not divide: "pad" adds zeros below and right, so that every pixel is in a patch (the papers are silent);
        "drop" leaves the remainder out, as the VALID convolution of Google's code does; "refuse" raises.
Ours:   weights for another patch size are those that read from resized patches what the old ones read from the patches, as near
        as can be ("PI-resize": Beyer et al. 2023, arXiv 2212.08013, section 3.4), resized bicubic and antialiased as in timm.
Legend: B batch, C image channels, D token channels, H W rows and columns of the image, P patch side, h w those of the tokens.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.projection import check_map

BORDERS = ("pad", "drop", "refuse")


class Backbone(Protocol):
    """What may stand before the patches of a hybrid."""

    channels: int

    def __call__(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) to feature map (B, channels, H', W')."""
        ...

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the feature map of a height x width image."""
        ...


class PatchEmbed(nn.Module):
    """Image (B, C, H, W) to tokens (B, h*w, D), row by row, and their grid (h, w); any H x W that holds one patch.

    Args:
        in_chans: C.
        dim: D.
        patch_size: P.
        border: "pad", "drop" or "refuse", for a size P does not divide.
        bias: bias b.
        backbone: module whose feature map is cut into patches instead of the image (hybrid).

    Raises:
        ValueError: an unknown border.
    """

    def __init__(
        self,
        in_chans: int,
        dim: int,
        patch_size: int,
        border: str = "pad",
        bias: bool = True,
        backbone: Backbone | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if border not in BORDERS:
            raise ValueError(f"border must be one of {', '.join(BORDERS)}; got {border!r}")
        self.patch_size = patch_size
        self.border = border
        self.backbone = backbone
        channels = in_chans if backbone is None else backbone.channels
        self.proj = nn.Conv2d(channels, dim, patch_size, patch_size, bias=bias, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        check_map(x)
        x = x if self.backbone is None else self.backbone(x)
        self._check(x.shape[2], x.shape[3])
        if self.border == "pad":
            # not -size % patch: compiled for symbolic sizes, torch has no remainder of a negative
            rows, cols = (-(-size // self.patch_size) * self.patch_size - size for size in x.shape[2:])
            x = F.pad(x, (0, cols, 0, rows))
        patches = self.proj(x)  # B, D, h, w
        return patches.flatten(2).transpose(1, 2), (patches.shape[2], patches.shape[3])

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the tokens of a height x width image.

        Raises:
            ValueError: the border allows no such size.
        """
        if self.backbone is not None:
            height, width = self.backbone.output_size(height, width)
        self._check(height, width)
        rest = self.patch_size - 1 if self.border == "pad" else 0
        return (height + rest) // self.patch_size, (width + rest) // self.patch_size

    def set_patch_size(self, patch_size: int) -> None:
        """Carry the weights to another patch size."""
        old = self.proj
        if patch_size != self.patch_size:
            self.proj = nn.Conv2d(old.in_channels, old.out_channels, patch_size, patch_size, bias=old.bias is not None)
            self.proj.to(old.weight).train(old.training)
            self.proj.weight.data = resize_patches(old.weight.data, patch_size)
            self.proj.weight.requires_grad_(old.weight.requires_grad)
            self.proj.bias, self.patch_size = old.bias, patch_size

    def _check(self, height: int, width: int) -> None:
        size = self.patch_size
        if self.border == "drop" and min(height, width) < size:
            raise ValueError(f"border 'drop' needs at least one whole patch of {size} x {size}; got {height} x {width}")
        if self.border == "refuse" and (height % size or width % size):
            raise ValueError(
                f"patches of {size} x {size} do not divide {height} x {width}; let them be padded (dynamic_img_pad=True)"
            )


def resize_patches(weight: Tensor, size: int) -> Tensor:
    """Patch weights (D, C, P, P) for patches of size x size: (D, C, size, size)."""
    old = weight.shape[-1]
    if size < 1:
        raise ValueError(f"patch_size must be at least 1; got {size}")
    basis = torch.eye(old * old, dtype=torch.float64, device=weight.device).unflatten(1, (1, old, old))
    resize = F.interpolate(basis, (size, size), mode="bicubic", antialias=True).flatten(1)  # P*P, size*size
    resized = weight.double().flatten(2) @ torch.linalg.pinv(resize).T
    return resized.unflatten(2, (size, size)).to(weight.dtype)
