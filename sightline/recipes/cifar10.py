"""cifar10: a first result on 50,000 colour images of 32 x 32 pixels, made for two cores and at most 25 minutes a net.

    sightline train --model resnet_mini --data CIFAR10_DIR --recipe cifar10

Padding 4 and flips are the standard augmentation of this set (He et al. 2016, arXiv 1512.03385, section 4.2); images grow from
16 to 24 to 32 pixels (progressive resizing, Tan and Le 2021, arXiv 2104.00298, section 4). Ours: eight epochs of batch 128 at
3e-3, bfloat16 and channels-last, which double the images a second of the convolutional nets; averaged weights with decay 0.99;
no mixing and no RandAugment, both need many times the epochs to pay.
"""

from dataclasses import replace

from sightline.recipes.recipe import Recipe

CIFAR10 = Recipe(
    name="cifar10",
    card=__doc__,
    epochs=8,
    batch_size=128,
    small_size=16,
    small_epochs=7,
    lr=3e-3,
    warmup_epochs=1.0,
    crop_padding=4,
    flip=0.5,
    ema=0.99,
    precision="bf16",
    channels_last=True,
    eval_every=4,
)

CIFAR10_WARM = replace(
    CIFAR10,
    name="cifar10_warm",
    card="""cifar10_warm: three epochs, at 16, 24 and 32 pixels, for a net that starts from the trained convolutional twin.

    sightline train --model lrnet_mini --data CIFAR10_DIR --recipe cifar10_warm --finetune runs/resnet_mini

A non-local block can be put into any trained net (arXiv 1711.07971, section 3.3), and CCNet's trunk is a trained ResNet
(1811.11721, section 4). For operators that replace convolutions it is ours: everything but the new operator begins trained, so
that it learns in fewer epochs. A result to compare nets by needs cifar10, from scratch, for all of them.
""",
    epochs=3,
    small_epochs=2,
    lr=2e-3,
    warmup_epochs=0.5,
)
