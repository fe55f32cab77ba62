"""The compiled CPU kernels: found, loaded and called. docs/kernels.md tells how they are built and how to add one.

`objection` says in one sentence why none can run here (None: they can); `call` runs one on tensors described by `view`. The library
holds no symbol of Python or torch, so that one build serves every version of both.

Environment, read once at import: SIGHTLINE_ISA forces an instruction set (baseline, avx2, avx512; "none" turns the kernels off),
SIGHTLINE_KERNELS names another library file.
"""

import ctypes
import glob
import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

LEVELS = ("avx512", "avx2", "baseline")  # best first; "baseline" is all that processors without AVX2 have (NEON on ARM)
FOLDER = Path(__file__).parent
REMEDY = "with g++ or clang++ on PATH, install sightline again (`make install` in a checkout)"
_NO_VIEW = (0,) * 6


def view(tensor: Tensor | None) -> tuple[int, ...]:
    """Six fields of a kernel's arguments: address, is it bfloat16, four strides; all zero for None. Keep the tensor alive."""
    if tensor is None:
        return _NO_VIEW
    return (tensor.data_ptr(), tensor.dtype is torch.bfloat16, *tensor.stride())


def call(kernel: str, *fields: int) -> None:
    """Run a kernel on its packed arguments, with as many threads as torch uses now."""
    arguments = struct.pack(f"={len(fields)}q", *fields)
    getattr(_library, f"sightline_{kernel}_{level}")(arguments, torch.get_num_threads())


def levels() -> tuple[str, ...]:
    """Instruction sets of the library that this processor knows, best first."""
    return tuple(one for one in LEVELS if _library is not None and _library.sightline_supports(one.encode()))


@contextmanager
def use_level(name: str) -> Iterator[None]:
    """Within the context, kernels run with the instruction set `name`.

    Raises:
        ValueError: this processor or the library does not know it.
    """
    global level
    if name not in levels():
        raise ValueError(
            f"no kernels for the instruction set {name!r}; here there are: {', '.join(levels()) or 'none'}"
        )
    before, level = level, name
    try:
        yield
    finally:
        level = before


def _load() -> tuple[ctypes.CDLL | None, str, str | None]:
    """The library, the instruction set to use, and why there is none."""
    wanted = os.environ.get("SIGHTLINE_ISA", "")
    if wanted == "none":
        return None, "", "the compiled kernels are turned off by SIGHTLINE_ISA=none"
    named = os.environ.get("SIGHTLINE_KERNELS")
    path = Path(named) if named else FOLDER / "kernels.so"
    if not path.exists():
        return None, "", f"the compiled kernels were not built ({path} is missing); {REMEDY}"
    try:
        library = ctypes.CDLL(str(path))
        sources = ctypes.c_char_p.in_dll(library, "sightline_sources").value
    except (OSError, ValueError) as error:
        return None, "", f"the compiled kernels can not be loaded ({error}); {REMEDY}"
    if (found := _digest()) and found.encode() != sources:
        return None, "", f"the compiled kernels were built from other sources than those beside them; {REMEDY}"
    _join_openmp(library)
    known = [one for one in LEVELS if library.sightline_supports(one.encode())]
    if wanted and wanted not in known:
        return (
            None,
            "",
            f"SIGHTLINE_ISA={wanted} names no instruction set of this processor; it has: {', '.join(known)}",
        )
    return library, wanted or known[0], None


def _digest() -> str:
    """Name of the content of the sources, where they lie beside the library (a checkout); see setup.py."""
    ops = FOLDER.parent
    paths = [*ops.glob("native/threads.cpp"), *ops.glob("*/cpu.cpp"), *ops.glob("*/*.h")]
    if not paths:
        return ""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()[:16]


def _join_openmp(library: ctypes.CDLL) -> None:
    """Hand the kernels the OpenMP runtime that torch runs its own loops on; without it they start threads of their own."""
    beside_torch = glob.glob(str(Path(torch.__file__).parent / "lib" / "lib*omp*.so*"))
    for name in [None, *beside_torch]:
        try:
            start = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY if name else ctypes.DEFAULT_MODE).GOMP_parallel
        except (OSError, AttributeError):
            continue
        library.sightline_set_openmp(ctypes.cast(start, ctypes.c_void_p))
        return


_library, level, objection = _load()
