"""Whole layers, projections and all, against the convolution they replace, and the blocks of the whole map against dense ones."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from sightline.bench import unfold
from sightline.bench.case import BASELINE, OURS, Case, Contender, Prepared, parameters_of
from sightline.bench.ops import BATCH, HEADS, STAGES, convolution
from sightline.cost import count
from sightline.layers import (
    AttentionAugmentedConv2d,
    CrissCrossAttention,
    LocalRelation2d,
    NonLocalBlock2d,
    PairwiseSelfAttention2d,
    PatchwiseSelfAttention2d,
    StandAloneSelfAttention2d,
)
from sightline.ops import use_backend


def cases() -> list[Case]:
    """The four stages of ResNet-50 for each layer, then criss-cross and non-local blocks in the papers' settings."""
    found = [_replaces("sasa", side, channels, StandAloneSelfAttention2d) for side, channels in STAGES]
    found += [_replaces("local_relation", side, channels, LocalRelation2d) for side, channels in STAGES]
    found += [_replaces("aa", side, channels, _augmented) for side, channels in STAGES[1:]]
    found += [_replaces("san_pairwise", side, channels, PairwiseSelfAttention2d) for side, channels in STAGES[1:3]]
    found += [_replaces("san_patchwise", side, channels, PatchwiseSelfAttention2d) for side, channels in STAGES[1:3]]
    return [*found, _criss_cross(97, 512), _nonlocal(28, 512)]


def _augmented(channels: int, **_options: object) -> nn.Module:
    keys, values = (max(int(share * channels) // HEADS, 1) * HEADS for share in (0.2, 0.1))
    return AttentionAugmentedConv2d(channels, channels, 3, keys, values, heads=HEADS, size=(28, 28))


def layer(module: nn.Module, name: str = "sightline", kind: str = OURS) -> Contender:
    """A module as a contender, in evaluation mode (batch statistics would mix images, which the gate compares one by one)."""
    return Contender(name, module, kind, parameters=parameters_of(module))


def exact_of(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A module's answer by the references, in float64."""
    exact = copy.deepcopy(module).double()

    def run(x: Tensor) -> Tensor:
        with use_backend("reference"):
            return exact(x)

    return run


def channels_last(module: nn.Module) -> Contender:
    """The module on images laid out channels last, as a net in that layout hands them over."""
    last = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(x: Tensor) -> Tensor:
        return last(x.contiguous(memory_format=torch.channels_last))

    return Contender("sightline, channels last", run, OURS, parameters=parameters_of(last), note="converts its input")


def with_reference(module: nn.Module) -> Contender:
    """The same module by the references alone."""

    def run(x: Tensor) -> Tensor:
        with use_backend("reference"):
            return module(x)

    return Contender("sightline reference", run, "reference", parameters=parameters_of(module))


def _replaces(name: str, side: int, channels: int, build: Callable[..., nn.Module]) -> Case:
    def prepare(device: str) -> Prepared:
        module = build(channels).to(device).eval()
        images = torch.randn(BATCH, channels, side, side, device=device)
        contenders = [
            layer(module),
            channels_last(module),
            with_reference(module),
            *convolution(side, channels, device),
        ]
        macs = BATCH * count(module, (side, side), channels).macs
        return Prepared((images,), (True,), exact_of(module), contenders, macs)

    about = f"{channels} channels, {side} x {side}"
    return Case(f"{name} {side}", about, BATCH, prepare, quick=side == 28 and name in ("sasa", "local_relation"))


def _projections(module: CrissCrossAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return module.query(x), module.key(x), module.value(x)


def _criss_cross(side: int, channels: int) -> Case:
    def prepare(device: str) -> Prepared:
        module = CrissCrossAttention(channels).to(device).eval()
        nn.init.constant_(module.gamma, 0.5)
        images = torch.randn(1, channels, side, side, device=device)

        def einsum(x: Tensor) -> Tensor:
            for _ in range(module.recurrence):
                x = module.gamma * unfold.criss_cross(*_projections(module, x)) + x
            return x

        contenders = [
            layer(module),
            with_reference(module),
            Contender("einsum", einsum, parameters=parameters_of(module)),
            Contender(
                "dense non-local",
                partial(dense_non_local, module),
                BASELINE,
                (images,),
                parameters_of(module),
                note="one pass over all pairs, same projections",
            ),
        ]
        return Prepared((images,), (True,), exact_of(module), contenders, count(module, (side, side), channels).macs)

    return Case(
        f"criss_cross R=2 {side}", f"{channels} channels, {side} x {side}, queries of {channels // 8}", 1, prepare
    )


def dense_non_local(module: CrissCrossAttention, x: Tensor) -> Tensor:
    """What criss-cross attention replaces: every pixel looks at every other, through one map of all pairs."""
    q, k, v = (one.flatten(2) for one in _projections(module, x))
    weights = (q.transpose(1, 2) @ k).softmax(2)  # B, N, N
    return module.gamma * (v @ weights.transpose(1, 2)).unflatten(2, x.shape[2:]) + x


def _nonlocal(side: int, channels: int) -> Case:
    def prepare(device: str) -> Prepared:
        module = NonLocalBlock2d(channels, subsample=True).to(device).eval()
        nn.init.ones_(module.norm.get_parameter("weight"))
        images = torch.randn(BATCH, channels, side, side, device=device)
        contenders = [layer(module), with_reference(module), *convolution(side, channels, device)]
        macs = BATCH * count(module, (side, side), channels).macs
        return Prepared((images,), (True,), exact_of(module), contenders, macs)

    return Case(f"nonlocal {side}", f"{channels} channels, {side} x {side}, keys pooled", BATCH, prepare)
