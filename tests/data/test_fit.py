"""Pictures of any size come to one size; the size rule."""

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.data import UnreadableImage, fit_image, open_image, read_image
from sightline.data.fit import common_size
from sightline.data.picture import Picture
from tests.data.made import encoded, noise


def test_a_picture_of_the_right_size_is_untouched():
    picture = noise(0, 5, 9)
    fitted = fit_image(picture, (5, 9))
    assert fitted.dtype == torch.uint8
    assert fitted.is_contiguous()
    assert (fitted.permute(1, 2, 0).numpy() == np.asarray(picture)).all()


@pytest.mark.parametrize("stored", [(7, 7), (1, 50), (50, 1), (13, 29), (400, 300), (1, 1)])
@pytest.mark.parametrize("wanted", [(8, 8), (3, 11), (17, 5), (1, 1), (1, 9)])
def test_any_size_to_any_size(stored, wanted):
    flat = Image.new("RGB", stored[::-1], (10, 120, 240))
    fitted = fit_image(flat, wanted)
    assert fitted.shape == (3, *wanted)
    assert (torch.tensor([10, 120, 240]) == fitted.flatten(1).T).all()


def test_the_centre_is_kept():
    """A wide picture of three thirds, red, green, blue: the square in the middle is green."""
    stripes = Image.new("RGB", (90, 30), "red")
    stripes.paste((0, 255, 0), (30, 0, 60, 30))
    stripes.paste((0, 0, 255), (60, 0, 90, 30))
    assert (torch.tensor([0, 255, 0]) == fit_image(stripes, (30, 30)).flatten(1).T).all()
    turned = fit_image(stripes.transpose(Image.Transpose.ROTATE_90), (10, 10))
    assert turned[:, 5, 5].tolist() == [0, 255, 0]


def test_shrinking_averages():
    """A chessboard of single pixels becomes grey, not black or white."""
    board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    assert (fit_image(board, (8, 8)).float() - 127.5).abs().max() < 3


def test_bad_sizes_are_refused():
    for size in ((0, 4), (4, -1)):
        with pytest.raises(ValueError, match="one or two positive whole numbers"):
            fit_image(noise(0), size)


def test_read_image_is_open_and_fit(tmp_path):
    path = tmp_path / "a.png"
    noise(0, 40, 30).save(path)
    assert (read_image(path, (8, 8)) == fit_image(open_image(path), (8, 8))).all()
    smooth = Image.radial_gradient("L").resize((501, 409)).convert("RGB")
    data = encoded(smooth, "JPEG", quality=95)
    reduced, full = read_image(data, (12, 12)).int(), fit_image(open_image(data), (12, 12)).int()
    assert (reduced - full).abs().max() <= 2
    with pytest.raises(UnreadableImage, match=r"^here: it is empty"):
        read_image(b"", (8, 8), "here")


def made(*sizes):
    return [Picture(str(i), 0, encoded(Image.new("L", (cols, rows)))) for i, (rows, cols) in enumerate(sizes)]


def test_common_size():
    assert common_size(made((8, 8))) == (8, 8)
    assert common_size(made(*[(20, 30)] * 600)) == (20, 30)
    assert common_size(made((64, 64), (64, 64))) == (64, 64)
    assert common_size(made((65, 64), (65, 64))) == (64, 64)
    assert common_size(made((20, 30), (30, 20))) == (64, 64)
    assert common_size([Picture("bad", 0, b"no"), *made((9, 9))]) == (9, 9)
    assert common_size([Picture("bad", 0, b"no")]) == (64, 64)


@pytest.mark.parametrize("size", [0, 8.5, (8,), (8, 8, 3), (8, 0), "8x8", None])
def test_a_size_that_is_none(size):
    with pytest.raises(ValueError, match="one or two positive whole numbers"):
        fit_image(noise(0), size)


@pytest.mark.parametrize("source", [np.zeros((5, 5, 3), np.uint8), Image.new("L", (5, 5)), None])
def test_what_is_neither_path_nor_bytes(source):
    with pytest.raises(TypeError, match=f"a path, or its encoded bytes; got {type(source).__name__}"):
        read_image(source, (8, 8))
