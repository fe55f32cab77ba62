"""The digits that ship inside scikit-learn, against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sightline.data import load_splits


@pytest.fixture(scope="module")
def splits():
    return load_splits("digits")


def test_every_digit_is_there_once(splits):
    rows = [
        int(name.removeprefix("digits#")) for part in (splits.train, splits.val, splits.test) for name in part.names
    ]
    assert sorted(rows) == list(range(1797))
    assert splits.image_size == (8, 8)
    assert splits.classes == tuple("0123456789")


def test_pixels_and_labels(splits):
    digits = load_digits()
    for part in (splits.train, splits.val, splits.test):
        rows = [int(name.removeprefix("digits#")) for name in part.names]
        assert part.labels.tolist() == digits.target[rows].tolist()
        expected = np.rint(digits.images[rows] * 255 / 16)
        for channel in range(3):
            assert (part.images[:, channel].numpy() == expected).all()


def test_the_split_is_stratified_and_fixed(splits):
    totals = np.bincount(load_digits().target)
    for part, share in ((splits.train, 0.6), (splits.val, 0.2), (splits.test, 0.2)):
        counts = part.labels.bincount().numpy()
        assert (np.abs(counts - share * totals) <= 2).all()
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1079, 359, 359)
    assert splits.fingerprint == FINGERPRINT
    assert load_splits("digits", seed=7).fingerprint == FINGERPRINT


FINGERPRINT = "4e7492960406d8f68fcf8d463a00df474236daa580c35f632787d917eeb86c8e"


def test_statistics(splits):
    pixels = splits.train.images.double() / 255
    assert (torch.tensor(splits.mean) - pixels.mean((0, 2, 3))).abs().max() < 6e-5
    assert (torch.tensor(splits.std) - pixels.std((0, 2, 3), correction=0)).abs().max() < 6e-5


def test_limits_and_size():
    small = load_splits("digits", train_limit=100, test_limit=50, image_size=(12, 10))
    assert small.train.images.shape == (100, 3, 12, 10)
    assert (len(small.val), len(small.test)) == (50, 50)
    assert small.train.labels.bincount().min() >= 8
    larger = load_splits("digits", train_limit=300)
    assert set(small.train.names) < set(larger.train.names)
    with pytest.raises(ValueError, match="one picture for each of the 10 classes; got 9"):
        load_splits("digits", train_limit=9)
