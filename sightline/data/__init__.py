"""Pictures and labels: find them, open them, split them, feed them, augment them. Knows nothing of models.

splits = load_splits("digits")                      # or a folder, a .parquet file or .tar shard, a folder of them
loader = Loader(splits.train, batch_size=64)
augment = Augment(splits.mean, splits.std, crop_padding=1)
for step, batch in enumerate(loader.epoch(0)):
    images = augment(batch.images, generator_for(seed, "augment", 0, step))
"""

from sightline.data.augment import Augment, erase, flip, normalise
from sightline.data.batches import EpochBatches
from sightline.data.crop import random_crop, random_resized_crop
from sightline.data.decode import MAX_PIXELS, open_image
from sightline.data.errors import DataError, UnreadableImage
from sightline.data.fit import View, fit_image, read_image, seen_box
from sightline.data.folder import EXTENSIONS
from sightline.data.imageset import FileSet, ImageSet, MemorySet
from sightline.data.joined import JoinedSet
from sightline.data.load import Splits, load_splits, load_whole
from sightline.data.loader import Batch, Loader, LoaderError
from sightline.data.mix import Mix, cutmix, mixup, soft_targets
from sightline.data.picture import Unreadable
from sightline.data.seeds import derive_seed, generator_for
from sightline.data.stream import StreamSet

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "Augment",
    "Batch",
    "DataError",
    "EpochBatches",
    "FileSet",
    "ImageSet",
    "JoinedSet",
    "Loader",
    "LoaderError",
    "MemorySet",
    "Mix",
    "Splits",
    "StreamSet",
    "Unreadable",
    "UnreadableImage",
    "View",
    "cutmix",
    "derive_seed",
    "erase",
    "fit_image",
    "flip",
    "generator_for",
    "load_splits",
    "load_whole",
    "mixup",
    "normalise",
    "open_image",
    "random_crop",
    "random_resized_crop",
    "read_image",
    "seen_box",
    "soft_targets",
]
