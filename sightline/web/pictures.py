"""Pictures that visitors send: checked by declared type, size and content, decoded once, kept as what is shown and what nets see.

Nothing of an upload is ever sent back: what the page shows is encoded anew from pixels, so whatever else a file holds (scripts,
archives, metadata with places and names) ends here.

Ours: TIFF and PNM are left out, whose readers are the widest; the page converts nothing by itself, so it says so.
Ours: a JPEG of many scans takes as long as that many pictures to decode; more than MOST_SCANS is taken for an attack.
"""

import io
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sightline.data import UnreadableImage, View, fit_image, open_image, read_image
from sightline.data.decode import FORMATS, image_dimensions
from sightline.data.quiet import quiet_pillow
from sightline.web.limits import MEBI, Limits, Refused

TYPES = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
}
_KINDS = tuple(kind for kind in TYPES.values() if kind in FORMATS)
MOST_SCANS = 100  # progressive JPEGs of cameras and editors have about ten
SHOWN_SIDE = 1024  # of the picture on the page
LARGE = 8_000_000  # pixels; one such picture is decoded at a time, for each may take hundreds of megabytes meanwhile
_large = threading.Lock()
_NAME = "the picture"
_JPEG = b"\xff\xd8"
_SCAN = b"\xff\xda"  # never inside the compressed data of a JPEG, where ff is followed by 00


@dataclass(frozen=True)
class Eye:
    """How a net sees a picture: the size (H, W) of its input and the part that is cut out."""

    size: tuple[int, int]
    view: View


@dataclass(frozen=True)
class Picture:
    """A picture as it is kept.

    Args:
        png: what the page shows, at most SHOWN_SIDE rows and columns.
        height, width: of what the page shows.
        rows, cols: of the picture as it came, upright.
        seen: what nets see of it, by how they see: uint8 (3, H, W).
    """

    png: bytes
    height: int
    width: int
    rows: int
    cols: int
    seen: dict[Eye, Tensor]

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return len(self.png) + sum(tensor.numel() for tensor in self.seen.values())


def check_type(declared: str) -> None:
    """Refuse a Content-Type that is no picture's that is taken. Raises Refused (415)."""
    kind = declared.partition(";")[0].strip().lower()
    if kind not in TYPES:
        raise Refused(415, f"content type {kind[:60]!r} is not taken; send one of {', '.join(TYPES)}")


def check_length(length: int, limits: Limits) -> None:
    """Refuse a body that is too large, or empty. Raises Refused (413, 400)."""
    if length > limits.upload_bytes:
        raise Refused(413, f"the file is larger than {limits.upload_bytes // MEBI} MiB; make it smaller")
    if length == 0:
        raise Refused(400, "the file is empty (0 bytes)")


def read_picture(data: bytes, eyes: Iterable[Eye], limits: Limits) -> Picture:
    """Check and decode an encoded picture.

    Args:
        data: the file.
        eyes: how the nets of the house see.
        limits: pixels and sides.

    Raises:
        Refused: 415 not a picture of a kind that is taken; 413 too many pixels; 422 damaged or truncated.
    """
    _check_header(data, limits)
    try:
        return picture_of(data, eyes, limits.upload_pixels)
    except UnreadableImage as problem:
        raise Refused(422, f"the picture can not be read: {problem.reason}") from problem


def picture_of(data: bytes, eyes: Iterable[Eye], max_pixels: int) -> Picture:
    """Decode a picture that is trusted to be one. Every net sees what `sightline predict` would show it. Raises UnreadableImage."""
    rows, cols = image_dimensions(data, _NAME)
    with _large if rows * cols > LARGE else nullcontext():
        enough = (2 * SHOWN_SIDE, 2 * SHOWN_SIDE)  # a JPEG needs no more for the page, and is quicker
        image = open_image(data, _NAME, max_pixels=max_pixels, at_least=enough)
        by_itself = data.startswith(_JPEG)  # a JPEG is decoded just as large as a net needs it
        seen = {eye: _seen(data if by_itself else image, eye, max_pixels) for eye in eyes}
        image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture(buffer.getvalue(), image.height, image.width, rows, cols, seen)


def _seen(source: Image.Image | bytes, eye: Eye, max_pixels: int) -> Tensor:
    if isinstance(source, bytes):
        return read_image(source, eye.size, _NAME, max_pixels=max_pixels, view=eye.view)
    return fit_image(source, eye.size, eye.view)


def _check_header(data: bytes, limits: Limits) -> None:
    try:
        with quiet_pillow(), Image.open(io.BytesIO(data), formats=_KINDS) as image:
            kind, (width, height) = image.format, image.size
    except Image.DecompressionBombError as error:
        raise Refused(413, f"the picture claims more pixels than the limit of {limits.upload_pixels}") from error
    except UnidentifiedImageError as error:
        kinds = ", ".join(_KINDS)
        raise Refused(415, f"this is no picture of a kind that is taken ({kinds}), or it is damaged") from error
    except Exception as error:  # Pillow's readers raise nearly anything when they meet damaged data
        raise Refused(422, f"the picture can not be read: {str(error)[:200] or type(error).__name__}") from error
    if width * height > limits.upload_pixels or max(width, height) > limits.upload_side:
        raise Refused(
            413,
            f"the picture claims {height} x {width} = {height * width} pixels; the limit is {limits.upload_pixels} pixels "
            f"and {limits.upload_side} a side. Make it smaller",
        )
    if kind == "JPEG" and data.count(_SCAN) > MOST_SCANS:
        raise Refused(422, f"the JPEG has more than {MOST_SCANS} scans, which no camera or editor writes")
