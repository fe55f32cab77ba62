"""What is timed on a GPU: the window operators at ResNet-50's stages, criss-cross and AA, each against what else computes it."""

import copy
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sightline.bench import masked, unfold
from sightline.bench.case import FORWARD, KIN, OURS, Case, Contender, Prepared
from sightline.bench.ops import HEADS, SAN_STAGES, SHARE, STAGES, WINDOW, convolution, flex_or_why, prepared
from sightline.layers.san import PairwiseSelfAttention2d
from sightline.layers.san_fused import pairwise_logits
from sightline.ops.vector_attention import pairwise_relation

BATCH = 256


def cases(batch: int = BATCH) -> list[Case]:
    """All of them."""
    found = [_local_attention(side, channels, batch) for side, channels in STAGES]
    found += [_local_relation(side, channels, batch) for side, channels in STAGES]
    found += [_vector(side, channels, window, "softmax", batch) for side, channels, window in SAN_STAGES[1:4]]
    found += [_vector(28, 128, 7, "none", batch), _criss_cross(97, 512), _augmented(28, batch), _augmented(14, batch)]
    found += [_mapping(side, channels, batch) for side, channels, _ in SAN_STAGES[1:4]]
    return [*found, _concatenation(28, 256, batch), _concatenation(64, 256, max(batch // 8, 1))]


def maps(count: int, batch: int, channels: int, side: int, device: str) -> list[Tensor]:
    """Bfloat16 maps, channels last."""
    make = partial(torch.randn, batch, channels, side, side, device=device, dtype=torch.bfloat16)
    return [make().contiguous(memory_format=torch.channels_last) for _ in range(count)]


def narrow_convolution(side: int, channels: int, device: str, batch: int) -> list[Contender]:
    """The 3 x 3 convolution of the stage in both layouts, in bfloat16."""
    return [_in_bfloat16(one) for one in convolution(side, channels, device, batch)]


def _in_bfloat16(one: Contender) -> Contender:
    operands = None if one.operands is None else tuple(operand.bfloat16() for operand in one.operands)
    return Contender(one.name, one.run, one.kind, operands)


def copies(run: Callable[..., Tensor], times: int, *operands: Tensor, **options: Any) -> Contender:
    """The unfold, which holds `times` copies of every tap of the operands' windows."""
    size = sum(one.numel() * one.element_size() for one in operands)
    return Contender("unfold", partial(run, **options), needs=times * WINDOW**2 * size)


def _local_attention(side: int, channels: int, batch: int) -> Case:
    def prepare(device: str) -> Any:
        q, k, v = maps(3, batch, channels, side, device)
        depth = channels // HEADS
        make = partial(torch.randn, HEADS, depth // 2, WINDOW, device=device, dtype=torch.bfloat16)
        rows, cols = (make() * depth**-0.5 for _ in range(2))
        q = q * depth**-0.5
        options = {"kernel_size": WINDOW, "heads": HEADS}
        full = {**options, "stride": 1, "dilation": 1, "border": "exclude"}
        others = [
            copies(unfold.local_attention, 6, k, v, **options),
            Contender("SDPA with a mask", partial(masked.masked_local_attention, **options)),
            flex_or_why(partial(masked.flex_local_attention, **options), device),
            *natten(q, k, v),
            *narrow_convolution(side, channels, device, batch),
        ]
        many = (True, True, True, False, False)
        return prepared("local_attention", (q, k, v, rows, cols), many, full, others, _reference_needs(k, v))

    about = f"{channels} channels, {side} x {side}, {HEADS} heads, {WINDOW} x {WINDOW}, bfloat16"
    return Case(f"local_attention {side}", about, batch, prepare, quick=side == 28)


def natten(q: Tensor, k: Tensor, v: Tensor) -> list[Contender]:
    """NATTEN's neighbourhood attention where it is installed: windows pushed inwards at borders, no relative terms."""
    if importlib.util.find_spec("natten") is None:
        return []
    na2d = importlib.import_module("natten.functional").na2d
    tokens = tuple(one.permute(0, 2, 3, 1).unflatten(3, (HEADS, -1)).contiguous() for one in (q, k, v))
    run = partial(na2d, kernel_size=WINDOW, scale=1.0)
    return [Contender("NATTEN", run, KIN, tokens, note="no relative terms, other borders")]


def _reference_needs(*operands: Tensor) -> int:
    return 3 * WINDOW**2 * sum(4 * one.numel() for one in operands) // HEADS


def _local_relation(side: int, channels: int, batch: int) -> Case:
    def prepare(device: str) -> Any:
        q, k = maps(2, batch, channels // SHARE, side, device)
        (v,) = maps(1, batch, channels, side, device)
        prior = torch.randn(channels // SHARE, WINDOW * WINDOW, device=device, dtype=torch.bfloat16)
        full = {"kernel_size": WINDOW, "similarity": "multiply", "stride": 1, "dilation": 1}
        others = [
            copies(unfold.local_relation, 4, v, kernel_size=WINDOW),
            Contender("SDPA with a mask", partial(masked.masked_local_relation, kernel_size=WINDOW)),
            *narrow_convolution(side, channels, device, batch),
        ]
        full |= {"border": "exclude", "order": "contiguous"}
        many = (True, True, True, False)
        return prepared("local_relation", (q, k, v, prior), many, full, others, _reference_needs(v))

    about = f"{channels} channels, {side} x {side}, {SHARE} share, {WINDOW} x {WINDOW}, bfloat16"
    return Case(f"local_relation {side}", about, batch, prepare, quick=side == 28)


def _vector(side: int, channels: int, window: int, normalise: str, batch: int) -> Case:
    def prepare(device: str) -> Any:
        shape = (batch, channels // SHARE, window * window, side, side)
        logits = torch.randn(shape, device=device, dtype=torch.bfloat16)
        (value,) = maps(1, batch, channels, side, device)
        options = {"kernel_size": window, "normalise": normalise}
        full = {**options, "stride": 1, "dilation": 1, "border": "reflect"}
        others = [
            copies(unfold.vector_attention, 4, value, **options),
            *narrow_convolution(side, channels, device, batch),
        ]
        return prepared("vector_attention", (logits, value), (True, True), full, others, 6 * logits.numel() * 4)

    kind = "pairwise" if normalise == "softmax" else "patchwise"
    about = f"{channels} channels, {side} x {side}, {SHARE} share, {window} x {window}, {kind}, bfloat16"
    return Case(f"vector_attention {kind} {side}", about, batch, prepare)


def _criss_cross(side: int, channels: int) -> Case:
    def prepare(device: str) -> Any:
        q, k = maps(2, 1, channels // 8, side, device)
        (v,) = maps(1, 1, channels, side, device)
        scaled = q * (channels // 8) ** -0.5
        others = [Contender("einsum", unfold.criss_cross)]
        return prepared("criss_cross_attention", (scaled, k, v), (True,) * 3, {}, others)

    about = f"queries of {channels // 8}, values of {channels} channels, {side} x {side}, one pass, bfloat16"
    return Case(f"criss_cross_attention {side}", about, 1, prepare)


def _augmented(side: int, batch: int, depth: int = 20) -> Case:
    def prepare(device: str) -> Any:
        make = partial(torch.randn, device=device, dtype=torch.bfloat16)
        q, k, v = (make(batch, HEADS, side * side, depth) for _ in range(3))
        rows, cols = (make(2 * side - 1, depth) * depth**-0.5 for _ in range(2))
        options = {"grid": (side, side), "scale": depth**-0.5}
        needs = 6 * batch * HEADS * side**4 * 4
        return prepared("global_attention", (q, k, v, rows, cols), (True,) * 3 + (False,) * 2, options, [], needs)

    about = f"{HEADS} heads of {depth} channels, {side} x {side}, relative rows and columns, bfloat16"
    return Case(f"global_attention relative {side}", about, batch, prepare)


def _mapping(side: int, channels: int, batch: int) -> Case:
    """Pairwise SAN's gamma in inference, without positions."""

    def prepare(device: str) -> Prepared:
        query, key = maps(2, batch, channels // 4, side, device)
        layer = PairwiseSelfAttention2d(channels, kernel_size=WINDOW, position="none", device=device)
        gamma = layer.mapping.eval().requires_grad_(False)
        narrow, options = copy.deepcopy(gamma).bfloat16(), {**layer.attend.options, "backend": "triton"}

        def kernel(q: Tensor, k: Tensor) -> Tensor:
            return pairwise_logits(narrow, q, k, None, "subtraction", False, options)

        modules = partial(_gamma, narrow)
        contenders = [
            Contender("sightline", torch.no_grad()(kernel), OURS, note="triton", backward=False),
            Contender("modules", torch.no_grad()(modules), backward=False),
            Contender("modules, compiled", torch.no_grad()(torch.compile(modules)), backward=False),
        ]
        pixels, rel, groups = batch * side**2, channels // 4, channels // SHARE
        macs = pixels * WINDOW**2 * rel * (rel + groups)
        moved = 2 * pixels * (2 * rel + WINDOW**2 * groups)
        return Prepared((query, key), (True, True), partial(_gamma, gamma.double()), contenders, macs, moved=moved)

    about = f"gamma of {channels} channels, {side} x {side}, {WINDOW} x {WINDOW}, pairwise, bfloat16, inference"
    return Case(f"relation_mapping {side}", about, batch, prepare, directions=(FORWARD,))


def _gamma(mapping: nn.Module, query: Tensor, key: Tensor) -> Tensor:
    """What the modules make of the relation: (B, G, K*K, H, W)."""
    related = pairwise_relation(query, key, "subtraction", kernel_size=WINDOW)
    return mapping(related.flatten(3)).unflatten(3, related.shape[3:])


def _concatenation(side: int, channels: int, batch: int) -> Case:
    def prepare(device: str) -> Prepared:
        (query,) = maps(1, batch, channels, side, device)
        key, value = maps(2, batch, channels, side // 2, device)
        weight = torch.randn(2 * channels, device=device, dtype=torch.bfloat16) * channels**-0.5
        options = {"similarity": "concatenation", "scale": 1.0}
        needs = 3 * batch * side**4 // 4 * 4
        many = (True, True, True, False)
        return prepared("pairwise_attention", (query, key, value, weight), many, options, [], needs)

    about = f"concatenation, {side} x {side} over {side // 2} x {side // 2}, {channels} channels, bfloat16"
    return Case(f"pairwise_attention concatenation {side}", about, batch, prepare)
