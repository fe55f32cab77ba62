"""Augmentations against plain loops over samples, rows and columns; every draw comes from the generator."""

import math

import pytest
import torch

from sightline.data import Augment, erase, flip, generator_for, normalise, random_crop, random_resized_crop

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def batch(count=64, rows=7, cols=9):
    return torch.randint(1, 256, (count, 3, rows, cols), generator=generator_for(count, rows), dtype=torch.uint8)


def test_normalise():
    images = batch(2)
    got = normalise(images, MEAN, STD)
    assert got.dtype == torch.float32
    for channel in range(3):
        expected = (images[:, channel].double() / 255 - MEAN[channel]) / STD[channel]
        assert (got[:, channel] - expected).abs().max() < 1e-6


@pytest.mark.parametrize(("rows", "cols"), [(5, 6), (1, 5), (6, 6)])
def test_random_crop_is_a_shift_with_black_behind(rows, cols):
    images, padding = batch(80, rows, cols), 1
    cropped = random_crop(images, padding, generator_for(1))
    places = set()
    for image, crop in zip(images, cropped, strict=True):
        fits = [
            (down, right)
            for down in range(-padding, padding + 1)
            for right in range(-padding, padding + 1)
            if (shifted(image, down, right) == crop).all()
        ]
        assert fits
        places.update(fits if len(fits) == 1 else [])
    if min(rows, cols) > 2:
        assert len(places) == (2 * padding + 1) ** 2


def shifted(image, down, right):
    out = torch.zeros_like(image)
    for row in range(image.shape[1]):
        for col in range(image.shape[2]):
            if 0 <= row - down < image.shape[1] and 0 <= col - right < image.shape[2]:
                out[:, row, col] = image[:, row - down, col - right]
    return out


def test_random_crop_without_padding_changes_nothing():
    assert (random_crop(batch(), 0, generator_for(1)) == batch()).all()


def test_flip_mirrors_columns_per_sample():
    images = batch(400)
    flipped = flip(images, 0.25, generator_for(2))
    mirrored = 0
    for image, got in zip(images, flipped, strict=True):
        if (got == image).all():
            continue
        assert all((got[:, :, col] == image[:, :, -1 - col]).all() for col in range(9))
        mirrored += 1
    assert 70 <= mirrored <= 130
    assert (flip(images, 0.0, generator_for(2)) == images).all()
    assert (flip(images, 1.0, generator_for(2)) == images.flip(-1)).all()


def test_resized_crop_of_everything_changes_nothing():
    images = batch(8, 8, 8)
    assert (random_resized_crop(images, (1.0, 1.0), generator_for(3), ratio=(1.0, 1.0)) == images).all()


def test_resized_crop_shows_a_box_of_the_right_area():
    """On a picture whose red is the column and whose green is the row, the box can be read off the crop."""
    rows, cols, count = 32, 48, 300
    ramp = torch.zeros(count, 3, rows, cols, dtype=torch.uint8)
    ramp[:, 0] = 5 * torch.arange(cols)
    ramp[:, 1] = 5 * torch.arange(rows)[:, None]
    crop = random_resized_crop(ramp, (0.3, 0.5), generator_for(4)).double() / 5
    wide = (crop[:, 0, 0, 30] - crop[:, 0, 0, 10]) / 20  # box columns per output column: the box's share of the width
    tall = (crop[:, 1, 25, 0] - crop[:, 1, 5, 0]) / 20
    assert (crop[:, 0] == crop[:, 0, :1]).all()
    area, aspect = wide * tall, wide * cols / (tall * rows)
    assert 0.28 < area.min() < 0.32
    assert 0.48 < area.max() < 0.52
    assert 0.72 < aspect.min() < 0.78
    assert 1.28 < aspect.max() < 1.38
    assert crop[:, 0, 0, 0].min() < 1
    assert crop[:, 0, 0, -1].max() > cols - 2


def test_erase_fills_one_box_a_sample_with_noise():
    images = torch.full((300, 3, 20, 24), 7.0)
    erased = erase(images, 0.5, generator_for(5))
    changed = (erased != 7).all(1)  # all channels together
    assert ((erased != 7).any(1) == changed).all()
    chosen = changed.flatten(1).any(1)
    assert 120 <= chosen.sum() <= 180
    areas = []
    for mask in changed[chosen]:
        rows, cols = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].all()
        assert mask.sum() == len(rows) * len(cols)
        areas.append(mask.sum().item() / mask.numel())
    assert min(areas) < 0.06
    assert 0.25 < max(areas) < 0.37
    noise = erased[erased != 7]
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02


@pytest.mark.parametrize(("mode", "values"), [("zero", 1), ("colour", 1), ("noise", None)])
def test_what_fills_an_erased_box(mode, values):
    images = torch.full((20, 3, 16, 12), 7.0)
    erased = erase(images, 1.0, generator_for(2), mode)
    for one in erased:
        inside = [channel[channel != 7] for channel in one]
        assert all(len(box) for box in inside)
        if values is not None:
            assert all(len(box.unique()) == values for box in inside)
        if mode == "zero":
            assert all((box == 0).all() for box in inside)
        elif mode == "colour":
            assert len({float(box[0]) for box in inside}) == 3
        else:
            assert len(inside[0].unique()) == len(inside[0])


def test_erase_on_one_pixel():
    assert erase(torch.full((4, 3, 1, 1), 7.0), 1.0, generator_for(0)).ne(7).all()


ALL = Augment(MEAN, STD, crop_padding=2, flip=0.5, randaugment_ops=2, randaugment_magnitude=9, erasing=0.5)


def test_the_same_generator_gives_the_same_batch_whatever_the_threads():
    before = torch.get_num_threads()
    try:
        first = ALL(batch(), generator_for(7))
        torch.set_num_threads(2 if before == 1 else 1)
        again = ALL(batch(), generator_for(7))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(first, again)
    assert first.dtype == torch.float32
    assert not torch.equal(first, ALL(batch(), generator_for(8)))
    torch.rand(3)  # the global generator plays no part
    assert torch.equal(first, ALL(batch(), generator_for(7)))


def test_nothing_but_normalising_by_default():
    assert torch.equal(Augment(MEAN, STD)(batch(), generator_for(0)), normalise(batch(), MEAN, STD))


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 8), (5, 2), (13, 7)])
@pytest.mark.parametrize("count", [1, 3])
def test_odd_sizes(rows, cols, count):
    for augment in (ALL, Augment(MEAN, STD, resized_crop=(0.1, 1.0), erasing=1.0)):
        out = augment(batch(count, rows, cols), generator_for(0))
        assert out.shape == (count, 3, rows, cols)
        assert torch.isfinite(out).all()


def test_the_input_is_left_alone():
    images = batch()
    before = images.clone()
    ALL(images, generator_for(7))
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 1.5}, "flip is a probability, 0 to 1; got 1.5"),
        ({"erasing": -0.1}, "erasing is a probability"),
        ({"crop_padding": -1}, "can not be negative; got -1, 0"),
        ({"randaugment_magnitude": 11}, "runs from 0 to 10; got 11"),
        ({"resized_crop": (0.5, 0.2)}, r"least and a largest share .*got \(0\.5, 0\.2\)"),
        ({"resized_crop": (0.5, 1.0), "crop_padding": 2}, "choose one crop"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Augment(MEAN, STD, **options)


def test_generators_depend_on_every_part():
    assert generator_for(0, 1).initial_seed() != generator_for(1, 0).initial_seed()
    assert generator_for("a", 11).initial_seed() != generator_for("a1", 1).initial_seed()
    assert math.log2(generator_for(5).initial_seed()) < 63


@pytest.mark.parametrize("augment", [ALL, Augment(MEAN, STD, resized_crop=(0.3, 1.0))])
def test_everything_is_made_where_the_images_lie(augment):
    """Images without data, on the device "meta": mixing devices would raise."""
    assert augment(batch().to("meta"), generator_for(0)).device.type == "meta"
