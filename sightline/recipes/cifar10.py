"""cifar10: a first result on 50,000 colour images of 32 x 32 pixels, made for two cores and about 25 minutes.

    sightline train --model resnet_mini --data CIFAR10_DIR --recipe cifar10

Padding 4 and flips are the standard augmentation of this set (He et al. 2016, arXiv 1512.03385, section 4.2). Ours: ten epochs of
batch 128 at 2e-3; no mixing and no RandAugment, both need several times the epochs to pay; averaged weights with decay 0.995,
half an epoch, in place of a longer cool-down. For a result to keep, use `--set epochs=200 --set cutmix=1.0 --set mixup=0.8
--set randaugment_ops=2 --set drop_path=0.1`.
"""

from sightline.recipes.recipe import Recipe

CIFAR10 = Recipe(
    name="cifar10",
    card=__doc__,
    epochs=10,
    batch_size=128,
    lr=2e-3,
    warmup_epochs=1.0,
    crop_padding=4,
    flip=0.5,
    ema=0.995,
)
