"""Images that grow while a net trains: the side of every epoch, and what a step is fed."""

from dataclasses import replace

import pytest
import torch

from sightline.train import train
from sightline.train.resize import resize, side
from tests.train.tiny import CNN, RECIPE, image_set, splits


@pytest.mark.parametrize(
    ("small", "epochs", "full", "sides"),
    [
        (16, 7, 32, [16, 16, 16, 16, 24, 24, 24, 32, 32]),
        (16, 3, 32, [16, 16, 24, 32]),
        (20, 4, 64, [20, 24, 40, 48, 64]),  # rounded down to eights, but never below the small size
        (12, 2, 15, [12, 12, 15]),
        (32, 5, 32, [32, 32]),
        (48, 5, 32, [32, 32]),  # images are never enlarged
        (None, 5, 32, [32, 32]),
        (16, 0, 32, [32, 32]),
    ],
)
def test_side_of_every_epoch(small, epochs, full, sides):
    recipe = replace(RECIPE, small_size=small, small_epochs=epochs)
    assert [side(recipe, epoch, full) for epoch in range(len(sides))] == sides


def test_half_the_side_is_the_mean_of_four_where_a_ramp_is_smooth():
    ramp = torch.arange(8.0)[:, None] + 10 * torch.arange(12.0) + torch.zeros(1, 3, 1, 1)
    small = resize(ramp, 4)
    assert small.shape == (1, 3, 4, 6)
    wanted = ramp.reshape(3, 4, 2, 6, 2).mean((2, 4))
    torch.testing.assert_close(small[0][:, 1:-1, 1:-1], wanted[:, 1:-1, 1:-1])
    assert resize(ramp, 8) is ramp


def test_a_run_sees_small_images_first(tmp_path, monkeypatch):
    seen = []
    from sightline.train import session

    original = session.Session._loss

    def look(self, images, targets):
        seen.append((tuple(images.shape[2:]), images.is_contiguous(memory_format=torch.channels_last)))
        return original(self, images, targets)

    monkeypatch.setattr(session.Session, "_loss", look)
    sets = {name: image_set(9, seed, (16, 16)) for seed, name in enumerate(("train", "val", "test"))}
    recipe = replace(RECIPE, epochs=3, small_size=8, small_epochs=2, channels_last=True, crop_padding=0)
    train(recipe, CNN, replace(splits(), **sets, image_size=(16, 16)), tmp_path)
    assert seen == [((8, 8), True), ((8, 8), True), ((16, 16), True)]
