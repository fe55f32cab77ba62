"""Read what torch.save wrote, with `weights_only=True`: the pickle may name tensors and containers, nothing that runs.

Training scripts nest the weights ("model" in DeiT's files, "state_dict" in SAN's and timm's) and add a prefix ("module." from
DataParallel, "model." or "net." from a module around the net); both are taken off here. Options and scores of a script
(argparse.Namespace, numbers of numpy) are let through and not looked at; neither can run code.
"""

import argparse
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np
import torch
from torch import Tensor, nn

from sightline.weights.errors import WeightsError
from sightline.weights.sizes import check_size

LEGACY = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # how pickles begin
NESTS = ("state_dict", "model", "model_state_dict", "module", "net", "weights")
_SCALAR: Any = np.float64(0).__reduce__()[0]  # what numbers of numpy are pickled by; its module has been renamed
HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *((_SCALAR, f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")),
    *{type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")},
]
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")


def read_torch(file: Path) -> tuple[dict[str, Tensor], str, tuple[str, ...], dict[str, str], frozenset[str]]:
    """Tensors, the entry they lay in, the other entries, no header, and the module names of a state dict.

    Raises:
        WeightsError: damaged, hostile, or no weights.
    """
    if is_zipfile(file):
        with ZipFile(file) as archive:
            check_size(file, sum(entry.file_size for entry in archive.infolist()), "its table of contents")
    nested, others, state = _unnest(_load(file), file)
    modules = frozenset(getattr(state, "_metadata", None) or ())
    tensors, rest = _tensors(state, file)
    return without_prefix(tensors), nested, tuple(others) + rest, {}, modules


def without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without a wrapper's prefix that all of them have; several wrappers may be around a net."""
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return without_prefix({name.removeprefix(prefix): t for name, t in tensors.items()})
    return tensors


def _load(file: Path) -> Any:
    known = torch.serialization.get_safe_globals()  # the user's own list, which must be the same afterwards
    added = [one for one in HARMLESS if one not in known]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(added):
            warnings.simplefilter("ignore")  # about the protocol of the pickle; what can not be read raises
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file} is refused: it is a pickle that asks for more than tensors ({_culprit(error)}), and opening it could run "
            "code. Nothing of it was run. Where you trust its origin, save the tensors alone there: "
            "torch.save(model.state_dict(), FILE), or safetensors"
        ) from error
    except MemoryError as error:
        raise WeightsError(f"{file} is refused: it asks for more memory than there is") from error
    except Exception as error:  # a damaged pickle fails in any way there is
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{file} is damaged or cut short: {first}. Get it anew") from error


def _culprit(error: Exception) -> str:
    text = str(error)
    for mark in ("GLOBAL ", "Unsupported operand ", "reduce for unrecognized function "):
        _, found, rest = text.partition(mark)
        if found:
            return (mark + rest.split(" was ")[0].split(" whose ")[0].splitlines()[0].rstrip(".")).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _unnest(found: Any, file: Path) -> tuple[str, list[str], Mapping[Any, Any]]:
    if not isinstance(found, Mapping):
        raise WeightsError(
            f"{file} holds a {type(found).__name__}, not the tensors of a net by name; save model.state_dict() instead"
        )
    for name in NESTS:
        inner = found.get(name)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return name, [str(other) for other in found if other != name], inner
    return "", [], found


def _tensors(state: Mapping[Any, Any], file: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    tensors, others = {}, []
    for name, value in state.items():
        if not isinstance(value, Tensor):
            others.append(str(name))
            continue
        tensors[str(name)] = _plain(value.detach() if isinstance(value, nn.Parameter) else value, str(name), file)
    return tensors, tuple(others)


def _plain(tensor: Tensor, name: str, file: Path) -> Tensor:
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
        kind = f"on the {tensor.device} device" if tensor.device.type != "cpu" else "sparse or quantised"
        raise WeightsError(f"{file} is refused: {name} is {kind}; a plain tensor is needed")
    check_size(file, tensor.numel() * tensor.element_size(), name)
    return tensor.detach()
