"""Read a weights file safely, whatever it is called: its first bytes say what it is.

    safetensors    tensors and a header of text
    .npz           numpy arrays, never pickled ones
    .pth .pt .bin  torch.save, unpickled with `weights_only=True`: no code of the file runs
    .index.json    a list of the files beside it over which the tensors are spread

Nothing is returned of a file that is damaged, hostile or no weights at all.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from safetensors import SafetensorError, safe_open
from torch import Tensor

from sightline.weights.errors import WeightsError
from sightline.weights.read_npz import read_npz
from sightline.weights.read_shards import ENDING, read_shards
from sightline.weights.read_torch import LEGACY, read_torch

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".npz", ".tar")
NEEDED = "a .safetensors, .npz or torch.save file is needed"


@dataclass(frozen=True)
class Contents:
    """What a weights file holds.

    Args:
        tensors: by the names of the file.
        nested: the entry that held them ("model", "state_dict", ...); "" for a plain file.
        others: entries beside it that are not weights of this net ("optimizer", "epoch", ...).
        header: text of a safetensors header.
        modules: names of the modules a state dict was made from, where the file tells.
    """

    tensors: dict[str, Tensor]
    nested: str = ""
    others: tuple[str, ...] = ()
    header: Mapping[str, str] = field(default_factory=dict)
    modules: frozenset[str] = frozenset()


def read_file(path: str | os.PathLike[str]) -> Contents:
    """Read a weights file onto the CPU.

    Raises:
        WeightsError: there is no such file, it is damaged, hostile, or holds no weights.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"{file} is missing: give a weights file or a folder that holds one")
    try:
        contents = _READERS[_kind(file)](file)
    except OSError as error:
        raise WeightsError(f"{file} can not be read: {error.strerror or error}") from error
    if not contents.tensors:
        raise WeightsError(f"{file} holds no tensors; {NEEDED}")
    return contents


def _kind(file: Path) -> str:
    with open(file, "rb") as handle:
        start = handle.read(16)
    if start[:4] == b"PK\x03\x04":
        return _kind_of_zip(file)
    if start[:2] in LEGACY:
        return "torch"
    if file.name.endswith(ENDING):
        return "shards"
    mistaken = not start or start.startswith(b"version https://") or start.lstrip()[:1] == b"<"
    if start[8:9] == b"{" or (file.suffix == ".safetensors" and not mistaken):
        return "safetensors"
    raise WeightsError(f"{file} is no weights file: {_guess(start, file)}; {NEEDED}")


def _kind_of_zip(file: Path) -> str:
    try:
        with ZipFile(file) as archive:
            names = archive.namelist()
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{file} is damaged or cut short: {error}. Get it anew") from error
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise WeightsError(f"{file} is a zip archive without weights in it; unpack it and name the weights file inside")


def _guess(start: bytes, file: Path) -> str:
    if not start:
        return "it is empty"
    if start.startswith(b"version https://"):
        return "it is the pointer that Git LFS left in place of the file (`git lfs pull` gets it)"
    if start.lstrip()[:1] == b"<":
        return "it is a web page, so the download went wrong"
    if start.startswith((b"\x89HDF", b"\x93NUMPY")):
        return "it is an HDF5 file or a single numpy array"
    try:
        start.decode("ascii")
    except UnicodeDecodeError:
        return f"its first bytes are {start[:8].hex(' ')}, those of no format known here"
    return f"it is text, whatever the name {file.name} says"


def _read_safetensors(file: Path) -> Contents:
    try:
        with safe_open(file, "pt") as opened:
            header: dict[str, Any] = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise WeightsError(
            f"{file} is not a readable safetensors file: {error}. It is cut short, damaged or something else; get it anew"
        ) from error
    return Contents(tensors, header=header)


def _read_npz(file: Path) -> Contents:
    return Contents(read_npz(file))


def _read_torch(file: Path) -> Contents:
    return Contents(*read_torch(file))


def _read_shards(file: Path) -> Contents:
    return Contents(read_shards(file, lambda shard: read_file(shard).tensors))


_READERS = {"shards": _read_shards, "safetensors": _read_safetensors, "npz": _read_npz, "torch": _read_torch}
