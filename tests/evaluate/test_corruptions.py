"""Changed pictures: what each change does, at any size, the same whatever the batch."""

import pytest
import torch

from sightline.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from sightline.evaluate.resolution import refusal, resized
from sightline.evaluate.transforms import TRANSFORMS


def pictures(count: int = 4, size: tuple[int, int] = (19, 23)) -> torch.Tensor:
    """Smooth colour with an edge, so that every change shows."""
    rows, cols = torch.meshgrid(torch.linspace(0, 1, size[0]), torch.linspace(0, 1, size[1]), indexing="ij")
    planes = torch.stack([60 + 80 * rows, 200 - 90 * cols, 70 + 60.0 * (rows > cols)])
    return (planes + 5 * torch.arange(count)[:, None, None, None]).round().to(torch.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_harder_means_farther_and_nothing_depends_on_the_batch(name):
    images, numbers = pictures(), torch.tensor([7, 3, 11, 0])
    far = []
    for severity in SEVERITIES:
        whole = corrupt(images, name, severity, numbers, seed=5)
        assert whole.dtype == torch.uint8
        assert whole.shape == images.shape
        parts = [corrupt(images[i : i + 1], name, severity, numbers[i : i + 1], seed=5) for i in range(4)]
        assert torch.equal(whole, torch.cat(parts))
        far.append((whole.float() - images.float()).abs().mean().item())
    assert far == sorted(far)
    assert far[0] > 0
    assert far[-1] > 1.3 * far[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (7, 5)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_any_size(name, size):
    images = pictures(2, size)
    for severity in (1, 5):
        assert corrupt(images, name, severity, torch.arange(2)).shape == images.shape


def test_noise_follows_from_seed_and_number_alone():
    images = pictures(2)
    first = corrupt(images, "noise", 2, torch.tensor([4, 5]), seed=1)
    assert torch.equal(first, corrupt(images, "noise", 2, torch.tensor([4, 5]), seed=1))
    assert not torch.equal(first, corrupt(images, "noise", 2, torch.tensor([4, 5]), seed=2))
    assert not torch.equal(first, corrupt(images, "noise", 2, torch.tensor([5, 4]), seed=1))
    spread = (
        corrupt(torch.full((1, 3, 64, 64), 128, dtype=torch.uint8), "noise", 3, torch.tensor([0])).float() - 128
    ).std()
    assert spread.item() == pytest.approx(255 * 0.09, rel=0.03)


def test_blur_and_blocks_scale_with_the_picture():
    """A picture enlarged four times looks, damaged, like the small one damaged."""
    small = pictures(1, (24, 24))
    large = small.repeat_interleave(4, -1).repeat_interleave(4, -2)
    for name in ("blur", "pixelate"):
        damaged = corrupt(large, name, 4, torch.tensor([0])).float()
        down = torch.nn.functional.avg_pool2d(damaged, 4)
        assert (down - corrupt(small, name, 4, torch.tensor([0])).float()).abs().mean() < 3.5, name


def test_turns_by_hand():
    images = torch.arange(2 * 3 * 2 * 3).reshape(2, 3, 2, 3)
    for n in range(2):
        for c in range(3):
            a = images[n, c].tolist()
            assert TRANSFORMS["upside-down"](images)[n, c].tolist() == a[::-1]
            assert TRANSFORMS["mirrored"](images)[n, c].tolist() == [row[::-1] for row in a]
            assert TRANSFORMS["rotated 180"](images)[n, c].tolist() == [row[::-1] for row in a[::-1]]
            quarter = [
                [a[row][2 - col] for row in range(2)] for col in range(3)
            ]  # counter-clockwise: right column on top
            assert TRANSFORMS["rotated 90"](images)[n, c].tolist() == quarter
            assert TRANSFORMS["rotated 270"](images)[n, c].tolist() == [row[::-1] for row in quarter[::-1]]


def test_sizes_and_who_refuses_them():
    assert resized(pictures(2, (5, 8)), 1.5).shape == (2, 3, 8, 12)
    assert resized(pictures(2, (1, 8)), 0.25).shape == (2, 3, 1, 2)
    fixed = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, 2)).eval()
    assert refusal(fixed, (4, 4)) == ""
    assert "shapes cannot be multiplied" in refusal(fixed, (4, 5))


def test_refusals():
    with pytest.raises(ValueError, match="no corruption is called 'fog'; there are noise, blur"):
        corrupt(pictures(), "fog", 1, torch.arange(4))
    with pytest.raises(ValueError, match="severity is 1 to 5; got 6"):
        corrupt(pictures(), "blur", 6, torch.arange(4))
