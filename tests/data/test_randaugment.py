"""RandAugment: each operation against loops or its definition, then the drawing."""

import pytest
import torch

from sightline.data import generator_for
from sightline.data.randaugment import OPERATIONS, rand_augment

ROWS, COLS = 9, 12


def picture(count=1):
    return torch.randint(0, 256, (count, 3, ROWS, COLS), generator=generator_for(count), dtype=torch.uint8)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("auto_contrast", "equalize")])
def test_strength_zero_changes_nothing(name):
    assert (OPERATIONS[name](picture(3), 0.0).int() - picture(3).int()).abs().max() <= 1


def test_there_are_the_papers_fourteen():
    assert len(OPERATIONS) == 14


def move(image, down, right):
    out = torch.zeros_like(image)
    for row in range(ROWS):
        for col in range(COLS):
            if 0 <= row - down < ROWS and 0 <= col - right < COLS:
                out[:, :, row, col] = image[:, :, row - down, col - right]
    return out


@pytest.mark.parametrize("strength", [0.5, -1.0])
def test_translations_move_whole_pixels(strength):
    """0.45 of 9 rows and 12 columns: 2 and 3 pixels at half strength, 4 and 5 at full."""
    rows, cols = {0.5: (2, 3), -1.0: (-4, -5)}[strength]
    assert (OPERATIONS["translate_rows"](picture(), strength) == move(picture(), rows, 0)).all()
    assert (OPERATIONS["translate_cols"](picture(), strength) == move(picture(), 0, cols)).all()


def test_shears_leave_the_middle_and_move_the_ends():
    image = torch.zeros(1, 3, 21, 21, dtype=torch.uint8)
    image[..., 10] = 255  # an upright line
    sheared = OPERATIONS["shear_cols"](image, 1.0)[0, 0].float()
    columns = (sheared * torch.arange(21)).sum(1) / sheared.sum(1)
    assert abs(columns[10] - 10) < 0.01
    assert abs(abs(columns[20] - columns[0]) - 0.3 * 20) < 0.2
    lying = OPERATIONS["shear_rows"](image.mT.contiguous(), 1.0)[0, 0].float()
    rows = (lying * torch.arange(21)[:, None]).sum(0) / lying.sum(0)
    assert abs(abs(rows[20] - rows[0]) - 0.3 * 20) < 0.2


def test_rotation_by_thirty_degrees():
    image = torch.zeros(1, 3, 41, 41, dtype=torch.uint8)
    image[..., 20, 35] = 255  # fifteen columns right of the centre
    turned = OPERATIONS["rotate"](image, 1.0)[0, 0].float()
    row, col = (
        (turned.sum(1) * torch.arange(41)).sum() / turned.sum(),
        (turned.sum(0) * torch.arange(41)).sum() / turned.sum(),
    )
    assert abs(col - (20 + 15 * 0.866)) < 0.3
    assert abs(abs(row - 20) - 7.5) < 0.3


def test_point_operations():
    image = picture()
    values = image.int()
    assert (OPERATIONS["solarize"](image, -1.0) == 255 - values).all()
    assert (OPERATIONS["solarize"](image, 0.5) == torch.where(values >= 128, 255 - values, values)).all()
    assert (OPERATIONS["posterize"](image, 1.0) == values // 16 * 16).all()
    assert (OPERATIONS["posterize"](image, -0.5) == values // 4 * 4).all()
    brighter = (values * 1.45).clamp(max=255)
    assert (OPERATIONS["brightness"](image, 0.5) - brighter).abs().max() <= 1
    assert (OPERATIONS["brightness"](image, -1.0) - values * 0.1).abs().max() <= 1


def test_batches_are_worked_on_sample_by_sample():
    """Contrast, equalising and the like use statistics of each sample, not of the batch."""
    images = picture(3)
    images[1] = images[1] // 4
    for operation in OPERATIONS.values():
        together = operation(images, 0.7)
        assert all(torch.equal(together[i], operation(images[i : i + 1], 0.7)[0]) for i in range(3))


def test_every_sample_draws_its_own():
    images = picture(1).expand(300, -1, -1, -1).contiguous()
    augmented = rand_augment(images, 1, 9, generator_for(3))
    kinds = {bytes(image.flatten().tolist()) for image in augmented}
    assert 20 <= len(kinds) <= 25  # fourteen operations, ten of them with two signs, where a sign can tell
    assert torch.equal(augmented, rand_augment(images, 1, 9, generator_for(3)))


def test_no_operations():
    assert torch.equal(rand_augment(picture(4), 0, 9, generator_for(0)), picture(4))


def test_a_spread_changes_magnitudes_within_their_range(monkeypatch):
    seen = []
    monkeypatch.setattr("sightline.data.randaugment.OPERATIONS", {"look": lambda images, s: seen.append(s) or images})
    for seed in range(200):
        rand_augment(picture(4), 2, 9, generator_for(seed), 0.5)
    sizes = [abs(strength) for strength in seen]
    assert max(sizes) == 1.0  # 9 + 2 std is cut to the strongest
    assert 0.7 < min(sizes) < 0.85
    assert sum(sizes) / len(sizes) == pytest.approx(0.9, abs=0.01)
    assert len(set(sizes)) > 100
    seen.clear()
    rand_augment(picture(4), 2, 9, generator_for(0))
    assert {abs(strength) for strength in seen} == {0.9}
