"""The optimiser, and the learning rate of each step.

    warm-up  a line up to the peak over `warmup_epochs`
    cosine   min + (peak - min) (1 + cos(pi t)) / 2,   t from 0 after the warm-up to 1 at the last step
    linear   min + (peak - min) (1 - t)
    step     peak * factor^(epochs done // step_epochs)
    peak     lr, or lr * batch_size / lr_batch: the rule of Goyal et al. 2017, arXiv 1706.02677, section 2.1

Source: AdamW, Loshchilov and Hutter 2019, arXiv 1711.05101; cosine, the same authors 2017, arXiv 1608.03983, without restarts.
        Muon, Jordan et al. 2024, kellerjordan.github.io/posts/muon: the momentum of a matrix, made orthogonal by five Newton-Schulz
        steps; scaled so that an update is as large as AdamW's, Liu et al. 2025, arXiv 2502.16982, section 2.2. It is timm's.
Ours: the learning rate is a function of the step and holds no state. Muon takes a convolution as the matrix (out, in x rows x
      cols). Norms, biases, what `no_weight_decay()` names (tables of positions) and matrices with a side under 4 are left to
      AdamW at the same rate, with Nesterov's momentum if Muon has it.
"""

import math

import torch
from timm.optim import Muon, param_groups_weight_decay
from torch import nn

from sightline.recipes import Recipe

FUSED = ("cpu", "cuda")


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, SGD with momentum, or Muon; no decay on norms, biases and what `model.no_weight_decay()` names."""
    exempt = getattr(model, "no_weight_decay", set)()
    others = exempt if recipe.optimizer == "muon" else ()
    groups = param_groups_weight_decay(model, recipe.weight_decay, no_weight_decay_list=exempt, fallback_list=others)
    fused = all(p.device.type in FUSED for p in model.parameters())
    nesterov = recipe.nesterov and recipe.momentum > 0
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.peak_lr, recipe.momentum, nesterov=nesterov, fused=fused)
    if recipe.optimizer == "muon":
        return Muon(groups, lr=recipe.peak_lr, momentum=recipe.momentum, nesterov=nesterov, betas=recipe.betas)
    return torch.optim.AdamW(groups, recipe.peak_lr, recipe.betas, fused=fused)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate of optimiser step `step`, counted from 0 over the whole run: a line up to the peak, then the recipe's schedule."""
    peak = recipe.peak_lr
    total = recipe.epochs * steps_per_epoch
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), total)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if recipe.schedule == "step":
        return peak * recipe.step_factor ** math.floor(step / steps_per_epoch / recipe.step_epochs)
    progress = (step - warmup) / max(1, total - 1 - warmup)
    left = (1 + math.cos(math.pi * progress)) / 2 if recipe.schedule == "cosine" else 1 - progress
    return recipe.min_lr + (peak - recipe.min_lr) * left


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameter groups the same rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
