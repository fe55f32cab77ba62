"""`sightline doctor`: what this machine has, what is missing, and how to get it."""

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from importlib import import_module, metadata
from typing import Annotated, Any

import typer

from sightline import __version__
from sightline.cli.app import app
from sightline.cli.output import Format, show

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "accelerate", "pyarrow", "scikit-learn")
OPS = (
    "pairwise_attention",
    "criss_cross_attention",
    "local_attention",
    "local_relation",
    "global_attention",
    "vector_attention",
)


@app.command(epilog="Examples: `sightline doctor` · `sightline doctor --format json`")
def doctor(output: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.TABLE) -> None:
    """Say what is installed, which backend each operator can run here, what is missing and how to get it.

    Ends with exit code 1 when something that sightline needs is missing.
    """
    rows = [*_machine(), *_libraries(), *_tools(), _kernels(), _triton(), *_backends()]
    show(rows, output)
    if any(row["state"] == "missing" for row in rows):
        raise typer.Exit(1)


def _row(what: str, found: str, state: str = "ok", remedy: str = "") -> dict[str, str]:
    return {"what": what, "found": found, "state": state, "remedy": remedy}


def _machine() -> list[dict[str, str]]:
    import torch

    rows = [
        _row("sightline", __version__),
        _row("python", sys.version.split()[0]),
        _row("platform", platform.platform()),
        _row("processor", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"),
    ]
    if torch.cuda.is_available():
        rows.append(_row("GPU", torch.cuda.get_device_name()))
    else:
        rows.append(_row("GPU", "none that torch can use", "optional", "everything runs on the CPU"))
    return rows


def _libraries() -> list[dict[str, str]]:
    rows = []
    for name in LIBRARIES:
        try:
            rows.append(_row(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            rows.append(_row(name, "not installed", "missing", f"pip install {name}, or `make install` in a checkout"))
    return rows


def _tools() -> list[dict[str, str]]:
    compiler = next((path for path in map(shutil.which, ("c++", "g++", "clang++")) if path), None)
    if compiler:
        return [_row("C++ compiler", os.path.basename(compiler))]
    remedy = "our CPU kernels and torch.compile want one; install g++ or clang++ with your system's package manager"
    return [_row("C++ compiler", "none", "optional", remedy)]


def _kernels() -> dict[str, str]:
    from sightline.ops import native

    if native.objection:
        slow = "everything runs without them, the windowed operators many times slower"
        return _row("compiled CPU kernels", "none", "optional", f"{native.objection}; {slow}")
    others = [one for one in native.levels() if one != native.level]
    return _row("compiled CPU kernels", native.level + (f" (also {', '.join(others)})" if others else ""))


def _triton() -> dict[str, str]:
    import torch

    from sightline.ops import triton_support
    from sightline.ops.triton_support import tune

    if (reason := triton_support.unavailable()) is not None:
        return _row("Triton kernels", "none", "optional", f"{reason}; everything runs without them")
    found = f"triton {metadata.version('triton')}"
    if triton_support.INTERPRETING:
        remedy = "backend='triton' computes on the CPU, slowly, for tests; unset TRITON_INTERPRET to use a GPU"
        return _row("Triton kernels", f"{found}, interpreted", "optional", remedy)
    if (reason := triton_support.objection(torch.empty(1, device="cuda"))) is not None:
        return _row("Triton kernels", "none", "optional", f"{reason}; everything runs without them")
    return _row("Triton kernels", f"{found}, configurations in {tune.path()}")


def _backends() -> list[dict[str, str]]:
    rows = []
    for op in OPS:
        backends: Mapping[str, Any] = import_module(f"sightline.ops.{op}").BACKENDS
        rows.append(_row(f"op {op}", "backends: " + ", ".join(backends)))
    return rows
