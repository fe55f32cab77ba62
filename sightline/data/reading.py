"""Read many pictures, in order, with threads where threads help.

Pillow releases Python's lock while it decodes, so large pictures decode side by side; for tiny ones the hand-over costs more
than it gains (measured: 32 x 32 JPEGs of 1 KB take 1.3 to 1.6 times as long with two threads).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import cpu_count
from pathlib import Path

from torch import Tensor

from sightline.data.errors import UnreadableImage
from sightline.data.fit import read_image
from sightline.data.picture import Picture, Unreadable

_WORTH_A_THREAD = 8192  # encoded bytes
_MOST_THREADS = 8
_SAMPLE = 64
_AHEAD = 16  # pictures a thread may have waiting, which bounds the memory


def read_each(
    pictures: Sequence[Picture], size: tuple[int, int], max_pixels: int, threads: int
) -> Iterator[Tensor | Unreadable]:
    """Yield every picture, in order, as uint8 (3, H, W), or what is wrong with it."""
    read = partial(_read, size=size, max_pixels=max_pixels)
    if threads == 1:
        yield from map(read, pictures)
        return
    step = _AHEAD * threads
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(pictures), step):
            yield from pool.map(read, pictures[start : start + step])


def useful_threads(pictures: Sequence[Picture]) -> int:
    """How many threads to read these with: one for tiny files, else one a processor, eight at most."""
    sizes = [_encoded_size(picture) for picture in pictures[:: max(1, len(pictures) // _SAMPLE)]]
    if sum(sizes) < _WORTH_A_THREAD * len(sizes):
        return 1
    return min(_MOST_THREADS, cpu_count() or 1)


def _read(picture: Picture, size: tuple[int, int], max_pixels: int) -> Tensor | Unreadable:
    try:
        return read_image(picture.source, size, picture.name, max_pixels=max_pixels)
    except UnreadableImage as error:
        return Unreadable(error.name, error.reason)


def _encoded_size(picture: Picture) -> int:
    if isinstance(picture.source, Path):
        return picture.source.stat().st_size if picture.source.exists() else 0
    return len(picture.source)
