"""Mixup, CutMix and soft targets against loops; the targets say what is really in the picture."""

import pytest
import torch

from sightline.data import Mix, cutmix, generator_for, mixup, soft_targets


def test_soft_targets():
    got = soft_targets(torch.tensor([2, 0]), 4, 0.2)
    expected = torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]])
    assert (got - expected).abs().max() < 1e-7
    assert soft_targets(torch.tensor([1]), 3).tolist() == [[0, 1, 0]]


def plain(count=5, rows=6, cols=8):
    """Sample i is the constant i, of class i, so that a mixed picture tells what it was mixed from."""
    images = torch.arange(count).float()[:, None, None, None].expand(count, 3, rows, cols).contiguous()
    return images, torch.eye(count)


@pytest.mark.parametrize("seed", range(8))
def test_mixup_blends_pictures_and_targets_alike(seed):
    images, targets = plain()
    mixed, soft = mixup(images, targets, 0.8, generator_for(seed))
    assert (mixed - mixed[:, :1, :1, :1]).abs().max() < 1e-6
    assert (soft.sum(1) - 1).abs().max() < 1e-6
    assert (soft @ torch.arange(5).float() - mixed[:, 0, 0, 0]).abs().max() < 1e-5
    shares = {round(row.max().item(), 4) for row in soft if row.max() < 1}
    assert len(shares) <= 1  # one share for the batch


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("rows", "cols"), [(6, 8), (1, 7), (5, 1), (1, 1)])
def test_cutmix_counts_the_pixels(seed, rows, cols):
    images, targets = plain(rows=rows, cols=cols)
    mixed, soft = cutmix(images, targets, 1.0, generator_for(seed))
    boxes = set()
    for own in range(5):
        counted = torch.bincount(mixed[own, 0].flatten().long(), minlength=5) / (rows * cols)
        assert (counted - soft[own]).abs().max() < 1e-6
        foreign = (mixed[own, 0] != own).nonzero()
        if len(foreign):
            low, high = foreign.min(0).values.tolist(), foreign.max(0).values.tolist()
            assert len(foreign) == (high[0] - low[0] + 1) * (high[1] - low[1] + 1)
            boxes.add((*low, *high))
    assert len(boxes) <= 1  # one box for the batch


def test_cutmix_reaches_every_corner():
    images, targets = plain(2)
    touched = torch.zeros(6, 8)
    for seed in range(300):
        mixed, _ = cutmix(images, targets, 1.0, generator_for(seed))
        touched += (mixed[0, 0] != 0).float()
    assert touched.min() > 0
    assert abs(touched.flip(0) - touched).max() < 60
    assert abs(touched.flip(1) - touched).max() < 60


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha):
    """Mean 1/2, variance 1 / (4 (2 alpha + 1)); the partner of two samples is itself half of the time."""
    images, targets = plain(2, 1, 1)
    shares = []
    for seed in range(3000):
        _, soft = mixup(images, targets, alpha, generator_for(seed))
        shares.append(soft[0, 0].item())
    mixed = torch.tensor([share for share in shares if share != 1.0], dtype=torch.float64)
    assert 1350 < len(mixed) < 1650
    assert abs(mixed.mean() - 0.5) < 0.03
    assert abs(mixed.var() * 4 * (2 * alpha + 1) - 1) < 0.1


def test_mix_switches_batch_by_batch():
    images, _ = plain()
    labels = torch.arange(5)
    mix = Mix(5, mixup=0.8, cutmix=1.0, probability=0.6)
    seen = {"plain": 0, "mixup": 0, "cutmix": 0}
    for seed in range(400):
        mixed, targets = mix(images, labels, generator_for(seed))
        assert (targets.sum(1) - 1).abs().max() < 1e-6
        if torch.equal(mixed, images):
            seen["plain"] += 1
        elif (mixed == mixed.round()).all():
            seen["cutmix"] += 1
        else:
            seen["mixup"] += 1
    assert 130 < seen["plain"] < 210  # 40%, and boxes of no pixel
    assert 80 < seen["mixup"] < 150
    assert 80 < seen["cutmix"] < 150


def test_mix_smooths_before_it_mixes():
    images, _ = plain()
    _, targets = Mix(5, mixup=1.0, smoothing=0.1)(images, torch.arange(5), generator_for(1))
    assert targets.min() >= 0.02 - 1e-6
    assert (targets.sum(1) - 1).abs().max() < 1e-6
    same, plain_targets = Mix(5, smoothing=0.1)(images, torch.arange(5), generator_for(1))
    assert torch.equal(same, images)
    assert torch.equal(plain_targets, soft_targets(torch.arange(5), 5, 0.1))


def test_mix_is_reproducible_and_keeps_its_input():
    images, _ = plain()
    before, mix = images.clone(), Mix(5, 0.8, 1.0)
    for seed in range(6):
        one, two = (mix(images, torch.arange(5), generator_for(seed)) for _ in range(2))
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
    assert torch.equal(images, before)


def test_a_batch_of_one():
    images, _ = plain(1)
    for mix in (Mix(1, mixup=1.0), Mix(1, cutmix=1.0)):
        mixed, targets = mix(images, torch.tensor([0]), generator_for(0))
        assert torch.equal(mixed, images)
        assert targets.tolist() == [[1.0]]


@pytest.mark.parametrize("options", [{"mixup": -1.0}, {"probability": 1.2}, {"smoothing": -0.1}])
def test_bad_options(options):
    with pytest.raises(ValueError, match="got"):
        Mix(3, **options)


@pytest.mark.parametrize("mix", [Mix(5, mixup=1.0), Mix(5, cutmix=1.0), Mix(5, smoothing=0.1)])
def test_everything_is_made_where_the_images_lie(mix):
    """Images without data, on the device "meta": mixing devices would raise."""
    images, targets = mix(plain()[0].to("meta"), torch.arange(5).to("meta"), generator_for(0))
    assert images.device.type == targets.device.type == "meta"
