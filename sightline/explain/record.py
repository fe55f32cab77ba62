"""Record what the attention layers of a model receive during an ordinary forward pass; weights are computed from it on demand.

Legend: B batch, G heads or channel groups, Q queries, S entries of the support.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn

from sightline.backbones.mode import evaluating
from sightline.explain.attending import Attending, Operands, attention_layers, token_names
from sightline.explain.geometry import Geometry, stride_of
from sightline.ops.support import Support

CHUNK = 1 << 22  # elements that may exist at once beside what was asked for


@dataclass
class Call:
    """One call of one attention layer.

    Args:
        layer: the layer's name in the model.
        index: 0 for its first call in the forward pass, 1 for the second (recurrence).
        attending: the layer.
        operands: what it received.
        height, width: rows and columns of its input.
        geometry: where its input lies in the image.
        output: what the weights were applied to, as the layer gave it; with it gradients can be asked for.
    """

    layer: str
    index: int
    attending: Attending
    operands: Operands
    height: int
    width: int
    geometry: Geometry
    output: Tensor

    @property
    def support(self) -> Support:
        """Where its weights point."""
        return self.attending.support

    @property
    def query_geometry(self) -> Geometry:
        """The grid of queries in the image."""
        step = getattr(self.support, "stride", 1)
        return self.geometry.coarser(self.support.query_grid(self.height, self.width), (step, step))

    @property
    def key_geometry(self) -> Geometry:
        """The grid of keys in the image."""
        step = getattr(self.support, "key_stride", (1, 1))
        return self.geometry.coarser(self.support.key_grid(self.height, self.width), step)

    @property
    def queries(self) -> Tensor:
        """All flat queries (Q,), prefix first."""
        grid = self.query_geometry
        return torch.arange(grid.prefix + grid.rows * grid.cols, device=self.output.device)

    @property
    def entries(self) -> int:
        """Entries S of a query's support."""
        return self.support.targets(self.height, self.width, self.queries[:1]).shape[1]

    def weights(self, queries: Tensor) -> Tensor:
        """Weights (B, G, Q, S) of flat queries (Q,), a few queries at a time, so that little else exists meanwhile."""
        whole: Tensor | None = None
        for start, part in self.chunks(queries):
            if whole is None and part.shape[2] == len(queries):
                return part
            if whole is None:
                whole = part.new_empty(*part.shape[:2], len(queries), part.shape[3])
            whole[:, :, start : start + part.shape[2]] = part
        return self._weights(queries) if whole is None else whole

    def chunks(self, queries: Tensor, beside: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Weights of some queries after the other, and where each part starts; `beside`: elements the caller makes of one query."""
        at_once = max(CHUNK // max(self._work(), beside, 1), 1)
        for start in range(0, len(queries), at_once):
            yield start, self._weights(queries[start : start + at_once])

    @torch.no_grad()
    def _weights(self, queries: Tensor) -> Tensor:
        return self.attending.weights(self.operands, queries, (self.height, self.width))

    def _work(self) -> int:
        """Elements that one query's weights need: its entries, in every group or, where keys are gathered, in every channel."""
        return self.output.shape[0] * self.attending.breadth(self.operands) * self.entries


def recorded(model: nn.Module, images: Tensor, layers: str | Sequence[str] | None = None) -> list[Call]:
    """The calls of one forward pass in evaluation mode; the model's mode is afterwards what it was.

    Raises:
        ValueError: see `record`.
    """
    with evaluating(model), record(model, layers) as calls:
        model(images)
    return calls


@contextmanager
def watching(
    model: nn.Module, layers: str | Sequence[str] | None, seen: Callable[[Call], None]
) -> Iterator[dict[str, Attending]]:
    """Call `seen` with every call of the chosen layers in the forward passes made inside; yields the layers.

    Raises:
        ValueError: see `attention_layers`; or a pattern matches no layer.
    """
    chosen, image, calls = choose(attention_layers(model), layers), [], {}
    known = reductions(model)

    def enter(_module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        tensors = [one for one in (*args, *options.values()) if isinstance(one, Tensor)]
        image[:] = [_image_size(tensors[0])] if tensors else [None]
        calls.clear()

    def note(name: str, attending: Attending, operands: Operands, output: Tensor) -> None:
        size = image[0] if image else None
        height, width = attending.grid(operands, size)
        tokens = token_names(model, attending.support.prefix)
        geometry = Geometry(height, width, stride_of(size, (height, width), known), size, tokens)
        calls[name] = calls.get(name, -1) + 1
        seen(Call(name, calls[name], attending, operands, height, width, geometry, output))

    handles = [model.register_forward_pre_hook(enter, with_kwargs=True)]
    try:
        for name, attending in chosen.items():
            handles += attending.watch(_for(note, name, attending))
        yield chosen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def record(model: nn.Module, layers: str | Sequence[str] | None = None) -> Iterator[list[Call]]:
    """Collect the calls of the chosen layers, in order; their operands stay alive as long as the list."""
    calls: list[Call] = []
    with watching(model, layers, calls.append):
        yield calls


def choose(known: dict[str, Attending], patterns: str | Sequence[str] | None) -> dict[str, Attending]:
    """The layers that names or glob patterns match, in the order of the model. Raises ValueError when one matches none."""
    if patterns is None:
        return known
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in wanted:
        if pattern not in known and not any(fnmatch(name, pattern) for name in known):
            raise ValueError(f"no attention layer matches {pattern!r}; the model has: {', '.join(known)}")
    return {
        name: one for name, one in known.items() if any(name == pattern or fnmatch(name, pattern) for pattern in wanted)
    }


def reductions(model: nn.Module) -> list[int]:
    """Image pixels a cell, of every stage, as far as the net states them (timm's `feature_info`)."""
    stated = getattr(model, "feature_info", None) or ()
    return [info["reduction"] for info in stated if isinstance(info, dict) and "reduction" in info]


def detached(call: Call) -> Call:
    """The call without its operands' history, so that a graph can be freed."""
    tensors = tuple(one.detach() if isinstance(one, Tensor) else one for one in call.operands.tensors)
    return replace(call, operands=replace(call.operands, tensors=tensors), output=call.output.detach())


def _for(note: Callable[..., None], name: str, attending: Attending) -> Callable[[Operands, Tensor], None]:
    return lambda operands, output: note(name, attending, operands, output)


def _image_size(images: Tensor) -> tuple[int, int] | None:
    """Rows and columns of the model's input; a sequence (B, C, L) is one row; volumes have none."""
    if images.ndim == 4:
        return images.shape[2], images.shape[3]
    return (1, images.shape[2]) if images.ndim == 3 else None
