"""The operators against the reference, against what public versions do, and against the convolution of the same stage."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.bench import masked, unfold
from sightline.bench.case import BASELINE, OURS, REFERENCE, Case, Contender, Prepared
from sightline.bench.gate import refusing
from sightline.ops.dispatch import choose
from sightline.ops.tap import Cost

STAGES = ((56, 64), (28, 128), (14, 256), (7, 512))  # pixels a side and channels of ResNet-50's 3 x 3 convolutions
SAN_STAGES = ((112, 16, 3), (56, 64, 7), (28, 128, 7), (14, 256, 7), (7, 512, 7))  # pixels, channels, window of SAN's
BATCH, WINDOW, HEADS, SHARE = 8, 7, 8, 8
ONLY_ON = {"cpu": "cpu", "triton": "cuda"}  # backends of one kind of device


def cases() -> list[Case]:
    """All of them, in the order of the papers' window operators, then those of the whole map."""
    found = [_local_attention(side, channels) for side, channels in STAGES]
    found += [_local_relation(side, channels) for side, channels in STAGES]
    found += [_vector_attention(side, channels, window, "softmax") for side, channels, window in SAN_STAGES]
    found += [_vector_attention(side, channels, window, "none") for side, channels, window in SAN_STAGES[1::2]]
    found += [_criss_cross(97, 512)]
    found += [_pairwise(kind, 128) for kind in ("dot_product", "concatenation")]
    found += [_pairwise(kind, 256) for kind in ("dot_product", "concatenation")]
    found += [_pairwise("embedded_gaussian", 64), _augmented(28, 20, 4), _augmented(14, 20, 4), _tokens(197, 6, 64)]
    return found


def ours(op: str, operands: Sequence[Tensor | None], options: Mapping[str, Any], needs: int = 0) -> list[Contender]:
    """The op by itself ("auto") and by each of its other backends; the one that "auto" takes is not timed twice.

    `needs`: bytes that the reference holds beyond its operands.
    """
    module = import_module(f"sightline.ops.{op}")
    function, backends = getattr(module, op), module.BACKENDS
    taken = backend_taken(op, operands, options)
    device = next(one.device.type for one in operands if one is not None)
    found = [
        Contender(
            "sightline", partial(function, **options), OURS, note=taken, needs=needs if taken == "reference" else 0
        )
    ]
    for name in backends:
        if name != taken and ONLY_ON.get(name, device) == device:
            kind = REFERENCE if name == "reference" else OURS
            run = partial(function, **options, backend=name)
            found.append(Contender(f"sightline {name}", run, kind, needs=needs if name == "reference" else 0))
    return found


def backend_taken(op: str, operands: Sequence[Tensor | None], options: Mapping[str, Any]) -> str:
    """Name of the backend that "auto" takes for these operands."""
    backends = import_module(f"sightline.ops.{op}").BACKENDS
    run = choose(op, backends, "auto", *operands, **options)
    return next((name for name, module in backends.items() if module.run == run), "auto")


def exactly(op: str, options: Mapping[str, Any]) -> Callable[..., Tensor]:
    """The op's definition."""
    return partial(getattr(import_module(f"sightline.ops.{op}"), op), **options, backend="reference")


def convolution(side: int, channels: int, device: str, batch: int = BATCH, kernel_size: int = 3) -> list[Contender]:
    """The k x k convolution of a stage, in both memory layouts."""
    found = []
    for name, layout in (("convolution", torch.contiguous_format), ("convolution, channels last", torch.channels_last)):
        images = torch.randn(batch, channels, side, side, device=device).contiguous(memory_format=layout)
        weight = torch.randn(channels, channels, kernel_size, kernel_size, device=device).contiguous(
            memory_format=layout
        )
        run = partial(F.conv2d, padding=kernel_size // 2)
        found.append(Contender(f"{kernel_size} x {kernel_size} {name}", run, BASELINE, (images, weight)))
    return found


def cost(op: str, operands: Sequence[Tensor | None], options: Mapping[str, Any]) -> Cost:
    """The op's closed form."""
    return getattr(import_module(f"sightline.ops.{op}"), op.upper()).cost(*operands, **options)


def prepared(
    op: str,
    operands: tuple[Tensor | None, ...],
    batched: tuple[bool, ...],
    options: Mapping[str, Any],
    others: Sequence[Contender],
    needs: int = 0,
) -> Prepared:
    """An op's case: ours, then the others."""
    contenders = [*ours(op, operands, options, needs), *others]
    known = cost(op, operands, options)
    return Prepared(operands, batched, exactly(op, options), contenders, known.macs, moved=known.bytes_moved)


def flex_or_why(run: Callable[..., Tensor], device: str) -> Contender:
    """FlexAttention where something compiles it."""
    name = "FlexAttention, compiled"
    if device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return Contender(name, refusing("no C++ compiler to compile it with"), backward=False)
    return Contender(name, run, backward=device != "cpu", note="" if device != "cpu" else "no backward on a CPU")


def _local_attention(side: int, channels: int) -> Case:
    def prepare(device: str) -> Prepared:
        q, k, v = (torch.randn(BATCH, channels, side, side, device=device) for _ in range(3))
        depth = channels // HEADS
        rows, cols = (torch.randn(HEADS, depth // 2, WINDOW, device=device) * depth**-0.5 for _ in range(2))
        q = q * depth**-0.5  # logits of a trained net's size
        options = {"kernel_size": WINDOW, "heads": HEADS}
        full = {**options, "stride": 1, "dilation": 1, "border": "exclude"}
        others = [
            Contender("unfold", partial(unfold.local_attention, **options)),
            Contender("SDPA with a mask", partial(masked.masked_local_attention, **options)),
        ]
        if side == STAGES[0][0]:  # each size is compiled anew, which takes half a minute
            others.append(flex_or_why(partial(masked.flex_local_attention, **options), device))
        many = (True, True, True, False, False)
        return prepared(
            "local_attention", (q, k, v, rows, cols), many, full, [*others, *convolution(side, channels, device)]
        )

    about = f"{channels} channels, {side} x {side}, {HEADS} heads, {WINDOW} x {WINDOW}"
    return Case(f"local_attention {side}", about, BATCH, prepare, quick=side in (28, 7))


def _local_relation(side: int, channels: int) -> Case:
    def prepare(device: str) -> Prepared:
        groups = channels // SHARE
        q, k = (torch.randn(BATCH, groups, side, side, device=device) for _ in range(2))
        v = torch.randn(BATCH, channels, side, side, device=device)
        prior = torch.randn(groups, WINDOW * WINDOW, device=device)
        options = {"kernel_size": WINDOW, "similarity": "multiply", "stride": 1, "dilation": 1}
        full = {**options, "border": "exclude", "order": "contiguous"}
        others = [
            Contender("unfold", partial(unfold.local_relation, kernel_size=WINDOW)),
            Contender("SDPA with a mask", partial(masked.masked_local_relation, kernel_size=WINDOW)),
            *convolution(side, channels, device),
        ]
        return prepared("local_relation", (q, k, v, prior), (True, True, True, False), full, others)

    about = f"{channels} channels, {side} x {side}, {SHARE} share, {WINDOW} x {WINDOW}"
    return Case(f"local_relation {side}", about, BATCH, prepare, quick=side in (28, 7))


def _vector_attention(side: int, channels: int, window: int, normalise: str) -> Case:
    def prepare(device: str) -> Prepared:
        logits = torch.randn(BATCH, channels // SHARE, window * window, side, side, device=device)
        value = torch.randn(BATCH, channels, side, side, device=device)
        options = {"kernel_size": window, "normalise": normalise}
        full = {**options, "stride": 1, "dilation": 1, "border": "reflect"}
        others = [
            Contender("unfold", partial(unfold.vector_attention, **options)),
            *convolution(side, channels, device),
        ]
        return prepared("vector_attention", (logits, value), (True, True), full, others)

    kind = "pairwise" if normalise == "softmax" else "patchwise"
    about = f"{channels} channels, {side} x {side}, {SHARE} share, {window} x {window}, {kind}"
    return Case(f"vector_attention {kind} {side}", about, BATCH, prepare, quick=(side, kind) == (28, "pairwise"))


def _criss_cross(side: int, channels: int) -> Case:
    def prepare(device: str) -> Prepared:
        q, k = (torch.randn(1, channels // 8, side, side, device=device) * (channels // 8) ** -0.5 for _ in range(2))
        v = torch.randn(1, channels, side, side, device=device)
        return prepared("criss_cross_attention", (q, k, v), (True,) * 3, {}, [Contender("einsum", unfold.criss_cross)])

    about = f"queries of {channels // 8}, values of {channels} channels, {side} x {side}, one pass"
    return Case(f"criss_cross_attention {side}", about, 1, prepare)


def _pairwise(similarity: str, side: int) -> Case:
    depth, positions = 64, side * side

    def prepare(device: str) -> Prepared:
        q, k, v = (torch.randn(1, depth, side, side, device=device) for _ in range(3))
        weight = None
        if similarity == "concatenation":
            q, k, weight = (_eighths(one) for one in (q, k, torch.randn(2 * depth, device=device)))
        options = {"similarity": similarity, "scale": depth**-0.5 if similarity == "embedded_gaussian" else 1.0}
        made = prepared("pairwise_attention", (q, k, v, weight), (True,) * 3 + (False,), options, [], 16 * positions**2)
        return made if positions <= 16384 else _sampled(made, options, positions)

    about = f"{depth} channels, {side} x {side} = {positions:,} positions, {similarity}; the reference is dense"
    return Case(f"pairwise_attention {similarity} {side}", about, 1, prepare, quick=side == 64)


def _eighths(x: Tensor) -> Tensor:
    """Rounded so that the sums under a ReLU are exact in float32: among so many pairs, rounding would move some across its kink."""
    return (8 * x).round() / 8


def _sampled(made: Prepared, options: Mapping[str, Any], positions: int) -> Prepared:
    """The same case compared at some queries alone, for maps whose dense weights fit nowhere."""
    from sightline.ops.pairwise_attention import weights

    queries = torch.linspace(0, positions - 1, 29).long()

    def exact(q: Tensor, k: Tensor, v: Tensor, a: Tensor | None) -> Tensor:
        chosen = weights(q, k, v, a, queries=queries.to(q.device), **options)  # 1, 1, Q, N
        return v.flatten(2) @ chosen[:, 0].transpose(1, 2)  # 1, E, Q

    def pick(answer: Tensor) -> Tensor:
        return answer.flatten(2)[:, :, queries.to(answer.device)]

    return Prepared(made.operands, made.batched, exact, made.contenders, made.macs, pick, made.moved)


def _augmented(side: int, key_depth: int, value_depth: int) -> Case:
    def prepare(device: str) -> Prepared:
        pixels = side * side
        q, k = (torch.randn(BATCH, HEADS, pixels, key_depth, device=device) for _ in range(2))
        v = torch.randn(BATCH, HEADS, pixels, value_depth, device=device)
        rows, cols = (torch.randn(2 * side - 1, key_depth, device=device) * key_depth**-0.5 for _ in range(2))
        options = {"grid": (side, side), "scale": key_depth**-0.5}
        return prepared("global_attention", (q, k, v, rows, cols), (True,) * 3 + (False,) * 2, options, [])

    about = f"{HEADS} heads, keys of {key_depth}, values of {value_depth} channels, {side} x {side}, relative rows and columns"
    return Case(f"global_attention relative {side}", about, BATCH, prepare, quick=side == 14)


def _tokens(count: int, heads: int, depth: int) -> Case:
    def prepare(device: str) -> Prepared:
        q, k, v = (torch.randn(BATCH, heads, count, depth, device=device) for _ in range(3))
        options = {"grid": None, "scale": depth**-0.5}
        return prepared("global_attention", (q, k, v, None, None), (True,) * 3 + (False,) * 2, options, [])

    return Case(f"global_attention {count} tokens", f"{heads} heads of {depth}", BATCH, prepare)
