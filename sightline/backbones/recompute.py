"""Gradient checkpointing: a block's activations are computed again in the backward pass instead of being kept.

Source: Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv 1604.06174.
Ours:   batch norms count the statistics of a batch once, not in the second pass again; so it changes time and memory, nothing else.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, *inputs: Any) -> Any:
    """`block(*inputs)`, to be computed again for its gradient."""
    if torch.compiler.is_compiling():  # a compiled block's statistics are an output of its first pass
        return checkpoint(block, *inputs, use_reentrant=False)
    return checkpoint(block, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _uncounted(block)))


def recomputed_in_turn(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """The blocks one after another, each recomputed by itself."""
    for block in blocks:
        x = recomputed(block, x)
    return x


@contextmanager
def _uncounted(block: nn.Module) -> Iterator[None]:
    """Within the context batch norms move none of their running statistics."""
    norms = [one for one in block.modules() if isinstance(one, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, batches) in zip(norms, kept, strict=True):
        # a copy of the counter, for a synchronised norm fails without one
        norm.momentum, norm.num_batches_tracked = 0.0, None if batches is None else batches.clone()
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
