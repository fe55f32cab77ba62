"""Read numpy's .npz: a zip of arrays, each with a header that declares its shape. Pickled arrays are refused.

numpy has no bfloat16: JAX saves it as two raw bytes ("V2"), read as such here.
"""

from pathlib import Path
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from sightline.weights.errors import WeightsError
from sightline.weights.sizes import check_size

KINDS = "fiub"  # floats, integers, booleans


def read_npz(file: Path) -> dict[str, Tensor]:
    """Every array of the file, as tensors.

    Raises:
        WeightsError: damaged, hostile, or an array of something else than numbers.
    """
    try:
        with ZipFile(file) as archive:
            check_size(file, sum(entry.file_size for entry in archive.infolist()), "its table of contents")
            return {name.removesuffix(".npy"): _read(archive, name, file) for name in archive.namelist()}
    except (BadZipFile, ZlibError, EOFError, ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{file} is damaged or cut short: {error}. Get it anew") from error


def _read(archive: ZipFile, name: str, file: Path) -> Tensor:
    held = archive.getinfo(name).file_size
    with archive.open(name) as handle:
        version = npy.read_magic(handle)
        if version not in ((1, 0), (2, 0)):
            raise WeightsError(f"{file} is refused: {name} is of version {version} of numpy's format, unknown here")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, columns_first, dtype = read_header(handle)
        if dtype.hasobject:
            raise WeightsError(
                f"{file} is refused: {name} holds pickled Python objects, which could run code. Nothing of it was opened; "
                "save plain arrays instead"
            )
        half = dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None
        if dtype.kind not in KINDS and not half:
            raise WeightsError(f"{file} is refused: {name} holds {dtype}, not numbers")
        wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if wanted > held:
            raise WeightsError(
                f"{file} is refused: {name} declares the shape {shape}, {wanted / 1e9:,.3g} GB, and holds {held} bytes. "
                "Nothing was allocated; get the file anew"
            )
        data = handle.read()
    array = np.frombuffer(data, np.int16 if half else dtype).reshape(shape, order="F" if columns_first else "C")
    if half:
        return torch.from_numpy(np.array(array, order="C")).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, dtype=dtype.newbyteorder("="), order="C"))
