"""The attention layers of a model, ours and timm's, behind one face: what ran, where its weights point, the weights of any queries.

A layer of ours is seen at its `Tap`. A layer of timm's ViTs and DeiTs (`Attention`, `AttentionRope`) is seen at its own input: the
projections, norms and rotary positions it has are applied once more for the queries asked for; the fused kernel keeps running.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sightline.layers import AttentionStem2d
from sightline.ops import support
from sightline.ops.precision import without_autocast
from sightline.ops.support import Support
from sightline.ops.tap import Tap

Size = tuple[int, int]


@dataclass
class Operands:
    """What a layer received in one call: what its weights are computed from, and rows and columns of its input when it knows."""

    tensors: tuple[Any, ...]
    grid: Size | None = None
    options: dict[str, Any] = field(default_factory=dict)


Seen = Callable[[Operands, Tensor], None]


class Attending(Protocol):
    """What every attention layer answers."""

    op: str

    @property
    def support(self) -> Support:
        """Where its weights point."""
        ...

    def watch(self, seen: Seen) -> list[RemovableHandle]:
        """Call `seen` with the operands and with what the weights were applied to, in every forward pass until removed."""
        ...

    def grid(self, operands: Operands, image: Size | None) -> Size:
        """Rows and columns of the layer's input."""
        ...

    def weights(self, operands: Operands, queries: Tensor, grid: Size) -> Tensor:
        """Weights (B, G, Q, S) of flat queries (Q,)."""
        ...

    def breadth(self, operands: Operands) -> int:
        """Numbers that exist at once for an entry of a query and a picture while its weights are computed."""
        ...


class TapLayer:
    """A layer of ours."""

    def __init__(self, tap: Tap) -> None:
        self.tap, self.op = tap, tap.op.name

    @property
    def support(self) -> Support:
        return self.tap.support

    def watch(self, seen: Seen) -> list[RemovableHandle]:
        def record(_tap: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: Tensor) -> None:
            seen(Operands(args, options.get("grid")), output)

        return [self.tap.register_forward_hook(record, with_kwargs=True)]

    def grid(self, operands: Operands, image: Size | None) -> Size:
        if operands.grid is not None:
            return operands.grid
        pooled = isinstance(self.support, support.Global)  # its keys may be pooled, its queries never are
        spatial = operands.tensors[0 if pooled else 1].shape[2:]
        if len(spatial) > 2:
            raise ValueError(
                f"capture draws maps over rows and columns; this layer works on {len(spatial)} axes {tuple(spatial)}. "
                "Its weights are to be had from `layer.attend.weights(*operands)`"
            )
        return (1, spatial[0]) if len(spatial) == 1 else (spatial[0], spatial[1])

    def weights(self, operands: Operands, queries: Tensor, grid: Size) -> Tensor:
        return self.tap.weights(*self.received(operands), queries=queries, grid=operands.grid)

    def breadth(self, operands: Operands) -> int:
        if self.op == "pairwise_attention":
            return 1
        return operands.tensors[0].shape[1]  # heads of tokens, channels of a map whose keys are gathered

    def received(self, operands: Operands) -> tuple[Any, ...]:
        """The op's operands."""
        return operands.tensors


class StemLayer(TapLayer):
    """SASA's attention stem, which may compute from the pixels and never call its tap: seen at its own input."""

    def __init__(self, stem: AttentionStem2d) -> None:
        super().__init__(stem.attend)
        self.stem = stem

    def watch(self, seen: Seen) -> list[RemovableHandle]:
        def record(_stem: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            seen(Operands((args[0],)), output)

        return [self.stem.register_forward_hook(record)]

    def grid(self, operands: Operands, image: Size | None) -> Size:
        return operands.tensors[0].shape[2], operands.tensors[0].shape[3]

    def breadth(self, operands: Operands) -> int:
        return self.stem.query.weight.shape[0]

    def received(self, operands: Operands) -> tuple[Any, ...]:
        x, stem = operands.tensors[0], self.stem
        return stem.query(x), stem.key(x), stem.value(x), stem.mixture(), stem.relative_rows, stem.relative_cols


class TimmLayer:
    """`Attention` or `AttentionRope` of timm, in a model with `patch_embed`."""

    op = "global_attention"

    def __init__(self, module: Any, model: nn.Module) -> None:
        self.module, self.model = module, model

    @property
    def support(self) -> Support:
        return support.Global(prefix=int(getattr(self.model, "num_prefix_tokens", 0)))

    def watch(self, seen: Seen) -> list[RemovableHandle]:
        received: list[Operands] = []

        def enter(module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            names = ("x", "rope", "attn_mask", "is_causal") if _has_rope(module) else ("x", "attn_mask", "is_causal")
            given = dict(zip(names, args, strict=False)) | options
            received[:] = [Operands((given.pop("x"),), options=given)]

        def attended(_norm: nn.Module, args: tuple[Any, ...]) -> None:
            seen(received.pop(), args[0])

        # timm applies `norm` (an identity unless scale_norm) to what the weights gathered
        after = getattr(self.module, "norm", None) or self.module.proj
        return [
            self.module.register_forward_pre_hook(enter, with_kwargs=True),
            after.register_forward_pre_hook(attended),
        ]

    def grid(self, operands: Operands, image: Size | None) -> Size:
        tokens = operands.tensors[0].shape[1] - self.support.prefix
        for rows, cols in patch_grids(self.model, image):
            if rows * cols == tokens:
                return rows, cols
        raise ValueError(
            f"the {tokens} tokens behind the {self.support.prefix} of the prefix are no grid of patches of the image "
            f"{image}; capture needs all patches (no patch dropout, no packing of several images)"
        )

    def weights(self, operands: Operands, queries: Tensor, grid: Size) -> Tensor:
        query, key, _ = self.projections(operands)
        with without_autocast(query.device):
            logits = (query[:, :, queries].float() * self.module.scale) @ key.float().transpose(-2, -1)
        mask = operands.options.get("attn_mask")
        if operands.options.get("is_causal"):
            allowed = torch.arange(key.shape[2], device=key.device) <= queries[:, None]
            logits = logits.masked_fill(~allowed, float("-inf"))
        elif mask is not None:
            mask = mask.expand(*mask.shape[:-2], key.shape[2], key.shape[2])[..., queries, :]
            logits = logits.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else logits + mask.float()
        return logits.softmax(dim=-1)

    def breadth(self, operands: Operands) -> int:
        return self.module.num_heads

    def projections(self, operands: Operands) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value (B, N, L, D), as the module makes them."""
        module, x = self.module, operands.tensors[0]
        if module.qkv is not None:
            query, key, value = module.qkv(x).unflatten(2, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            parts = (module.q_proj(x), module.k_proj(x), module.v_proj(x))
            depth = parts[0].shape[2] // module.num_heads
            query, key, value = (part.unflatten(2, (-1, depth)).transpose(1, 2) for part in parts)
        query, key = module.q_norm(query), module.k_norm(key)
        if operands.options.get("rope") is not None:
            query, key = (_rotated(module, part, operands.options["rope"]) for part in (query, key))
        shared = query.shape[1] // key.shape[1]
        if shared > 1:
            key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
        return query, key, value


def attention_layers(model: nn.Module) -> dict[str, Attending]:
    """The model's attention layers by name, in the order they are defined.

    Raises:
        ValueError: the model is compiled, or has no attention that can be captured; the message says why.
    """
    if any(hasattr(module, "_orig_mod") for module in model.modules()):
        raise ValueError(
            "this model, or a part of it, is compiled, and what happens inside can not be seen; use the model it was made from, "
            "`model._orig_mod`, which shares its weights"
        )
    kinds, found = _timm_kinds(), {}
    for name, module in model.named_modules():
        if isinstance(module, AttentionStem2d):
            found[name] = StemLayer(module)
        elif isinstance(module, Tap):
            found.setdefault(name.removesuffix(".attend"), TapLayer(module))
        elif type(module) in kinds:
            found[name] = TimmLayer(module, net_of(model))
    if not found:
        raise ValueError(_why_none(model))
    return found


def net_of(model: nn.Module) -> Any:
    """The transformer inside a wrapper (a normalisation before it, data parallelism): what has tokens; else the model itself."""
    return next((one for one in model.modules() if hasattr(one, "num_prefix_tokens")), model)


def token_names(model: nn.Module, prefix: int) -> tuple[str, ...]:
    """Names of a layer's prefix tokens, from the tokens its model has."""
    if prefix == 0:
        return ()
    net = net_of(model)
    names = [name for held, name in (("cls_token", "class"), ("dist_token", "distillation")) if _has(net, held)]
    names += [f"register{index}" for index in range(1, prefix - len(names) + 1)]
    return tuple(names[:prefix])


def _has(model: nn.Module, name: str) -> bool:
    return getattr(model, name, None) is not None


def _why_none(model: nn.Module) -> str:
    others = {
        type(module).__name__ for module in model.modules() if re.search("attention|attn", type(module).__name__, re.I)
    }
    if others:
        return (
            f"this model's attention is of a kind that capture does not know ({', '.join(sorted(others))}); it knows "
            "sightline's layers and the Attention and AttentionRope of timm's ViTs and DeiTs"
        )
    return "this model has no attention layer to capture; a convolution has no attention map"


def _timm_kinds() -> tuple[type, ...]:
    from timm.models import vision_transformer

    kinds: list[type] = [vision_transformer.Attention]
    try:
        from timm.layers import AttentionRope

        kinds.append(AttentionRope)
    except ImportError:  # older timm
        pass
    return tuple(kinds)


def _has_rope(module: Any) -> bool:
    return type(module).__name__ == "AttentionRope"


def _rotated(module: Any, part: Tensor, rope: Tensor) -> Tensor:
    from timm.layers import apply_rot_embed_cat

    prefix = module.num_prefix_tokens
    turned = apply_rot_embed_cat(part[:, :, prefix:], rope, half=getattr(module, "rotate_half", False))
    return torch.cat([part[:, :, :prefix], turned], dim=2).type_as(part)


def patch_grids(model: Any, image: Size | None) -> Iterable[Size]:
    """Grids the patches may have, the likeliest first."""
    patches = getattr(model, "patch_embed", None)
    if image is not None and hasattr(patches, "dynamic_feat_size"):
        yield tuple(patches.dynamic_feat_size(image))
    if getattr(patches, "grid_size", None):
        yield tuple(patches.grid_size)
    for info in getattr(model, "feature_info", None) or ():
        step = info.get("reduction") if isinstance(info, dict) else None
        if image is not None and step:
            yield -(-image[0] // step), -(-image[1] // step)
            yield image[0] // step, image[1] // step
