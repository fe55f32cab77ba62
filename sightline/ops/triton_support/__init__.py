"""The Triton kernels: when they can run, how they are loaded and launched. docs/kernels.md tells how they are written.

Kernels are imported when one is first needed, never by `import sightline`, which needs no triton. They run on
CUDA devices; with TRITON_INTERPRET=1 in the environment a named backend "triton" takes tensors on the CPU instead, for tests:
Triton's interpreter then computes, slowly.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from sightline.ops.native.operator import transformed
from sightline.ops.triton_support import tune

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
DEVICES = ("CUDA", "CPU")  # of our operators; the CPU for Triton's interpreter
OLDEST = (8, 0)  # compute capability: bfloat16 and TF32 products begin there
INTERPRETING = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")  # as triton reads it
INSTALLED = find_spec("triton") is not None
REMEDY = "install triton (torch's CUDA wheels for Linux bring it)"


def unavailable() -> str | None:
    """Why no Triton kernel can run in this process; None when some can."""
    if not INSTALLED:
        return f"triton is not installed; {REMEDY}"
    if INTERPRETING or torch.cuda.is_available():
        return None
    return "there is no CUDA device that torch can use (for tests, TRITON_INTERPRET=1 runs the kernels on the CPU)"


def objection(*operands: Tensor | None) -> str | None:
    """Why Triton kernels can not run these operands; None when they can."""
    if not INSTALLED:
        return unavailable()
    device = next(one.device for one in operands if one is not None)
    if (reason := _misplaced(device)) is not None:
        return reason
    for one in operands:
        if one is not None and (one.device != device or one.dtype not in DTYPES):
            return f"it takes float32, bfloat16 and float16 tensors on one device; got {one.dtype} on {one.device}"
    if transformed():
        return "function transforms and forward-mode derivatives need the reference"
    return None


def _misplaced(device: torch.device) -> str | None:
    if INTERPRETING:
        return None if device.type == "cpu" else f"Triton's interpreter takes tensors on the CPU; got {device}"
    if device.type != "cuda":
        return unavailable() or f"it takes tensors on a CUDA device; got {device}"
    if (
        torch.compiler.is_compiling()
    ):  # the properties of a card are nothing to trace; an older one shows when the kernel is built
        return None
    found = torch.cuda.get_device_properties(device)
    capability = (found.major, found.minor)
    if capability < OLDEST:
        return f"it needs compute capability {_dotted(OLDEST)} or newer; {device} has {_dotted(capability)}"
    return None


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def precision(dtype: torch.dtype) -> str:
    """How float32 products are formed: as torch's matrix products are, TF32 where it is allowed, otherwise three of it (float32's
    precision from tensor cores). Narrower dtypes are multiplied exactly anyway."""
    if INTERPRETING:
        return "interpreted"
    allowed = torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if dtype is not torch.float32 or allowed else "tf32x3"


def launch(
    kernel: Any,
    grid: Callable[[Mapping[str, Any]], tuple[int, ...]],
    *arguments: Any,
    device: torch.device,
    choices: Sequence[Mapping[str, Any]] = ({},),
    **options: Any,
) -> None:
    """Start a kernel on the operands' device, in the fastest of its configurations.

    Args:
        kernel: a kernel that computes the same, however often it is started.
        grid: all options to the numbers of programs.
        arguments: tensors and numbers.
        device: where.
        choices: what may be chosen; the first where nothing can be timed.
        options: what is fixed.
    """

    def start(choice: Mapping[str, Any]) -> None:
        chosen = {**options, **choice}
        kernel[grid(chosen)](*arguments, **chosen, enable_fp_fusion=True)

    with _on(device):
        one = choices[0] if INTERPRETING else tune.fastest(_kind(kernel, arguments, options, device), choices, start)
        start(one)


def _kind(kernel: Any, arguments: Sequence[Any], options: Mapping[str, Any], device: torch.device) -> str:
    """Of a launch, what the choice of its configuration depends on."""
    dtype = next(one.dtype for one in arguments if isinstance(one, Tensor))
    given = ", ".join(f"{name}={value}" for name, value in sorted(options.items()))
    return f"{torch.cuda.get_device_name(device)}: {kernel.__module__}.{kernel.__name__}, {dtype}, {given}"


def _on(device: torch.device) -> AbstractContextManager[object]:
    """A context in which kernels start on this device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def common(*tensors: Tensor) -> list[Tensor]:
    """The tensors in one dtype, the widest of theirs: products take no others."""
    dtype = tensors[0].dtype
    for one in tensors[1:]:
        dtype = torch.promote_types(dtype, one.dtype)
    return [one.to(dtype) for one in tensors]


def power_of_two(size: int, least: int = 1) -> int:
    """The smallest power of two that is not below size and least; blocks have such sides."""
    return max(1 << max(size - 1, 0).bit_length(), least)


def too_far(*maps: Tensor) -> str | None:
    """Why kernels, which count the elements of one image in 32 bits, can not reach all of these maps; None when they can."""
    for one in maps:
        reach = sum((size - 1) * step for size, step in zip(one.shape[1:], one.stride()[1:], strict=True))
        if reach >= 2**31:
            return f"an image may reach over 2**31 elements; one of a {tuple(one.shape)} tensor reaches over {reach}"
    return None
