"""The window operators as public PyTorch versions compute them: every window copied out of the image, then plain sums.

The copies are K*K times the map, which is what makes these versions slow. Written plainly here, so that what ours are compared with
can be read. Taps outside the image are left out of the softmax, like the operators' default, at the price of one masked fill.
Legend: B batch, N heads, G groups, D channels a head, m channels a group, H W rows and columns, K window side, T = K*K.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def windows(x: Tensor, kernel_size: int, mode: str = "constant") -> Tensor:
    """All windows of x (B, C, H, W), copied: (B, C, T, H, W)."""
    half = kernel_size // 2
    padded = F.pad(x, (half, half, half, half), mode=mode)
    views = padded.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1)  # B, C, H, W, K, K
    return views.flatten(4).permute(0, 1, 4, 2, 3).contiguous()


def outside(x: Tensor, kernel_size: int) -> Tensor:
    """Which taps lie outside the image: (1, T, H, W)."""
    return windows(torch.ones_like(x[:1, :1]), kernel_size)[:, 0] == 0


def local_attention(
    query: Tensor, key: Tensor, value: Tensor, rows: Tensor, cols: Tensor, *, kernel_size: int, heads: int
) -> Tensor:
    """Stand-alone self-attention with relative rows (N, p, K) and columns (N, D - p, K): (B, C, H, W)."""
    split = (heads, -1)
    q = query.unflatten(1, split)  # B, N, D, H, W
    k = windows(key, kernel_size).unflatten(1, split)  # B, N, D, T, H, W
    v = windows(value, kernel_size).unflatten(1, split)
    side = (-1, -1, kernel_size, kernel_size)
    relative = torch.cat([rows[..., None].expand(side), cols[..., None, :].expand(side)], dim=1).flatten(2)  # N, D, T
    logits = (q.unsqueeze(3) * (k + relative[..., None, None])).sum(2)  # B, N, T, H, W
    weights = logits.masked_fill(outside(key, kernel_size).unsqueeze(1), float("-inf")).softmax(2)
    return (weights.unsqueeze(2) * v).sum(3).flatten(1, 2)


def local_relation(query: Tensor, key: Tensor, value: Tensor, geometry: Tensor, *, kernel_size: int) -> Tensor:
    """Local relation with scalars (B, G, H, W) and a geometry prior (G, T): (B, C, H, W)."""
    k = windows(key, kernel_size)  # B, G, T, H, W
    v = windows(value, kernel_size).unflatten(1, (key.shape[1], -1))  # B, G, m, T, H, W
    logits = query.unsqueeze(2) * k + geometry[..., None, None]
    weights = logits.masked_fill(outside(key, kernel_size), float("-inf")).softmax(2)
    return (weights.unsqueeze(2) * v).sum(3).flatten(1, 2)


def vector_attention(logits: Tensor, value: Tensor, *, kernel_size: int, normalise: str) -> Tensor:
    """Vector attention of logits (B, G, T, H, W), reflected border, channel c in group c mod G: (B, C, H, W)."""
    weights = logits.softmax(2) if normalise == "softmax" else logits
    v = windows(value, kernel_size, "reflect").unflatten(1, (-1, logits.shape[1]))  # B, C / G, G, T, H, W
    return (weights.unsqueeze(1) * v).sum(3).flatten(1, 2)


def criss_cross(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Criss-cross attention by einsum, the weights of all crosses at once: (B, E, H, W)."""
    itself = torch.eye(query.shape[2], dtype=torch.bool, device=query.device)
    column = torch.einsum("bdhw,bdgw->bhwg", query, key).masked_fill(itself[:, None, :], float("-inf"))
    row = torch.einsum("bdhw,bdhg->bhwg", query, key)
    weights = torch.cat([column, row], dim=3).softmax(3)
    down, along = weights.split([query.shape[2], query.shape[3]], dim=3)
    return torch.einsum("bhwg,begw->behw", down, value) + torch.einsum("bhwg,behg->behw", along, value)
