"""Every Triton kernel compiles for NVIDIA cards that are not there, into what their shared memory holds; and they are not many."""

from collections.abc import Callable

import pytest
import torch

from sightline.ops import triton_support as support
from sightline.ops.criss_cross_attention import triton as criss_cross
from sightline.ops.global_attention import triton as global_
from sightline.ops.local_attention import triton as local
from sightline.ops.local_relation import triton as relation
from sightline.ops.pairwise_attention import triton as pairwise
from sightline.ops.relation_mapping import triton as mapping
from sightline.ops.vector_attention import triton as vector
from sightline.ops.window_mapping import triton as windows
from tests.ops.compiled import compiled, launches

pytestmark = pytest.mark.skipif(
    support.INTERPRETING or not support.INSTALLED,
    reason="triton's compiler is not at hand: not installed, or interpreting",
)
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes a program may have
STAGES = ((56, 64), (28, 128), (14, 256), (7, 512))
RELATION_STAGES = ((56, 100), (28, 200), (14, 400), (7, 800))
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def maps(dtype, *channels, side=14):
    make = lambda count: torch.zeros(2, count, side, side, dtype=dtype)  # noqa: E731
    return [make(count).contiguous(memory_format=torch.channels_last) for count in channels]


def both(module, operands, *options) -> None:
    """Forward and backward of an op's launcher."""
    y, statistics = module.forward(*operands, *options)
    needed = [one is not None for one in operands]
    module.backward(needed, torch.zeros_like(y), y, statistics, *operands, *options)


def local_attention(dtype, side=14, channels=64, kernel_size=7, heads=8, stride=1, dilation=1) -> None:
    q, k, v = maps(dtype, *[channels] * 3, side=side)
    q = q[:, :, ::stride, ::stride].contiguous(memory_format=torch.channels_last)
    rows, cols = (torch.zeros(heads, channels // heads // 2, kernel_size, dtype=dtype) for _ in range(2))
    both(local, (q, k, v, rows, cols), kernel_size, heads, stride, dilation, True)


def local_relation(dtype, side=14, channels=100) -> None:
    groups = -(-channels // 8)
    prior = torch.zeros(groups, 49, dtype=dtype)
    both(relation, (*maps(dtype, groups, groups, channels, side=side), prior), 7, 0, 1, 1, True, False, 8)


def vector_attention(dtype, side=14, channels=64, softmax=True) -> None:
    logits = torch.zeros(2, channels // 8, 49, side, side, dtype=dtype)
    both(vector, (logits, *maps(dtype, channels, side=side + 6)), 7, 1, 1, softmax, 2)


def criss_cross_attention(dtype) -> None:
    both(criss_cross, maps(dtype, 64, 64, 512))


def global_attention(dtype) -> None:
    q, k, v = (torch.zeros(2, 8, 20, 784, dtype=dtype).mT for _ in range(3))
    both(global_, (q, k, v, *(torch.zeros(2, 8, 784, 28) for _ in range(2))), 28, 28, 0.2)


def relation_mapping(dtype, side=14, channels=256, kernel_size=7) -> None:
    """Of a stage of SAN with as many value channels."""
    rel, groups = channels // 4, channels // 8
    vectors = lambda *sizes: [torch.zeros(*one) if isinstance(one, tuple) else torch.zeros(one) for one in sizes]  # noqa: E731
    first = vectors(rel + 2, rel + 2, (2, rel + 2), (rel, rel + 2))
    second = vectors(rel, rel, (2, rel), (groups, rel), groups)
    position = torch.zeros(1, 2, side, side, dtype=dtype)
    mapping.forward(
        *maps(dtype, rel, rel, side=side), position, *first, *second, 1e-5, 1e-5, kernel_size, -1, True, True
    )


def window_mapping(dtype, side=14, channels=256, kernel_size=7) -> None:
    rel, groups = channels // 4, channels // 8
    width = rel * (kernel_size**2 + 1)
    parameters = (torch.zeros(width), torch.zeros(width), torch.ones(2, width), torch.zeros(groups, width))
    windows.forward(*maps(dtype, rel, rel, side=side), *parameters, 1e-5, kernel_size, True)


def concatenation(dtype) -> None:
    a, b, value = torch.zeros(2, 784), torch.zeros(2, 196), torch.zeros(2, 196, 256, dtype=dtype).mT
    y = pairwise.forward(a, b, value)
    pairwise.backward([True] * 3, y, a, b, value)


OPS = (
    local_attention,
    local_relation,
    vector_attention,
    relation_mapping,
    window_mapping,
    concatenation,
    criss_cross_attention,
    global_attention,
)


@pytest.mark.parametrize("op", OPS, ids=lambda one: one.__name__)
def test_forward_compiles(monkeypatch, op: Callable[..., None]):
    """The first configuration of the forward kernel, for Hopper: under a second where the compiler has seen it before."""
    kernel, arguments, options = launches(monkeypatch, lambda: op(torch.bfloat16))[0]
    assert compiled(kernel, arguments, options, 90).metadata.shared <= SHARED[80]


@pytest.mark.slow
@pytest.mark.skipif(
    "not config.getoption('markexpr')", reason="minutes; `pytest -m slow tests/ops/test_compile_triton.py`"
)
@pytest.mark.parametrize("capability", SHARED)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("op", OPS, ids=lambda one: one.__name__)
def test_all_compile(monkeypatch, op, dtype, capability):
    """All kernels and configurations; of several that could be chosen, the smallest has to fit."""
    smallest: dict[str, int] = {}
    for kernel, arguments, options in launches(monkeypatch, lambda: op(dtype)):
        shared = compiled(kernel, arguments, options, capability).metadata.shared
        smallest[kernel.__name__] = min(smallest.get(kernel.__name__, shared), shared)
    assert max(smallest.values()) <= SHARED[capability]


def test_specialisations_are_few(monkeypatch):
    """Of one dtype: the nets of SASA, LR-Net and SAN at 224 pixels, forward and backward, and a layer of the others."""

    def nets() -> None:
        for side, channels in STAGES:
            local_attention(torch.bfloat16, side, channels)
        for side, channels in RELATION_STAGES:
            local_relation(torch.bfloat16, side, channels)
        for side, channels in STAGES:
            vector_attention(torch.bfloat16, side, channels)
            relation_mapping(torch.bfloat16, side, channels)
            window_mapping(torch.bfloat16, side, channels)
        criss_cross_attention(torch.bfloat16)
        concatenation(torch.bfloat16)
        global_attention(torch.bfloat16)

    found = launches(monkeypatch, nets)
    kinds = {(kernel.__module__, kernel.__name__, tuple(sorted(options.items()))) for kernel, _, options in found}
    per_kernel = {key[:2]: sum(one[:2] == key[:2] for one in kinds) for key in kinds}
    assert max(per_kernel.values()) <= 16  # widths of heads or groups, times configurations to choose from
    assert len(kinds) <= 136
