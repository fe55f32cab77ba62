"""Which modules of a net run, and on maps of which size: one forward pass on the meta device, which computes nothing."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Seen:
    """What a forward pass showed of a module: its calls, its first input's shape, its output."""

    calls: int
    taken: tuple[int, ...] | None
    given: Any


@dataclass(frozen=True)
class Probe:
    """A forward pass seen from outside.

    Args:
        modules: by name, the modules that ran.
        image: rows and columns of the image it ran on; None where the example has none.
        failure: why the pass could not be made; "" when it was.
    """

    modules: dict[str, Seen] = field(default_factory=dict)
    image: tuple[int, int] | None = None
    failure: str = ""

    def size(self, name: str) -> tuple[int, int] | None:
        """Rows and columns of the map that a module reads."""
        taken = self.modules[name].taken if name in self.modules else None
        return (taken[-2], taken[-1]) if taken is not None and len(taken) == 4 else None


def probe(
    model: nn.Module, image_size: int | Sequence[int] | None = None, example: Tensor | tuple[Any, ...] | None = None
) -> Probe:
    """Run a copy of the model once in evaluation mode, on an image of image_size or on the example, and note what runs.

    Without either the size is the one in the model's timm configuration, else 224 x 224. The model itself is left alone. A pass
    that fails gives a `Probe` that says why.
    """
    try:
        shadow = copy.deepcopy(model).eval()
        if example is None:
            shadow = shadow.to("meta")
            inputs: tuple[Any, ...] = (_image(shadow, image_size),)
        else:
            inputs = example if isinstance(example, tuple) else (example,)
        modules = _watch(shadow, inputs)
    except Exception as error:  # nets of others fail in their own ways; the caller decides whether it matters
        return Probe(failure=f"{type(error).__name__}: {error}".splitlines()[0])
    first = next((one for one in inputs if isinstance(one, Tensor) and one.ndim == 4), None)
    return Probe(modules, None if first is None else (first.shape[2], first.shape[3]))


def _watch(shadow: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Seen]:
    seen: dict[str, Seen] = {}

    def note(name: str, args: tuple[Any, ...], output: Any) -> None:
        calls = seen[name].calls + 1 if name in seen else 1
        taken = tuple(args[0].shape) if args and isinstance(args[0], Tensor) else None
        seen[name] = seen[name] if name in seen else Seen(1, taken, output)
        seen[name] = Seen(calls, seen[name].taken, seen[name].given)

    for name, module in shadow.named_modules():

        def hook(_module: nn.Module, args: tuple[Any, ...], output: Any, name: str = name) -> None:
            note(name, args, output)

        module.register_forward_hook(hook)
    with torch.no_grad():
        shadow(*inputs)
    return seen


def _image(model: nn.Module, image_size: int | Sequence[int] | None) -> Tensor:
    """A meta image of the channels that the model's first convolution takes, in the dtype of its weights."""
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    known = config.get("input_size") if isinstance(config, dict) else getattr(config, "input_size", None)
    size = image_size if image_size is not None else (known[1:] if known else 224)
    height, width = (size, size) if isinstance(size, int) else size
    first = next((one for one in model.modules() if isinstance(one, nn.Conv2d)), None)
    channels = 3 if first is None else first.in_channels
    dtype = None if first is None else first.weight.dtype
    return torch.empty(1, channels, height, width, device="meta", dtype=dtype)
