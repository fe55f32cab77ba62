"""Files that mean harm, made here: name -> (content type, content, statuses a server may answer with)."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

from tests.web.conftest import encoded

REFUSED = (400, 413, 415, 422)
TAKEN = (200,)
PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width, height, compressed=b"", more=b""):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return PNG + head + more + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def bmp_of_one_row():
    """40 million pixels in one row; its run-length code jumps 255 rows up, which would be 10 GB of nothing."""
    code = b"\x00\x02\x00\xff" * 4 + b"\x00\x01"
    head = struct.pack("<IiiHHIIiiII", 40, 40_000_000, 1, 1, 8, 1, len(code), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(code), 0, 0, 54 + 1024) + head + b"\0" * 1024 + code


def gif_of_many_frames():
    frames = [Image.fromarray(np.full((8, 8), i % 256, np.uint8)) for i in range(2000)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def jpeg_of_many_scans():
    """A progressive JPEG whose last scan is there a thousand times."""
    plain = encoded("JPEG", 64, 64, progressive=True)
    at = plain.rindex(b"\xff\xda")
    return plain[:at] + plain[at:-2] * 1000 + plain[-2:]


def jpeg_on_its_side():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "<script>alert(1)</script>"
    return encoded("JPEG", 30, 50, exif=exif)


@cache
def files():
    """All of them; a function, since some take a moment to make."""
    png, jpeg = encoded("PNG"), encoded("JPEG")
    script = b"<script>alert(document.cookie)</script>"
    return {
        "empty": ("image/png", b"", REFUSED),
        "text": ("text/plain", b"hello", (415,)),
        "picture without a type": ("", png, (415,)),
        "picture called HTML": ("text/html", png, (415,)),
        "picture called SVG": ("image/svg+xml", png, (415,)),
        "SVG called PNG": ("image/png", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', (415,)),
        "HTML called JPEG": ("image/jpeg", b"<!doctype html>" + script, (415,)),
        "PDF called PNG": ("image/png", b"%PDF-1.7\n" + b"0" * 100, (415,)),
        "PostScript called PNG": ("image/png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", (415,)),
        "TIFF called PNG": ("image/png", encoded("TIFF"), (415,)),
        "ZIP called PNG": ("image/png", b"PK\x03\x04" + b"\0" * 100, (415,)),
        "zeros": ("image/png", b"\0" * 5000, (415,)),
        "PNG cut in half": ("image/png", png[: len(png) // 2], (422,)),
        "JPEG cut in half": ("image/jpeg", jpeg[: len(jpeg) // 2], (422,)),
        "PNG without pixels": ("image/png", png_of(100, 100), (422,)),
        "PNG with a broken sum": ("image/png", png[:60] + bytes([png[60] ^ 255]) + png[61:], (422,)),
        "PNG of no size": ("image/png", png_of(0, 0), REFUSED),
        "PNG that claims 2^31 pixels a side": ("image/png", png_of(2**31 - 1, 2**31 - 1), (413,)),
        "PNG that claims 41 megapixels": ("image/png", png_of(6404, 6404, zlib.compress(b"\0" * 10**7)), (413,)),
        "PNG bomb, 144 megapixels of one colour": (
            "image/png",
            png_of(12000, 12000, zlib.compress(b"\0" * 10**6)),
            (413,),
        ),
        "PNG with a text bomb": (
            "image/png",
            png_of(9, 9, zlib.compress(b"\0" * 252), chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 10**8))),
            REFUSED,
        ),
        "PNG with a profile bomb": (
            "image/png",
            png_of(9, 9, zlib.compress(b"\0" * 252), chunk(b"iCCP", b"a\0\0" + zlib.compress(b"a" * 10**8))),
            (*TAKEN, *REFUSED),
        ),
        "BMP of one row of 40 megapixels": ("image/bmp", bmp_of_one_row(), (413,)),
        "JPEG of a thousand scans": ("image/jpeg", jpeg_of_many_scans(), (422,)),
        "GIF of 2,000 frames": ("image/gif", gif_of_many_frames(), TAKEN),
        "PNG and HTML in one": ("image/png", png + script, TAKEN),
        "JPEG and ZIP in one": ("image/jpeg", jpeg + b"PK\x03\x04" + b"\0" * 100, TAKEN),
        "JPEG on its side, with a script in its EXIF": ("image/jpeg", jpeg_on_its_side(), TAKEN),
        "CMYK JPEG": ("image/jpeg", encoded("JPEG", mode="CMYK"), TAKEN),
        "grey PNG of 16 bits": ("image/png", encoded("PNG", mode="I;16"), TAKEN),
        "palette GIF": ("image/gif", encoded("GIF", mode="P"), TAKEN),
        "WebP": ("image/webp", encoded("WEBP"), TAKEN),
        "BMP": ("image/bmp", encoded("BMP"), TAKEN),
        "PNG called JPEG": ("image/jpeg", png, TAKEN),
        "one pixel": ("image/png", encoded("PNG", 1, 1), TAKEN),
        "one row": ("image/png", encoded("PNG", 1, 3000), TAKEN),
    }
