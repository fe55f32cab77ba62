"""Real pictures, where they are at hand: SIGHTLINE_DATA names a folder with data/cifar10 and data/photos."""

import os
from pathlib import Path

import pytest

from sightline.data import load_splits, open_image, read_image
from sightline.data.errors import LayoutError

ROOT = Path(os.environ.get("SIGHTLINE_DATA", "../shared")) / "data"


def need(name: str) -> Path:
    if not (ROOT / name).is_dir():
        pytest.skip(f"no {ROOT / name}; set SIGHTLINE_DATA to the folder that has data/{name}")
    return ROOT / name


def test_cifar10():
    splits = load_splits(need("cifar10"), train_limit=200, test_limit=100)
    assert splits.classes[:3] == ("airplane", "automobile", "bird")
    assert splits.image_size == (32, 32)
    assert splits.train.labels.bincount().tolist() == [20] * 10
    assert (len(splits.val), len(splits.test)) == (100, 100)
    assert splits.val.names[0].startswith("train.parquet#")
    assert splits.test.names[0].startswith("test.parquet#")
    assert splits.unreadable == ()
    # The published means of CIFAR-10 are 0.491, 0.482, 0.447.
    assert all(abs(got - known) < 0.05 for got, known in zip(splits.mean, (0.491, 0.482, 0.447), strict=True))


def test_photographs_nobody_prepared():
    photos = sorted(need("photos").iterdir())
    assert len(photos) == 76
    sizes = [open_image(path).size for path in photos]
    assert (min(map(min, sizes)), max(map(max, sizes))) == (56, 2400)
    for path in photos:
        fitted = read_image(path, (24, 32))
        assert fitted.shape == (3, 24, 32)
        assert fitted.float().std() > 5


def test_pictures_without_classes():
    with pytest.raises(LayoutError, match=r"pictures \(76\) but no class folders"):
        load_splits(need("photos"))
