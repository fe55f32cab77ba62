"""Turn the k x k convolutions of any net into an attention operator, and say what could not be turned, and why.

Ours:   a convolution is replaced only where the operator gives the same output size on every map: odd square kernels with padding
        dilation * (K - 1) / 2, where torch gives ceil(H / stride) rows. Weights are new: train the net afterwards.
Ours:   the stem stays unless asked for: it is what reads the image itself, or a map of more than 64 x 64 pixels and more than a
        quarter of the image's side, where a window of attention per pixel costs most and sees least.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sightline.backbones.dropins.operators import ALIASES, OPERATORS, Operator, check_options
from sightline.backbones.dropins.probe import Probe, probe
from sightline.backbones.dropins.select import Selector, select
from sightline.ops.tap import Tap

LARGE = 64 * 64  # pixels of a map above which its resolution counts as a stem's


@dataclass(frozen=True)
class Replacement:
    """What `replace_convs` did.

    Args:
        model: the net with its operators: the one given, or the copy of it.
        operator: the operator's name.
        replaced: name of each convolution that is now attention -> what it was and what it is.
        refused: name of each other convolution that was meant -> why it could not be replaced.
    """

    model: nn.Module
    operator: str
    replaced: dict[str, str]
    refused: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.operator}: {len(self.replaced)} convolutions replaced, {len(self.refused)} left"]
        lines += [f"  {name}: {what}" for name, what in self.replaced.items()]
        for reason in dict.fromkeys(self.refused.values()):
            names = [name for name, why in self.refused.items() if why == reason]
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            lines.append(f"  left, {reason}: {shown}")
        return "\n".join(lines)


def replace_convs(
    model: nn.Module,
    operator: str,
    where: Selector | None = None,
    *,
    stem: bool = False,
    image_size: int | Sequence[int] | None = None,
    example: Tensor | tuple[Any, ...] | None = None,
    inplace: bool = True,
    **options: Any,
) -> Replacement:
    """Replace k x k convolutions of any net by an attention operator, in place unless asked otherwise.

    Each operator has the convolution's channels, stride and dilation, biases if it had one, its device and dtype, its mode
    (training or not) and frozen parameters if its weight was frozen; its output has the convolution's size on every map. A
    convolution used in several places stays one operator. Either all that can be replaced is, or (after an error) nothing.

    Args:
        model: any net: sightline's, timm's, torchvision's, yours.
        operator: "sasa" (stand-alone self-attention), "local_relation" or "lrnet", "aa" (attention-augmented convolution),
            "san_pairwise" or "san_patchwise".
        where: which convolutions: the name of one or of a module around them ("layer3"), a glob over whole names ("*.conv2"), a
            regular expression (a string that fits the whole name, or a compiled one that is searched for), several of these, or a
            callable (name, module) -> bool. None: all.
        stem: also replace what reads the image itself, or a map of more than 64 x 64 pixels and a quarter of the image's side.
        image_size: side, or (rows, columns), of the image that map sizes are found with. None: of the timm configuration, else 224.
        example: what to call the model with instead, a tensor or a tuple, for nets that do not take one batch of images.
        inplace: False leaves the model alone and changes a copy; `report.model` is the changed net in both cases.
        options: of the operator's layer, as kernel_size (7 by default, that of the convolution for "aa"; "same": that of the
            convolution), heads, relative, share, similarity, border, downsample, backend. Heads, or share for SAN, that do not
            divide the channels become the largest number below that does. "aa" also takes key_ratio, value_ratio and
            least_key_depth in place of key_channels and value_channels.

    Returns:
        A report: `replaced` and `refused` by name, `model`; printing it tells all.

    Raises:
        ValueError: an unknown operator, nothing matches `where`, the model has no convolution or is one, a bad option value.
        TypeError: an option that the operator's layer does not have.
    """
    name = ALIASES.get(operator, operator)
    if name not in OPERATORS:
        raise ValueError(
            f"replace_convs: operator must be one of {', '.join([*OPERATORS, *ALIASES])}; got {operator!r}"
        )
    chosen = OPERATORS[name]
    check_options("replace_convs", operator, options, chosen.options())
    meant = _meant(model, where)
    shown = probe(model, image_size, example)
    first = {id(module): path for path, module in model.named_modules()}
    made: dict[int, nn.Module] = {}
    replaced: dict[str, str] = {}
    refused: dict[str, str] = {}
    for path, conv in meant.items():
        reason = _objection(model, first[id(conv)], conv, chosen, shown, stem, options)
        if reason is not None:
            refused[path] = reason
            continue
        if id(conv) not in made:
            made[id(conv)] = _make(path, conv, chosen, shown.size(first[id(conv)]), options)
        replaced[path] = f"{_describe(conv)} -> {_describe(made[id(conv)])}"
    if not inplace:
        model = copy.deepcopy(model)
    new = {path: made[id(meant[path])] for path in replaced}
    for path, module in new.items():
        model.set_submodule(path, module)
    return Replacement(model, name, replaced, refused)


def _meant(model: nn.Module, where: Selector | None) -> dict[str, nn.Module]:
    """The convolutions that `where` means, by name; one used twice has two names."""
    if isinstance(model, _ConvNd):
        raise ValueError("replace_convs: the model is itself a convolution; put it into nn.Sequential to replace it")
    known: dict[str, nn.Module] = {
        name: one for name, one in model.named_modules(remove_duplicate=False) if isinstance(one, _ConvNd)
    }
    if not known:
        raise ValueError(f"replace_convs: {type(model).__name__} has no convolution (nn.Conv2d) to replace")
    return known if where is None else {name: known[name] for name in select("where", known, where, inside=True)}


def _make(
    path: str, conv: nn.Module, operator: Operator, size: tuple[int, int] | None, options: dict[str, Any]
) -> nn.Module:
    if not isinstance(conv, nn.Conv2d):
        raise TypeError(f"{path} is a {type(conv).__name__}")
    try:
        module = operator.build(conv, size, dict(options))
    except ValueError as error:
        raise ValueError(f"replace_convs: {path}: {error}") from error
    return module.train(conv.training).requires_grad_(conv.weight.requires_grad)


def _objection(
    model: nn.Module, path: str, conv: nn.Module, operator: Operator, shown: Probe, stem: bool, options: dict[str, Any]
) -> str | None:
    """Why a convolution can not be replaced; None when it can."""
    parents = [path.rsplit(".", cut)[0] for cut in range(1, path.count(".") + 1)]
    if any(isinstance(child, Tap) for name in ["", *parents] for child in model.get_submodule(name).children()):
        return "part of an attention layer"
    if not isinstance(conv, nn.Conv2d):
        return (
            "transposed"
            if isinstance(conv, _ConvTransposeNd)
            else f"a {type(conv).__name__}, not over rows and columns"
        )
    reason = _shape_objection(conv) or _tie(model, conv)
    if reason is not None:
        return reason
    if not operator.dilated and conv.dilation != (1, 1):
        return f"dilation {conv.dilation[0]}, which this operator does not have"
    size = shown.size(path)
    if not stem and _is_stem(model, path, conv, shown):
        read = "" if size is None else f" (reads {size[0]} x {size[1]} pixels)"
        return f"of the stem{read}; stem=True replaces it"
    if operator.sized and size is None and "size" not in options:
        why = shown.failure or "it did not run in a forward pass"
        return f"the size of its map is not known ({why}); give example= or size="
    return None


def _shape_objection(conv: nn.Conv2d) -> str | None:
    (rows, cols), (stride, other), (dilation, across) = conv.kernel_size, conv.stride, conv.dilation
    if conv.in_channels == 0:
        return "lazy, its channels are not known before a forward pass"
    if (rows, cols) == (1, 1):
        return "1 x 1, it mixes channels alone"
    if conv.groups > 1:
        return "depthwise" if conv.groups == conv.in_channels else "grouped"
    if rows != cols:
        return f"kernel {rows} x {cols} is not square"
    if rows % 2 == 0:
        return f"even kernel {rows} x {cols} has no centre"
    if stride != other or dilation != across:
        return f"stride {conv.stride} or dilation {conv.dilation} differs between rows and columns"
    if conv.padding_mode == "circular":
        return "circular padding, windows of attention do not wrap around"
    if not _keeps_size(conv):
        return f"padding {conv.padding[0]} where {dilation * (rows // 2)} gives ceil(H / stride)"
    return None


def _keeps_size(conv: nn.Conv2d) -> bool:
    if isinstance(conv, Conv2dSame) or conv.padding == "same":  # both pad as the map needs it
        return True
    half = conv.dilation[0] * (conv.kernel_size[0] // 2)
    return conv.padding == (half, half)


def _tie(model: nn.Module, conv: nn.Conv2d) -> str | None:
    """Why replacing this module would break another: a weight that others use, hooks that would be lost."""
    hooks: list[Callable[..., Any]] = [*conv._forward_hooks.values(), *conv._forward_pre_hooks.values()]
    if hooks:
        return "it carries hooks, which would be lost"
    for other in model.modules():
        if other is not conv and any(one is conv.weight for one in other.parameters(recurse=False)):
            return "another module uses its weight"
    return None


def _is_stem(model: nn.Module, path: str, conv: nn.Conv2d, shown: Probe) -> bool:
    """Does it read the image, or a map nearly as large? Without a forward pass: is it the first convolution of the net?"""
    size = shown.size(path)
    if size is None or shown.image is None:
        return conv is next(one for one in model.modules() if isinstance(one, nn.Conv2d))
    first = next(name for name in shown.modules if isinstance(model.get_submodule(name), nn.Conv2d))
    return path == first or (size[0] * size[1] > LARGE and max(size) > -(-max(shown.image) // 4))


def _describe(module: nn.Module) -> str:
    if not isinstance(module, nn.Conv2d):
        tap = next(one for one in module.children() if isinstance(one, Tap))
        shown = {"heads": getattr(module, "heads", None), **tap.options}
        telling = [
            f"{key}={shown[key]}" for key in ("kernel_size", "heads", "similarity") if shown.get(key) is not None
        ]
        return f"{type(module).__name__}({', '.join(telling)})"
    side = " x ".join(map(str, module.kernel_size))
    stride = "" if module.stride == (1, 1) else f", stride {module.stride[0]}"
    return f"{module.in_channels} to {module.out_channels} channels, {side}{stride}"
