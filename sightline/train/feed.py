"""From a set of images to what a step takes: read, augment, mix, cut into parts.

Legend: B images of a part, K classes, H W rows and columns.
"""

from collections.abc import Generator

import torch
from accelerate import Accelerator
from torch import Tensor

from sightline.data import Augment, Batch, Loader, Mix, Splits
from sightline.recipes import Recipe
from sightline.train.plan import Batches
from sightline.train.repeat import Reordered, permutation, repeated_order
from sightline.train.resize import resize, side

Part = tuple[Tensor, Tensor]
"""Images (B, 3, H, W), normalised, and their targets (B, K)."""


class Feed:
    """The training images of a run, for this process."""

    def __init__(self, splits: Splits, recipe: Recipe, batches: Batches, accelerator: Accelerator) -> None:
        self.images, self.recipe, self.batches, self.accelerator = splits.train, recipe, batches, accelerator
        self.augment = Augment(
            splits.mean,
            splits.std,
            crop_padding=recipe.crop_padding,
            flip=recipe.flip,
            randaugment_ops=recipe.randaugment_ops,
            randaugment_magnitude=recipe.randaugment_magnitude,
            erasing=recipe.erasing,
            resized_crop=recipe.resized_crop,
            randaugment_std=recipe.randaugment_std,
            erasing_mode=recipe.erasing_mode,
        )
        self.mix = Mix(len(splits.classes), recipe.mixup, recipe.cutmix, recipe.mix_prob, recipe.label_smoothing)

    def epoch(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        """This process's shares of the batches of an epoch, from step `start` on; close it when leaving early."""
        recipe, repeated = self.recipe, self.recipe.repeats > 1
        loader = Loader(
            self._repeated(epoch) if repeated else self.images,
            self.batches.size,
            seed=recipe.seed,
            shuffle=not repeated,
            drop_last=True,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            workers=recipe.workers,
        )
        yield from loader.epoch(epoch, start)

    def _repeated(self, epoch: int) -> Reordered:
        order = permutation(len(self.images), self.recipe.seed, epoch)
        processes = self.accelerator.num_processes
        return Reordered(self.images, repeated_order(order, self.recipe.repeats, self.batches.size, processes))

    def parts(self, batch: Batch, generator: torch.Generator, epoch: int) -> list[Part]:
        """Augment, resize and mix a share and cut it into the parts of a step, on the device of the run."""
        device = self.accelerator.device
        images = self.augment(batch.images.to(device, non_blocking=True), generator)
        images = resize(images, side(self.recipe, epoch, min(images.shape[2:])))
        mixed, targets = self.mix(images, batch.labels.to(device, non_blocking=True), generator)
        if self.recipe.channels_last:
            mixed = mixed.contiguous(memory_format=torch.channels_last)
        size = self.batches.per_process
        return list(zip(mixed.split(size), targets.split(size), strict=True))
