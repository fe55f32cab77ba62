"""Choose a backend. A named one runs or raises; "auto" takes the first that has no objection.

A backend is a module with two functions of the op's own signature: `run(...) -> Tensor`, and `objection(...) -> str | None`,
a sentence that says why it can not run these operands (None: it can). An op lists its backends in a literal dict, fastest
first, the reference last; a dict of modules and one plain global pass through `torch.compile(fullgraph=True)`.
Backends that are operators of our own say `OPERATOR = True`: "auto" passes them over in what `torch.export`, torch.jit.trace and
ONNX write, so that the program runs where sightline is not installed; a backend named by the caller stays in it.
A backend may also have `outrun(...) -> bool`: "auto" passes it over where it says that a later one is faster for these operands.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

AUTO = "auto"
_preferred = AUTO


def choose(
    op: str, backends: Mapping[str, ModuleType], name: str, *operands: Any, **options: Any
) -> Callable[..., Tensor]:
    """Return the `run` function of the backend `name` for these operands.

    Raises:
        ValueError: no backend has that name.
        NotImplementedError: the named backend objects to these operands; the message quotes its objection.
    """
    wanted = _preferred if name == AUTO else name
    if wanted == AUTO:
        portable = exporting()
        for module in backends.values():
            if portable and getattr(module, "OPERATOR", False):
                continue
            outrun = getattr(module, "outrun", _never)
            if module.objection(*operands, **options) is None and not outrun(*operands, **options):
                return module.run
        raise NotImplementedError(f"no backend of {op} can run these operands; its reference takes any float tensors")
    if wanted not in backends:
        raise ValueError(f"{op} has no backend {wanted!r}; it has: auto, {', '.join(backends)}")
    objection = backends[wanted].objection(*operands, **options)
    if objection is not None:
        raise NotImplementedError(f"backend {wanted!r} of {op}: {objection}")
    return backends[wanted].run


def _never(*operands: Any, **options: Any) -> bool:
    return False


def asked(backend: str) -> str:
    """The backend that a caller who named `backend` asks for, "auto" replaced by the context's."""
    return _preferred if backend == AUTO else backend


def kernels_allowed(backend: str, name: str = "cpu") -> bool:
    """Whether a caller that named `backend` leaves the kernels `name` to us: it or the context says "auto" or that name, and
    nothing is being exported (see above)."""
    wanted = asked(backend)
    return wanted == name or (wanted == AUTO and not exporting())


def free_to_choose(backend: str) -> bool:
    """Whether neither the caller, who named `backend`, nor the context asks for one backend in particular."""
    return backend == _preferred == AUTO


def exporting() -> bool:
    """Whether a program is being written that must run where sightline is not installed."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()


def known(size: int) -> bool:
    """Whether a size is a number; in a program exported for any size it is a symbol, which no choice may depend on."""
    return not isinstance(size, torch.SymInt)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Within the context, every op called with backend="auto" uses the backend `name` (it runs or raises)."""
    global _preferred
    before, _preferred = _preferred, name
    try:
        yield
    finally:
        _preferred = before
