"""What a run keeps about its pictures: mean and standard deviation for normalising, and a fingerprint of the split.

Ours: statistics come from the training pictures; of sets decoded on demand from 2,000 of them, evenly spaced,
      of streamed ones from the beginnings of 32 shards. A standard
      deviation is at least 1/255, so that a set of one colour can be normalised too.
"""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sightline.data.imageset import ImageSet, MemorySet
from sightline.data.stream import StreamSet
from sightline.data.stream_load import sample

_SAMPLE = 2000
_CHUNK = 256

Channels = tuple[float, float, float]


def mean_and_std(images: ImageSet) -> tuple[Channels, Channels]:
    """Mean and standard deviation of red, green and blue over all pixels, in 0 .. 1, rounded to 4 digits."""
    counts = torch.zeros(3, 256, dtype=torch.float64)
    for indices in _looked_at(images).split(_CHUNK):
        counts += _histogram(images.batch(indices))
    shares = counts / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = (shares * levels).sum(1)
    std = (shares * (levels - mean[:, None]).square()).sum(1).sqrt().clamp(min=1 / 255)
    return _rounded(mean), _rounded(std)


def _looked_at(images: ImageSet) -> Tensor:
    """Positions of the pictures that statistics are made of."""
    if isinstance(images, StreamSet):
        return torch.tensor(sample(images))
    return torch.arange(0, len(images), 1 if isinstance(images, MemorySet) else max(1, len(images) // _SAMPLE))


def fingerprint(classes: Sequence[str], sets: Mapping[str, ImageSet]) -> str:
    """SHA-256 over class names and, split by split, the names and labels of the pictures: the same data in the same split."""
    digest = hashlib.sha256("\n".join(classes).encode())
    for split, images in sets.items():
        for name, label in zip(images.names, images.labels.tolist(), strict=True):
            digest.update(f"\n{split}\t{label}\t{name}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _histogram(images: Tensor) -> Tensor:
    """How often each level occurs in each channel: (3, 256). Exact, whatever the number of pixels."""
    return torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])


def _rounded(values: Tensor) -> Channels:
    red, green, blue = (round(value, 4) for value in values.tolist())
    return red, green, blue
