"""The built-in set: 1,797 handwritten digits of 8 x 8 pixels, which ship inside scikit-learn. Nothing is downloaded.

Source: scikit-learn's `load_digits`, the test part of UCI's "Optical Recognition of Handwritten Digits" (CC BY 4.0).
Ours:   grey values 0 .. 16 become 0 .. 255, rounded. The split is stratified, 60% train, 20% val, 20% test, and always the same,
        whatever the seed of a run, so that scores of different runs compare.
"""

import numpy as np

from sightline.data.picture import TEST, VAL, Found, Picture
from sightline.data.split import split_pictures

NAME = "digits"
CLASSES = tuple("0123456789")
SPLIT_SEED = 0
SHARES = {VAL: 0.2, TEST: 0.2}
_LEVELS = 16


def find() -> Found:
    """The digits in their fixed split. Each is written as a PGM file in memory and goes the way of any other picture."""
    from sklearn.datasets import load_digits  # only here: it takes a second to import

    pixels, labels = load_digits(return_X_y=True)  # (1797, 64), (1797,)
    scaled = np.rint(np.asarray(pixels) * (255 / _LEVELS)).astype(np.uint8)
    pictures = [
        Picture(f"{NAME}#{row}", int(label), b"P5 8 8 255\n" + grey.tobytes())
        for row, (label, grey) in enumerate(zip(labels, scaled, strict=True))
    ]
    return Found(CLASSES, split_pictures(pictures, CLASSES, SHARES, SPLIT_SEED))
