"""SAN's gamma through compiled kernels, for the mappings they know: the modules, parameters and numbers of `mapping(relation)`.

The relation has K*K times the pixels of the map, and so has each layer of gamma; the ops used here make them block by block.
Batch statistics, running averages and gradients are those of the modules. On a CPU they serve training too; the Triton kernels are
for inference: they take running averages and have no gradients.
Legend: B batch, R relation channels, K window side, H W rows and columns.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.projection import hooked
from sightline.layers.san_parts import ChannelLinear
from sightline.ops import window
from sightline.ops.dispatch import asked, free_to_choose, kernels_allowed
from sightline.ops.native import operator
from sightline.ops.precision import without_autocast
from sightline.ops.relation_mapping import Norm, moments, relation_mapping
from sightline.ops.relation_mapping import triton as relation_triton
from sightline.ops.window_mapping import moments as window_moments
from sightline.ops.window_mapping import triton as window_triton
from sightline.ops.window_mapping import window_mapping

SIGNS = {"subtraction": -1, "summation": 1}  # of the neighbour, in the relations that are a sum


def pairwise_objection(mapping: nn.Sequential, query: Tensor, relation: str, options: Mapping[str, Any]) -> str | None:
    """Why the kernels can not make these logits; None when they can. options are those of the layer's op."""
    if relation not in SIGNS:
        return f"they take the relations {', '.join(SIGNS)}; got {relation!r}"
    if len(mapping) != 6:
        return f"they take a mapping of two linear maps; got {len(mapping) // 3}"
    if (reason := _objection(mapping, options)) is not None:
        return reason
    if on_gpu(query, options):
        return _inference_objection(mapping, options) or relation_triton.objection(
            query, query, options["kernel_size"], *mapping.parameters()
        )
    return _cpu_objection(mapping, query, options, options["kernel_size"] ** 2)


def patchwise_objection(mapping: nn.Sequential, query: Tensor, relation: str, options: Mapping[str, Any]) -> str | None:
    """Why the kernels can not make these weights; None when they can."""
    if relation != "concatenation":
        return f"they take the relation concatenation; got {relation!r}"
    if len(mapping) < 6:
        return "they take a mapping of two linear maps or more; got 1"
    if (reason := _objection(mapping, options)) is not None:
        return reason
    if on_gpu(query, options):
        return _inference_objection(mapping, options) or window_triton.objection(query, *mapping.parameters())
    return _cpu_objection(mapping, query, options, 1)


def on_gpu(query: Tensor, options: Mapping[str, Any]) -> bool:
    """Whether the Triton kernels are meant: on a GPU, and on a CPU where somebody asks for them, for Triton's interpreter."""
    return query.is_cuda or asked(options["backend"]) == "triton"


def _objection(mapping: nn.Sequential, options: Mapping[str, Any]) -> str | None:
    """What all ask for: a window of neighbours, and the modules that `weight_mapping` makes, unhooked."""
    if options["stride"] > 1 or options["dilation"] > 1:
        return f"they take stride and dilation 1; got {options['stride']} and {options['dilation']}"
    if [type(one) for one in mapping] != [nn.BatchNorm2d, nn.ReLU, ChannelLinear] * (len(mapping) // 3):
        return "they take a mapping of batch norms, ReLUs and linear maps, no other modules"
    if any(map(hooked, (mapping, *mapping))):
        return "hooks in the mapping want its modules called"
    return None


def _cpu_objection(mapping: nn.Sequential, query: Tensor, options: Mapping[str, Any], times: int) -> str | None:
    """What the compiled kernels ask for."""
    if not kernels_allowed(options["backend"]):
        return "another backend is asked for"
    if free_to_choose(options["backend"]) and window.outrun_by_dense(query, options["kernel_size"], as_many=True):
        return "on maps of no more pixels than the window has taps the modules are faster"
    if query.numel() == 0 or query[:, 0].numel() * times == 1:
        return "there is nothing to normalise"
    return operator.objection(query, *mapping.parameters())


def _inference_objection(mapping: nn.Sequential, options: Mapping[str, Any]) -> str | None:
    """What the Triton kernels ask for."""
    if not kernels_allowed(options["backend"], "triton"):
        return "another backend is asked for"
    if any(one.training or one.running_mean is None or one.running_var is None for one in _parts(mapping)[0]):
        return "the moments of a batch are the modules' own"
    return None


def pairwise_logits(
    mapping: nn.Sequential,
    query: Tensor,
    key: Tensor,
    positions: Tensor | None,
    relation: str,
    relative: bool,
    options: Mapping[str, Any],
) -> Tensor:
    """mapping(delta(q_i, k_j), p_i - p_j or p_j): (B, G, K*K, H, W), in float32, on a GPU in the query's dtype.

    positions is (1, 2, H, W)."""
    K, sign = options["kernel_size"], SIGNS[relation]
    norms, linears = _parts(mapping)
    last = (linears[1].weight, linears[1].bias)
    if on_gpu(query, options):
        norm1, norm2 = (norm(one, _unknown, query, 1) for one in norms)
        how = {"kernel_size": K, "sign": sign, "relative": relative, "reflect": options["border"] == "reflect"}
        return relation_triton.run(query, key, positions, norm1, linears[0].weight, norm2, *last, **how)
    with without_autocast(query.device):
        centre, around = query.float().contiguous(), sign * key.float().contiguous()  # mixed layouts are slow to join
        if positions is not None:
            p = positions.float().expand(query.shape[0], -1, -1, -1)
            centre = torch.cat([centre, p if relative else torch.zeros_like(p)], dim=1)  # B, R, H, W
            around = torch.cat([around, -p if relative else p], dim=1)
        around = window.pad(around, K // 2, options["border"])
        norm1 = norm(norms[0], lambda: moments(centre.detach(), around.detach(), K), query, K * K)
        weight1 = linears[0].weight
        second = lambda: moments(centre.detach(), around.detach(), K, norm1, weight1.detach())  # noqa: E731
        norm2 = norm(norms[1], second, query, K * K)
        return relation_mapping(centre, around, norm1, weight1, norm2, *last, kernel_size=K)


def patchwise_logits(mapping: nn.Sequential, query: Tensor | None, key: Tensor, options: Mapping[str, Any]) -> Tensor:
    """mapping([q_i, [k_j]_j]): (B, G*K*K, H, W); without a query where the centre tap says the same."""
    K, own = options["kernel_size"], 0 if query is None else query.shape[1]
    norms, linears = _parts(mapping)
    weight = linears[0].weight
    if on_gpu(key, options):
        how = {"kernel_size": K, "reflect": options["border"] == "reflect"}
        return mapping[3:](window_triton.run(query, key, norm(norms[0], _unknown, key, 1), weight, **how))
    with without_autocast(key.device):
        around = window.pad(key.float().contiguous(), K // 2, options["border"])
        both = norm(norms[0], lambda: _patch_moments(query, around.detach(), K), key, 1)
        windows = Norm(both.gain[own:], both.offset[own:], both.moments[:, own:], both.eps, both.batch)
        hidden = window_mapping(around, windows, weight[:, own:], kernel_size=K)  # B, G, H, W
        if query is not None:
            gain, offset, found = (one.float() for one in (both.gain[:own], both.offset[:own], both.moments[:, :own]))
            mean, variance = (None, None) if both.batch else found
            centre = F.batch_norm(query.float(), mean, variance, gain, offset, both.batch, eps=both.eps).relu()
            hidden = hidden + (weight[:, :own].float() @ centre.flatten(2)).view_as(hidden)
    return mapping[3:](hidden.to(key.dtype))


def _patch_moments(query: Tensor | None, around: Tensor, K: int) -> Tensor:
    found = window_moments(around, K)
    if query is None:
        return found
    variance, mean = torch.var_mean(query.detach().float(), (0, 2, 3), correction=0)
    return torch.cat([torch.stack([mean, variance]), found], dim=1)


def _unknown() -> Tensor:
    raise NotImplementedError("gamma's Triton kernels take running averages, not the moments of a batch")


def _parts(mapping: nn.Sequential) -> tuple[list[nn.BatchNorm2d], list[ChannelLinear]]:
    norms = [one for one in mapping if isinstance(one, nn.BatchNorm2d)]
    return norms, [one for one in mapping if isinstance(one, ChannelLinear)]


def norm(module: nn.BatchNorm2d, batch_moments: Callable[[], Tensor], query: Tensor, times: int) -> Norm:
    """What a batch normalisation does now, its running averages updated as a call would: `times` numbers a query."""
    mean, variance = module.running_mean, module.running_var
    batch = module.training or mean is None or variance is None
    if mean is None or variance is None or module.training:
        found = batch_moments()
        update(module, found, query[:, 0].numel() * times)
    else:
        found = torch.stack([mean, variance])
    width = module.num_features
    gain = module.weight if module.affine else query.new_ones(width, dtype=torch.float32)
    offset = module.bias if module.affine else query.new_zeros(width, dtype=torch.float32)
    return Norm(gain, offset, found, module.eps, batch)


@torch.no_grad()
def update(module: nn.BatchNorm2d, found: Tensor, count: int) -> None:
    """Move the running averages towards moments (2, C) of `count` numbers a channel, as torch's batch normalisation does."""
    tracked, mean, variance = module.num_batches_tracked, module.running_mean, module.running_var
    if not module.training or tracked is None or mean is None or variance is None:
        return
    tracked.add_(1)
    share = module.momentum if module.momentum is not None else 1.0 / tracked.float()
    for average, new in ((mean, found[0]), (variance, found[1] * (count / (count - 1)))):
        average.copy_(average + share * (new.to(average.dtype) - average))
