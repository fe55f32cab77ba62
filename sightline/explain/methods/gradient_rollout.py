"""Gradient-weighted rollout: which positions carried the score of a class, through all attention layers.

    A'_l = mean over heads of relu(dL/dA_l * A_l);   R <- R + A'_l R  from the first layer to the last;   map = the row that is read

Source: Chefer, Gur, Wolf 2021, "Generic attention-model explainability", arXiv 2103.15679, eq. 5 and 6 (self-attention).
Ours:   the row is followed from the last layer back, so that neither R nor any A_l is ever stored; dL/dA is exact under fused
        kernels (`sightline.explain.values`); windows, strides and convolutions as in rollout.
Ours:   a net that pools all positions is read at their mean; the part of R that is the identity, which says nothing, is left out.
"""

from functools import partial

import torch
from torch import Tensor

from sightline.explain.compose import push, to_grid
from sightline.explain.explanation import Answer, Ask
from sightline.explain.readout import readout
from sightline.explain.record import Call, detached, watching
from sightline.explain.scores import differentiable, logits_of, score, target_of
from sightline.explain.values import values_of, weight_gradient


def gradient_rollout(ask: Ask) -> Answer:
    """Relevance of every position for the target class."""
    calls, gradients, target = _backward(ask)
    with torch.no_grad():
        mass = _followed(calls, gradients, readout(ask.model, calls[-1], None))
    where = calls[0].geometry
    maps = mass[:, 0, where.prefix :].unflatten(1, (where.rows, where.cols))
    return Answer(maps, where, f"{calls[0].layer} to {calls[-1].layer}", target)


def _backward(ask: Ask) -> tuple[list[Call], list[Tensor], Tensor]:
    """The calls, the gradient of the target's logit at each call's output, and the target."""
    gradients: dict[int, Tensor] = {}
    calls: list[Call] = []

    def seen(call: Call) -> None:
        calls.append(call)
        call.output.register_hook(partial(gradients.__setitem__, len(calls) - 1))

    with differentiable(ask.images) as images:
        with watching(ask.model, None, seen):
            logits = logits_of(ask, images)
        target = target_of(ask, logits)
        torch.autograd.grad(score(logits, target), images)
    found = [gradients.get(index, torch.zeros_like(call.output)) for index, call in enumerate(calls)]
    return [detached(call) for call in calls], [one.detach() for one in found], target


def _followed(calls: list[Call], gradients: list[Tensor], mass: Tensor) -> Tensor:
    """The row of R - 1 that begins as `mass` on the queries of the last call, on the input of the first.

    What stays in place and what was looked at are kept apart: the second may be a billionth of the first.
    """
    where, stayed, relevance = calls[-1].query_geometry, mass, torch.zeros_like(mass)
    for call, gradient in zip(reversed(calls), reversed(gradients), strict=True):
        stayed, relevance = (to_grid(one, where, call.query_geometry) for one in (stayed, relevance))
        looked = to_grid(_weighted(stayed + relevance, call, gradient), call.key_geometry, call.geometry)
        stayed, relevance = (to_grid(one, call.query_geometry, call.geometry) for one in (stayed, relevance))
        relevance, where = relevance + looked, call.geometry
    return relevance


def _weighted(mass: Tensor, call: Call, gradient: Tensor) -> Tensor:
    values = values_of(call, gradient)

    def weigh(call: Call, queries: Tensor, weights: Tensor) -> Tensor:
        return (weights.float() * weight_gradient(call, values, queries)).relu().mean(1)

    return push(mass, call, weigh, beside=values.channels)
