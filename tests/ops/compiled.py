"""Compile the Triton kernels for a card that is not there: what a launch would hand to the compiler, without the launch."""

from collections.abc import Callable
from typing import Any

import torch

NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
LAUNCH = ("num_warps", "num_stages")


def launches(monkeypatch, call: Callable[[], object]) -> list[tuple[Any, tuple, dict[str, Any]]]:
    """Kernels, arguments and options of all that `call` would start, every configuration."""
    from sightline.ops import triton_support as support

    found = []

    def launch(kernel, grid, *arguments, device, choices=({},), **options):
        found.extend((kernel, arguments, {**options, **one}) for one in choices)

    with monkeypatch.context() as patch:
        patch.setattr(support, "launch", launch)
        patch.setattr(support, "precision", lambda dtype: "tf32x3" if dtype is torch.float32 else "tf32")
        call()
    return found


def compiled(kernel: Any, arguments: tuple, options: dict[str, Any], capability: int) -> Any:
    """The kernel for an NVIDIA card of this capability; ptxas runs too."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, attributes = {}, {}
    constants = {name: value for name, value in options.items() if name not in LAUNCH}
    for place, (name, argument) in enumerate(zip(kernel.arg_names, arguments, strict=False)):
        fixed = name not in kernel.do_not_specialize
        if isinstance(argument, torch.Tensor):
            signature[name] = "*" + NAMES[argument.dtype]
        elif isinstance(argument, float):
            signature[name] = "fp32"
        else:
            signature[name] = "constexpr" if argument == 1 and fixed else "i32"
        if signature[name] == "constexpr":
            constants[name] = 1
        elif isinstance(argument, torch.Tensor) or (fixed and isinstance(argument, int) and argument % 16 == 0):
            attributes[(place,)] = [["tt.divisibility", 16]]
    signature |= dict.fromkeys(kernel.arg_names[len(arguments) :], "constexpr")
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    chosen = {name: options[name] for name in LAUNCH if name in options}
    return triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={**chosen, "enable_fp_fusion": True}
    )
