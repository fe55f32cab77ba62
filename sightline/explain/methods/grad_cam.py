"""Grad-CAM: which places of a layer's feature map speak for a class.

    a_c = mean over positions of dL/dF_c;   map = relu(sum over channels of a_c F_c)

Source: Selvaraju et al. 2017, arXiv 1610.02391, section 3, eq. 1 and 2.
Ours:   tokens take part as the map of their grid, prefix tokens left out, at the input of the last block's attention (the output of
        the last block reaches a class token's classifier through that token alone, and its gradient elsewhere is zero).
"""

import torch

from sightline.explain.explanation import Answer, Ask
from sightline.explain.features import geometry_of, last_layer, outputs_of, positions
from sightline.explain.scores import differentiable, logits_of, score, target_of


def grad_cam(ask: Ask) -> Answer:
    """Grad-CAM of the target class at a layer; None: the last feature map, of a transformer its last block's `norm1`."""
    layer = ask.layer or _default(ask)
    kept: list[torch.Tensor] = []
    gradients: list[torch.Tensor] = []
    with differentiable(ask.images) as images:
        with outputs_of(ask.model, layer, kept, gradients):
            logits = logits_of(ask, images)
        target = target_of(ask, logits)
        torch.autograd.grad(score(logits, target), images)
    if not gradients:
        raise ValueError(f"the class score does not depend on what layer {layer!r} gives; name another layer")
    where = geometry_of(ask, layer, kept[-1])
    features = positions(kept[-1])[:, where.prefix :].float()
    weight = positions(gradients[0])[:, where.prefix :].float().mean(1, keepdim=True)
    maps = (weight * features).sum(2).relu().unflatten(1, (where.rows, where.cols))
    return Answer(maps, where, layer, target)


def _default(ask: Ask) -> str:
    layer = last_layer(ask)
    modules = dict(ask.model.named_modules())
    return f"{layer}.norm1" if f"{layer}.norm1" in modules and f"{layer}.attn" in modules else layer
