"""Pictures of every kind open correctly; everything else is refused with a reason."""

import gc
import os
import pickle
import struct
import threading
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from sightline.data import UnreadableImage, open_image
from sightline.data.colour import to_rgb
from sightline.data.decode import image_dimensions
from sightline.data.quiet import quiet_pillow
from tests.data.made import encoded, noise


def pixels(image):
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_lossless_kinds_give_the_pixels(kind, tmp_path):
    picture = noise(0)
    path = tmp_path / f"a.{kind}"
    picture.save(path, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert (pixels(open_image(path)) == np.asarray(picture)).all()
    assert (pixels(open_image(path.read_bytes())) == np.asarray(picture)).all()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_kinds_come_close(kind):
    smooth = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    assert np.abs(pixels(open_image(encoded(smooth, kind, quality=95))) - np.asarray(smooth).astype(int)).max() <= 4


def test_the_extension_does_not_matter(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(noise(1)))
    assert (pixels(open_image(path)) == np.asarray(noise(1))).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_grey(kind):
    grey = Image.new("L", (5, 4), 77)
    assert (pixels(open_image(encoded(grey, kind))) == 77).all()


def test_black_and_white():
    assert pixels(open_image(encoded(Image.new("1", (3, 2), 1)))).min() == 255


def test_rgba_lies_over_white():
    image = Image.new("RGBA", (3, 1), (200, 100, 0, 255))
    image.putpixel((1, 0), (200, 100, 0, 0))
    image.putpixel((2, 0), (200, 100, 0, 51))  # a fifth
    row = pixels(open_image(encoded(image)))[0]
    assert row[0].tolist() == [200, 100, 0]
    assert row[1].tolist() == [255, 255, 255]
    assert np.abs(row[2] - [244, 224, 204]).max() <= 1


def test_la_lies_over_white():
    image = Image.new("LA", (2, 1), (40, 255))
    image.putpixel((1, 0), (40, 0))
    assert pixels(open_image(encoded(image)))[0, :, 0].tolist() == [40, 255]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_colour_becomes_white(mode):
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((1, 0), 200 if mode == "L" else (200, 200, 200))
    data = encoded(image, transparency=0 if mode == "L" else (0, 0, 0))
    assert pixels(open_image(data))[0, :, 1].tolist() == [255, 200]


@pytest.mark.parametrize("transparency", [None, 0, b"\x00\xff"], ids=["none", "index", "alphas"])
def test_palette(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([250, 10, 20, 30, 40, 50])
    image.putpixel((1, 0), 1)
    options = {} if transparency is None else {"transparency": transparency}
    row = pixels(open_image(encoded(image, **options)))[0]
    assert row[0].tolist() == ([250, 10, 20] if transparency is None else [255, 255, 255])
    assert row[1].tolist() == [30, 40, 50]


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "HSV", "YCbCr", "I;16B", "I;16L"])
def test_rare_modes_become_rgb(mode):
    assert to_rgb(Image.new(mode, (2, 3))).mode == "RGB"


def test_cmyk():
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):
        assert np.abs(pixels(open_image(encoded(cyan, kind))) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    got = pixels(open_image(encoded(Image.fromarray(values), kind)))
    assert got[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 257, 65535], np.int32, [0, 1, 255]),
        ([-10, 0, 10], np.int32, [0, 128, 255]),
        ([0, 70000, 140000], np.int32, [0, 128, 255]),
        ([0.0, 0.5, 1.0], np.float32, [0, 128, 255]),
        ([0.0, 51.0, 255.0], np.float32, [0, 51, 255]),
        ([-1.0, 0.0, 3.0], np.float32, [0, 64, 255]),
        ([np.nan, np.inf, 1.0], np.float32, [0, 0, 255]),
        ([-7.0, -7.0, -7.0], np.float32, [0, 0, 0]),
    ],
)
def test_wide_modes(values, dtype, expected):
    image = Image.fromarray(np.array([values], dtype=dtype))
    assert pixels(open_image(encoded(image, "TIFF")))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation):
    """Where the stored corner (row 0, column 0) belongs, by the EXIF definition of tag 274."""
    bright = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    stored = Image.new("L", (32, 16), 0)
    stored.paste(255, (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored.convert("RGB"), kind, exif=exif.tobytes())
    upright = pixels(open_image(data))
    rows, cols = (32, 16) if orientation >= 5 else (16, 32)
    assert upright.shape == (rows, cols, 3)
    assert image_dimensions(data) == (rows, cols)
    quarters = {
        (r, c): upright[r * rows // 2 + rows // 4, c * cols // 2 + cols // 4, 0] for r in (0, 1) for c in (0, 1)
    }
    assert max(quarters, key=quarters.__getitem__) == bright


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animated_gives_the_first_frame(kind):
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(first, kind, save_all=True, append_images=[second], **options)
    assert (pixels(open_image(data)) == [255, 0, 0]).all()


def test_a_large_jpeg_may_come_smaller():
    data = encoded(Image.new("RGB", (640, 480), "red"), "JPEG")
    assert open_image(data).size == (640, 480)
    reduced = open_image(data, at_least=(30, 40))
    assert reduced.width < 640
    assert reduced.width >= 40
    assert reduced.height >= 30


def refused(source, **options):
    with pytest.raises(UnreadableImage) as caught:
        open_image(source, **options)
    return caught.value


def png_header(rows: int, cols: int) -> bytes:
    """A PNG that claims a size and has next to no data."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", cols, rows, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 100)),
        (b"IEND", b""),
    )
    framed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("side", [9460, 12000, 60000])
def test_bombs_are_refused_unread(side):
    """Just above the limit, within Pillow's warning, beyond what Pillow opens."""
    error = refused(png_header(side, side), name="bomb.png")
    assert error.name == "bomb.png"
    assert "pixels" in error.reason
    assert str(side * side) in error.reason


def test_the_limit_can_be_set():
    data = encoded(noise(0, 10, 11))
    assert open_image(data, max_pixels=110).size == (11, 10)
    assert refused(data, max_pixels=109).reason.startswith("it claims 10 x 11 = 110 pixels, the limit is 109")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM"])
def test_truncated_files_are_refused(kind, tmp_path):
    data = encoded(noise(3, 64, 64), kind)
    path = tmp_path / "half"
    path.write_bytes(data[: len(data) // 2])
    error = refused(path)
    assert error.name == str(path)
    assert error.reason


def test_reasons(tmp_path):
    (tmp_path / "text.jpg").write_text("hello, this is a letter")
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert "it begins with b'hello, this is a'" in refused(tmp_path / "text.jpg").reason
    assert refused(tmp_path / "empty.png").reason == "it is empty (0 bytes)"
    assert refused(b"").reason == "it is empty (0 bytes)"
    assert refused(tmp_path).reason == "it is a folder"
    assert refused(tmp_path / "nowhere.png").reason == "no such file"
    assert refused(tmp_path / "pipe.png").reason == "it is not a regular file"
    assert "symbolic links" in refused(tmp_path / "loop.png").reason
    assert refused(b"\0\0\0\x18ftypheic" + b"\0" * 40).reason.startswith("a HEIC picture")
    assert "not a picture of a known kind" in refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n").reason
    assert str(refused(b"", name="row 3")) == "row 3: it is empty (0 bytes)"


def test_permission(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    noise(0).save(path)

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sightline.data.decode.Image.open", deny)
    assert refused(path).reason == "permission denied"


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_never_raise_anything_else(seed):
    """Random bytes overwritten in files of every kind: a picture or UnreadableImage, and never a warning."""
    chance = np.random.default_rng(seed)
    kind = ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"][seed % 6]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    data = bytearray(encoded(noise(seed, 9, 8), kind, **({} if kind in ("GIF", "BMP") else {"exif": exif.tobytes()})))
    for place in chance.integers(0, min(len(data), 200), 6):
        data[place] = chance.integers(0, 256)
    with suppress(UnreadableImage):
        assert open_image(bytes(data), max_pixels=10_000).mode == "RGB"


def test_a_damaged_exif_block_is_no_obstacle():
    data = encoded(noise(0), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\0\0\0\x01\0\x06")
    assert open_image(data).size == (7, 6)


def test_only_pillow_is_silenced_and_only_meanwhile():
    before = list(warnings.filters)
    with quiet_pillow(), quiet_pillow():
        warnings.warn_explicit("hidden", UserWarning, "x.py", 1, module="PIL.Image")
        with pytest.warns(UserWarning, match="shown"):
            warnings.warn_explicit("shown", UserWarning, "x.py", 1, module="PILOT")
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="again"):
        warnings.warn_explicit("again", UserWarning, "x.py", 1, module="PIL.Image")


def test_silence_holds_in_threads_that_overlap():
    data, before, problems = encoded(noise(0, 5, 5)), list(warnings.filters), []

    def work():
        try:
            for _ in range(40):
                open_image(data)
                refused(png_header(12000, 12000))
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert warnings.filters == before


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "no such file")))
    assert (error.name, error.reason) == ("a.png", "no such file")
    assert isinstance(error, ValueError)


def test_an_open_file_is_closed(tmp_path):
    """A leak would raise ResourceWarning, an error here."""
    path = tmp_path / "a.png"
    noise(0).save(path)
    open_image(path)
    (tmp_path / "b.png").write_bytes(path.read_bytes()[:50])
    refused(tmp_path / "b.png")
    gc.collect()
