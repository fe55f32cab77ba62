"""Open a picture of any kind, or say in words why not.

Order: what the file is (by content, not by extension) -> its size in pixels, before anything is decoded -> first frame ->
upright (EXIF) -> RGB. Pillow's own warnings stay silent: either the picture opens or `UnreadableImage` tells the reason.

Ours: only the formats below are tried; Pillow also knows some that start other programs (PostScript) or read further files.
Ours: a damaged EXIF block does not make pixels unreadable; the picture then stays as it is stored.
"""

import importlib.util
import io
import os
import stat
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from sightline.data.colour import to_rgb
from sightline.data.errors import UnreadableImage
from sightline.data.quiet import quiet_pillow

AVIF = ("AVIF",) if importlib.util.find_spec("PIL.AvifImagePlugin") else ()
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", *AVIF)
MAX_PIXELS = 2**28 // 3
"""Default limit in pixels: 89,478,485, a quarter of a GiB as RGB. A picture that claims more is refused unread."""

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112  # EXIF tag


def open_image(
    source: str | Path | bytes,
    name: str | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    at_least: tuple[int, int] | None = None,
) -> Image.Image:
    """Open a picture: RGB, upright, first frame, 16 bits scaled to 8, transparency over white.

    Args:
        source: a path, or the encoded bytes.
        name: what to call it in an error; None: the path.
        max_pixels: refuse pictures of more pixels than this. Beyond twice Pillow's `PIL.Image.MAX_IMAGE_PIXELS`, raise that too.
        at_least: rows and columns that suffice; a larger JPEG may come at 1/2, 1/4 or 1/8 of its size, which is quicker.

    Raises:
        UnreadableImage: with name and reason: missing, empty, not a picture, truncated, damaged, too many pixels.
    """
    name = name or _name_of(source)
    try:
        with quiet_pillow(), Image.open(_stream(source), formats=FORMATS) as image:
            _check_pixels(name, image.size, max_pixels)
            reduced = None if at_least is None else _reduce(image, max(at_least))
            image.load()
            return to_rgb(_upright(image if reduced is None else image.resize(image.size, box=reduced)))
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything when they meet damaged data
        raise UnreadableImage(name, _reason(source, error)) from error


def image_dimensions(source: str | Path | bytes, name: str | None = None) -> tuple[int, int]:
    """Rows and columns of the upright picture, from its header alone. Raises UnreadableImage."""
    name = name or _name_of(source)
    try:
        with quiet_pillow(), Image.open(_stream(source), formats=FORMATS) as image:
            width, height = image.size
            lies_on_its_side = _orientation(image) >= 5 and image.format != "TIFF"  # Pillow itself turns a TIFF's size
            return (width, height) if lies_on_its_side else (height, width)
    except Exception as error:  # as above
        raise UnreadableImage(name, _reason(source, error)) from error


def _name_of(source: str | Path | bytes) -> str:
    """What to call it; raises TypeError."""
    if not isinstance(source, str | os.PathLike | bytes):
        raise TypeError(
            f"a picture to open is a path, or its encoded bytes; got {type(source).__name__}. "
            "fit_image takes a PIL picture; Image.fromarray makes one of an array"
        )
    return "<bytes>" if isinstance(source, bytes) else str(source)


def _stream(source: str | Path | bytes) -> io.BytesIO | Path:
    if isinstance(source, bytes):
        if not source:
            raise EOFError("it is empty (0 bytes)")
        return io.BytesIO(source)
    path = Path(source)
    state = path.stat()
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError("it is a folder")
    if not stat.S_ISREG(state.st_mode):
        raise OSError("it is not a regular file")  # opening a pipe would wait for ever
    if state.st_size == 0:
        raise EOFError("it is empty (0 bytes)")
    return path


def _check_pixels(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UnreadableImage(
            name,
            f"it claims {height} x {width} = {height * width} pixels, the limit is {max_pixels}; "
            "shrink it, or raise max_pixels if you trust it",
        )


def _reduce(image: Image.Image, side: int) -> tuple[float, float, float, float] | None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8, but no side below `side`; return the part of the result that is picture.

    Sides are rounded up to whole pixels; stretching the true part over them keeps everything in its place.
    """
    draft = image.draft(None, (side, side))  # a square, since EXIF may turn it
    if draft is None or draft[1][2:] == image.size:
        return None
    return draft[1]


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURN.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block
        return 1


def _reason(source: str | Path | bytes, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, Image.DecompressionBombError):
        return f"it claims more pixels than Pillow opens at all: {error}"
    if isinstance(error, UnidentifiedImageError):
        return _not_a_picture(source)
    return str(error) or type(error).__name__


def _not_a_picture(source: str | Path | bytes) -> str:
    head = source[:16] if isinstance(source, bytes) else _head(Path(source))
    if head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"mif"):
        return "a HEIC picture, which Pillow does not read; convert it to JPEG"
    return f"not a picture of a known kind ({', '.join(FORMATS)}), or a damaged one; it begins with {head!r}"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)
