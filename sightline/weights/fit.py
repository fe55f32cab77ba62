"""Fit a source's tensors to a net: what matches is taken, grids are resized, a classifier of another size begins anew when asked.

All else is a mismatch, and an error that names the tensors. Nothing touches the net before all of it is settled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sightline.backbones.transformer_net import PatchTransformer
from sightline.layers import CrissCrossAttention, NonLocalBlock1d, NonLocalBlock2d, NonLocalBlock3d
from sightline.layers.patch_embed import resize_patches
from sightline.layers.positions import resize_positions
from sightline.weights.grid import grid_of
from sightline.weights.report import Entry, sort
from sightline.weights.rules import Translation

ADDED = (NonLocalBlock1d, NonLocalBlock2d, NonLocalBlock3d, CrissCrossAttention)
HIDDEN = "pre_logits."
POSITIONS, PATCHES = "pos_embed", "patch_embed.proj.weight"


@dataclass
class Fit:
    """What to load, and what became of every tensor.

    Args:
        tensors: to load, by the net's names and of its shapes.
        entries: for the report.
        strangers: tensors of the source for which the net has no place.
        misfits: tensors that the net has in another shape, with both shapes.
        lacking: tensors of the net that the source should have had.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether there is no mismatch."""
        return not (self.strangers or self.misfits or self.lacking)

    def add(self, status: str, ours: str, theirs: tuple[str, ...], tensor: Tensor, note: str = "") -> None:
        """Note what became of a tensor."""
        self.entries.append(Entry(status, ours, theirs, tuple(tensor.shape), note))


@dataclass(frozen=True)
class Terms:
    """How a source may be adapted.

    Args:
        classifier: names of the net's classifier.
        fresh: its classifier begins anew; the reason, or "" for not.
        resize: how positions go to another grid.
        image_size: of the source, None when unknown.
        own: its positions lie as those of this very net, whatever their number.
        unused: tensors of the source that belong to other tasks.
    """

    classifier: tuple[str, ...]
    fresh: str = ""
    resize: str = "bicubic"
    image_size: tuple[int, int] | None = None
    own: bool = False
    unused: tuple[str, ...] = ()

    def in_head(self, name: str) -> bool:
        """Whether a tensor belongs to the classifier or the hidden layer before it."""
        return name.startswith((*(f"{head}." for head in self.classifier), HIDDEN))


def fit(model: nn.Module, source: Translation, terms: Terms, everything: Mapping[str, Tensor]) -> Fit:
    """Settle what becomes of every tensor; the net is only read.

    Args:
        everything: the source's own tensors, for the shapes of those without a name here.
    """
    done, wanted = Fit(), model.state_dict()
    for name in source.unknown:
        if name in terms.unused:
            done.add("dropped", "", (name,), everything[name], "belongs to another task")
        else:
            done.strangers.append(name)
            done.add("dropped", "", (name,), everything[name], "the net has none")
    done.misfits += [f"{ours}: {', '.join(lack)} is missing in the source" for ours, lack in source.incomplete.items()]
    for name, tensor in source.tensors.items():
        _place(done, model, name, tensor, wanted.get(name), source.origins[name], terms)
    for name, tensor in wanted.items():
        if name not in done.tensors:
            _miss(done, model, name, tensor, terms, in_source=name in source.tensors or name in source.incomplete)
    done.entries = list(sort(done.entries))
    return done


def _place(
    done: Fit, model: nn.Module, name: str, tensor: Tensor, wanted: Tensor | None, theirs: tuple[str, ...], terms: Terms
) -> None:
    if terms.fresh and terms.in_head(name):
        done.add("dropped", "", theirs, tensor, terms.fresh)
    elif wanted is None:
        done.strangers.append(", ".join(theirs))
        done.add("dropped", "", theirs, tensor, "the net has none")
    elif wanted.is_floating_point() and not tensor.is_floating_point():
        done.misfits.append(f"{name}: {tensor.dtype} in the source, {wanted.dtype} in the net")
        done.add("dropped", name, theirs, tensor, f"of integers, {tensor.dtype}")
    else:
        _adapt(done, model, name, tensor, wanted, theirs, terms)


def _adapt(
    done: Fit, model: nn.Module, name: str, tensor: Tensor, wanted: Tensor, theirs: tuple[str, ...], terms: Terms
) -> None:
    adapted, note = _resized(model, name, tensor, wanted, terms)
    if adapted.shape == wanted.shape:
        done.tensors[name] = adapted
        done.add("resized" if note else "matched", name, theirs, adapted, note)
        return
    shapes = f"{tuple(tensor.shape)} in the source, {tuple(wanted.shape)} in the net"
    done.misfits.append(f"{name}: {shapes}")
    done.add("dropped", name, theirs, tensor, shapes)


def _resized(model: nn.Module, name: str, tensor: Tensor, wanted: Tensor, terms: Terms) -> tuple[Tensor, str]:
    """The tensor for the net's grid and patch, and what was done to it."""
    if not isinstance(model, PatchTransformer) or tensor.ndim != wanted.ndim:
        return tensor, ""
    old, new = tensor.shape, wanted.shape
    if name == PATCHES and old[:2] == new[:2] and old != new and old[2] == old[3]:
        return resize_patches(tensor, new[2]), f"patches {old[2]} x {old[3]} to {new[2]} x {new[3]}"
    if name == POSITIONS and tensor.shape[2] == wanted.shape[2]:
        prefix = model.num_prefix_tokens
        old_grid = None if terms.own and tensor.shape == wanted.shape else _old_grid(tensor, prefix, model, terms)
        if old_grid is not None and old_grid != model.grid:
            note = f"grid {old_grid[0]} x {old_grid[1]} to {model.grid[0]} x {model.grid[1]}, {terms.resize}"
            return resize_positions(tensor, old_grid, model.grid, prefix, terms.resize), note
    return tensor, ""


def _old_grid(positions: Tensor, prefix: int, model: PatchTransformer, terms: Terms) -> tuple[int, int] | None:
    count = positions.shape[1] - prefix
    if count < 1:
        return None
    old = grid_of(count, terms.image_size)
    return model.grid if old is None and count == model.grid[0] * model.grid[1] else old


def _miss(done: Fit, model: nn.Module, name: str, tensor: Tensor, terms: Terms, in_source: bool) -> None:
    if terms.fresh and terms.in_head(name):
        done.add("missing", name, (), tensor, "begins anew: " + terms.fresh)
    elif in_source:  # it is among the misfits
        done.add("missing", name, (), tensor, "kept at its start")
    elif any(isinstance(part, ADDED) for part in _parents(model, name)):
        done.add("missing", name, (), tensor, "kept at its start, where its block is the identity")
    elif name.endswith("num_batches_tracked"):
        done.add("missing", name, (), tensor, "a count that old files lack")
    else:
        done.lacking.append(name)
        done.add("missing", name, (), tensor, "kept at its start")


def _parents(model: nn.Module, name: str) -> list[nn.Module]:
    parts, found, module = name.split(".")[:-1], [], model
    for part in parts:
        module = module.get_submodule(part)
        found.append(module)
    return found


def load_fitted(model: nn.Module, fitted: Mapping[str, Any]) -> None:
    """Copy the tensors into the net, in place."""
    with torch.no_grad():
        held = model.state_dict()
        for name, tensor in fitted.items():
            held[name].copy_(tensor)
