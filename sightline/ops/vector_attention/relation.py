"""Relations of the features in a window: what SAN's attention weights are computed from.

    pairwise   delta(x_i, x_j), one vector per tap j      summation q_i + k_j, subtraction q_i - k_j, concatenation [q_i, k_j],
                                                          hadamard q_i * k_j (by channel), dot q_i . k_j
    patchwise  delta(x_R(i)), one vector per window       star [q_i . k_j]_j, clique [q_j . k_t]_jt, concatenation [q_i, [k_j]_j]

Source: Zhao et al. 2020, arXiv 2004.13621, section 3.1 and 3.2; with q = phi(x) and k = psi(x).
Ours:   in the patchwise concatenation the channels come first, then the taps: D channels of q, then k's channel 0 at every tap,
        its channel 1 at every tap, ... (the authors' code), so that trained weights carry over.
Legend: B batch, D query and key channels, R relation channels, H W input, h w output rows and columns, K window side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops import window
from sightline.ops.precision import widen, without_autocast


def _concatenate(centre: Tensor, around: Tensor) -> Tensor:
    return torch.cat([centre.expand_as(around), around], dim=1)


def _dot(centre: Tensor, around: Tensor) -> Tensor:
    return torch.einsum("bdchw,bdkhw->bkhw", centre, around).unsqueeze(1)


PAIRWISE = {
    "subtraction": torch.sub,
    "summation": torch.add,
    "concatenation": _concatenate,
    "hadamard": torch.mul,
    "dot": _dot,
}
PATCHWISE = ("concatenation", "star", "clique")


def pairwise_channels(kind: str, channels: int) -> int:
    """Relation channels R of a pairwise relation of D = channels."""
    _known("pairwise_relation", kind, tuple(PAIRWISE))
    return {"concatenation": 2 * channels, "dot": 1}.get(kind, channels)


def patchwise_channels(kind: str, channels: int, kernel_size: int) -> int:
    """Relation channels R of a patchwise relation of D = channels over K = kernel_size."""
    _known("patchwise_relation", kind, PATCHWISE)
    taps = kernel_size * kernel_size
    return {"star": taps, "clique": taps * taps, "concatenation": channels * (1 + taps)}[kind]


def pairwise_relation(
    query: Tensor,
    key: Tensor,
    kind: str = "subtraction",
    *,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    border: str = "reflect",
) -> Tensor:
    """Relate query (B, D, h, w) to each tap of key (B, D, H, W): (B, R, K*K, h, w) with R = `pairwise_channels(kind, D)`.

    Args:
        query: one query per output position.
        key: one key per input position.
        kind: "subtraction" (centre minus neighbour), "summation", "concatenation" (centre first), "hadamard" or "dot".
        kernel_size: odd window side K.
        stride: input pixels between neighbouring queries.
        dilation: input pixels between neighbouring taps.
        border: "reflect"; "zero" and "exclude" read 0 outside the image.

    Raises:
        ValueError: a shape or option breaks the rules above; the message quotes it.
    """
    _known("pairwise_relation", kind, tuple(PAIRWISE))
    window.check_window("pairwise_relation", kernel_size, stride, dilation)
    _check("pairwise_relation", query, key, stride, border)
    with without_autocast(query.device):
        q, k = widen(query, key)
        related = PAIRWISE[kind](q.unsqueeze(2), _neighbours(k, kernel_size, stride, dilation, border))
        return related.to(query.dtype)


def patchwise_relation(
    query: Tensor,
    key: Tensor,
    kind: str = "concatenation",
    *,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    border: str = "reflect",
) -> Tensor:
    """Relate the whole window of key (B, D, H, W) to query: (B, R, h, w) with R = `patchwise_channels(kind, D, K)`.

    Args:
        query: one query per output position (B, D, h, w); for "clique", whose products leave the centre, one per input position.
        key: one key per input position.
        kind: "concatenation", "star" (centre times every tap) or "clique" (every tap times every tap; R = K**4).
        kernel_size: odd window side K.
        stride: input pixels between neighbouring outputs.
        dilation: input pixels between neighbouring taps.
        border: "reflect"; "zero" and "exclude" read 0 outside the image.

    Raises:
        ValueError: a shape or option breaks the rules above; the message quotes it.
    """
    _known("patchwise_relation", kind, PATCHWISE)
    window.check_window("patchwise_relation", kernel_size, stride, dilation)
    _check("patchwise_relation", query, key, 1 if kind == "clique" else stride, border)
    geometry = (kernel_size, stride, dilation, border)
    with without_autocast(query.device):
        q, k = widen(query, key)
        around = _neighbours(k, *geometry)  # B, D, K*K, h, w
        if kind == "star":
            related = torch.einsum("bdhw,bdkhw->bkhw", q, around)
        elif kind == "clique":
            related = torch.einsum("bdjhw,bdkhw->bjkhw", _neighbours(q, *geometry), around).flatten(1, 2)
        else:
            related = torch.cat([q, around.flatten(1, 2)], dim=1)
        return related.to(query.dtype)


def _neighbours(x: Tensor, kernel_size: int, stride: int, dilation: int, border: str) -> Tensor:
    """Every tap of every window: (B, D, K*K, h, w). The relation has this size anyway, so one copy costs no extra memory."""
    grid = window.output_size(x.shape[2], x.shape[3], stride)
    padded = window.pad(x, (kernel_size // 2) * dilation, border)
    columns = F.unfold(padded, kernel_size, dilation=dilation, stride=stride)  # B, D*K*K, h*w
    return columns.unflatten(1, (-1, kernel_size * kernel_size)).unflatten(-1, grid)


def _known(op: str, kind: str, kinds: tuple[str, ...]) -> None:
    if kind not in kinds:
        raise ValueError(f"{op}: kind must be one of {', '.join(kinds)}; got {kind!r}")


def _check(op: str, query: Tensor, key: Tensor, stride: int, border: str) -> None:
    if border not in window.BORDERS:
        raise ValueError(f"{op}: border must be one of {', '.join(window.BORDERS)}; got {border!r}")
    if query.ndim != 4 or key.ndim != 4 or query.shape[:2] != key.shape[:2]:
        raise ValueError(
            f"{op}: query and key must be (B, D, rows, columns) of the same B and D; "
            f"got {tuple(query.shape)}, {tuple(key.shape)}"
        )
    expected = window.output_size(key.shape[2], key.shape[3], stride)
    if tuple(query.shape[2:]) != expected:
        raise ValueError(
            f"{op}: a {tuple(key.shape[2:])} key needs here a query of {expected} positions; got {tuple(query.shape[2:])}"
        )
