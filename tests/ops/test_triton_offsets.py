"""Images that lie up to 2^31 elements apart: kernels count batches in 64 bits. Untouched memory between them is never in use."""

from functools import partial

import pytest
import torch

from sightline.ops import (
    criss_cross_attention,
    global_attention,
    local_attention,
    local_relation,
    pairwise_attention,
    vector_attention,
)
from tests.ops import gpu
from tests.ops.kernels import results

pytestmark = gpu.needs_triton
APART = 2**30 + 64  # elements; a step fits 32 bits, that to the third image does not
WINDOW = {"kernel_size": 3}
OPS = {  # shapes of the operands; how it is called
    "local_attention": ([(3, 2, 2, 3)] * 3, partial(local_attention, heads=1, **WINDOW)),
    "local_relation": ([(3, 1, 2, 3), (3, 1, 2, 3), (3, 2, 2, 3), None], partial(local_relation, **WINDOW)),
    "vector_attention": ([(3, 1, 9, 2, 3), (3, 2, 2, 3)], partial(vector_attention, border="zero", **WINDOW)),
    "criss_cross_attention": ([(3, 2, 2, 3)] * 3, criss_cross_attention),
    "global_attention": ([(3, 1, 6, 2)] * 3, partial(global_attention, grid=(2, 3))),
    "pairwise_attention": ([(3, 2, 2, 3)] * 3, partial(pairwise_attention, similarity="concatenation")),
}
QUICK = ("vector_attention", "pairwise_attention")
TABLES = {"global_attention": [(3, 2), (5, 2)], "pairwise_attention": [(4,)]}


@pytest.fixture(scope="module")
def memory():
    """What all operands lie in: 6 GB of addresses, of which a few pages are written."""
    try:
        return torch.empty(3 * APART, dtype=torch.float16, device=gpu.DEVICE)
    except (RuntimeError, MemoryError):
        pytest.skip("6 GB can not be had")


def far(memory, shape, place):
    """An operand whose images are APART."""
    small = torch.randn(shape, generator=torch.Generator().manual_seed(place)).half()
    wide = memory.as_strided(shape, (APART, *small.stride()[1:]), 4096 * place)
    return wide.copy_(small)


@pytest.mark.parametrize("name", [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in OPS])
def test_images_far_apart(memory, name):
    """Output and gradients are those of the same images side by side."""
    shapes, call = OPS[name]
    maps = [None if one is None else far(memory, one, place) for place, one in enumerate(shapes)]
    tables = [torch.randn(one).half().to(gpu.DEVICE) for one in TABLES.get(name, ())]
    near = [None if one is None else one.contiguous() for one in maps]
    found, expected = (results(partial(call, backend="triton"), [*one, *tables]) for one in (maps, near))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
