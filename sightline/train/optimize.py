"""The optimiser, and the learning rate of each step.

Source: AdamW, Loshchilov and Hutter 2019, arXiv 1711.05101; cosine, the same authors 2017, arXiv 1608.03983, without restarts.
Ours: the learning rate is a function of the step and holds no state.
"""

import math

import torch
from timm.optim import param_groups_weight_decay
from torch import nn

from sightline.recipes import Recipe

FUSED = ("cpu", "cuda")


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum; no decay on norms, biases and what `model.no_weight_decay()` names."""
    exempt = getattr(model, "no_weight_decay", set)()
    groups = param_groups_weight_decay(model, recipe.weight_decay, no_weight_decay_list=exempt)
    fused = all(p.device.type in FUSED for p in model.parameters())
    if recipe.optimizer == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(groups, recipe.lr, recipe.momentum, nesterov=nesterov, fused=fused)
    return torch.optim.AdamW(groups, recipe.lr, recipe.betas, fused=fused)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate of optimiser step `step`, counted from 0 over the whole run: a line up to `lr`, then a cosine down to `min_lr`."""
    total = recipe.epochs * steps_per_epoch
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), total)
    if step < warmup:
        return recipe.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total - 1 - warmup)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameter groups the same rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
