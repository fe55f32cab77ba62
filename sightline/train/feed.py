"""From a set of images to what a step takes: read, augment, mix, cut into parts.

Legend: B images of a part, K classes, H W rows and columns.
"""

from collections.abc import Generator

import torch
from accelerate import Accelerator
from torch import Tensor

from sightline.data import Augment, Batch, Loader, Mix, Splits, StreamSet, generator_for
from sightline.recipes import Recipe
from sightline.train.groups import cut_share, group_count
from sightline.train.plan import Batches
from sightline.train.repeat import Reordered, permutation, repeated_order
from sightline.train.resize import resize, side

Part = tuple[Tensor, Tensor]
"""Images (B, 3, H, W), normalised, and their targets (B, K)."""


class Feed:
    """The training images of a run, for this process."""

    def __init__(self, splits: Splits, recipe: Recipe, batches: Batches, accelerator: Accelerator) -> None:
        self.images, self.recipe, self.batches, self.device = splits.train, recipe, batches, accelerator.device
        self.share = cut_share(batches.size, accelerator.process_index, accelerator.num_processes)
        groups = group_count(batches.size)
        self.lanes = (
            groups if batches.size % groups == 0 else 1
        )  # one for each group, so that a process reads few shards
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
        """What this process reads of the batches of an epoch, from step `start` on; close it when leaving early."""
        recipe, repeated = self.recipe, self.recipe.repeats > 1
        loader = Loader(
            self._repeated(epoch) if repeated else self.images,
            self.batches.size,
            seed=recipe.seed,
            shuffle=not repeated,
            drop_last=True,
            rows=slice(self.share.start, self.share.stop),
            lanes=self.lanes,
            workers=recipe.workers,
        )
        yield from loader.epoch(epoch, start)

    def _repeated(self, epoch: int) -> Reordered:
        images, seed = self.images, self.recipe.seed
        order = images.order(seed, epoch) if isinstance(images, StreamSet) else permutation(len(images), seed, epoch)
        return Reordered(images, repeated_order(order, self.recipe.repeats, self.batches.size, self.lanes))

    def parts(self, batch: Batch, epoch: int, step: int) -> list[Part]:
        """Augment, resize and mix what was read, keep this process's share, cut it into the parts of a step, on the device."""
        images, labels = (tensor.to(self.device, non_blocking=True) for tensor in (batch.images, batch.labels))
        pairs = zip(images.split(self.share.sizes), labels.split(self.share.sizes), strict=True)
        mixed = [
            self._group(*pair, epoch, generator_for(self.recipe.seed, "augment", epoch, step, group))
            for group, pair in zip(self.share.groups, pairs, strict=True)
        ]
        images, targets = mixed[0] if len(mixed) == 1 else (torch.cat(part) for part in zip(*mixed, strict=True))
        if self.share.kept is not None:
            kept = self.share.kept.to(self.device)
            images, targets = images[kept], targets[kept]
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        size = self.batches.per_process
        return list(zip(images.split(size), targets.split(size), strict=True))

    def _group(self, images: Tensor, labels: Tensor, epoch: int, generator: torch.Generator) -> Part:
        images = self.augment(images, generator)
        images = resize(images, side(self.recipe, epoch, min(images.shape[2:])))
        return self.mix(images, labels, generator)
