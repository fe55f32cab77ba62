"""cifar10: a first result on 50,000 colour images of 32 x 32 pixels, made for two cores and at most 25 minutes a net.

    sightline train --model resnet_mini --data CIFAR10_DIR --recipe cifar10

Padding 4 and flips are the standard augmentation of this set (He et al. 2016, arXiv 1512.03385, section 4.2); images have 16
pixels for two epochs, 24 for two, and 32 for three (progressive resizing, Tan and Le 2021, arXiv 2104.00298, section 4). Ours:
seven epochs of batch 128; Muon, which at this length is worth twice the epochs (resnet_mini, 20,000 images, four epochs: 70.8% of
2,000 validation images, where AdamW at 3e-3 reaches 59.6%; one run each); a rate of 2e-2 (1e-2: 70.7%, 5e-3: 67.2%); bfloat16 and
channels-last, which double the images a second of the convolutional nets; averaged weights with decay 0.99; no mixing and no
RandAugment, both need many times the epochs to pay. The full size has to come while the rate is still high.
"""

from dataclasses import replace

from sightline.recipes.recipe import Recipe

CIFAR10 = Recipe(
    name="cifar10",
    card=__doc__,
    epochs=7,
    batch_size=128,
    small_size=16,
    small_epochs=4,
    optimizer="muon",
    momentum=0.95,
    lr=2e-2,
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
    card="""cifar10_warm: three epochs, one at 24 and two at 32 pixels, for a net that starts from the trained convolutional twin.

    sightline train --model nonlocal_resnet_mini --data CIFAR10_DIR --recipe cifar10_warm --finetune runs/resnet_mini

A non-local block can be put into any trained net (arXiv 1711.07971, section 3.3), and CCNet's trunk is a trained ResNet
(1811.11721, section 4). Ours: the budget, and a rate of 3e-3: at 1e-2 the softmax of the non-local and criss-cross layers
saturates (a query's whole weight on one or two of 256 positions). It is for nets that keep the twin's convolutions. Where the
operator replaces them the trained trunk does not help: sasa_resnet_mini ended at 67.1% of the validation images (one run), so
these start from random weights by cifar10. A result to compare nets by needs one start and one budget for all of them, the
twin's own included.
""",
    epochs=3,
    small_size=24,
    small_epochs=1,
    lr=3e-3,
    warmup_epochs=0.5,
)

CIFAR10_FULL = Recipe(
    name="cifar10_full",
    card="""cifar10_full: a result to keep on 50,000 images of 32 x 32 pixels, for nets of up to 4 million parameters and a GPU.

    sightline train --model vit_compact --data CIFAR10_DIR --recipe cifar10_full
    sightline train --model deit_compact_distilled --data CIFAR10_DIR --recipe kd_cifar10_full --set teacher=runs/resnet_mini

After the recipe of compact convolutional transformers (Hassani et al. 2021, arXiv 2104.05704; the authors' configuration
for CIFAR-10): 300 epochs, batch 128, AdamW at 5.5e-4, weight decay 0.06, 10 epochs of warm-up, cosine to 1e-5, RandAugment
9/0.5, mixup 0.8, CutMix 1.0, smoothing 0.1, crops of 80% to 100%, flips. Theirs is the best published small transformer at
this budget: 96.53% with 3.76 million parameters. Ours: stochastic depth 0.1, averaged weights with decay 0.9998, bfloat16,
channels-last. Not run here to its end; what it takes is counted in docs/training.md. In a third of the time: `--set
epochs=100`.
""",
    epochs=300,
    batch_size=128,
    lr=5.5e-4,
    min_lr=1e-5,
    warmup_epochs=10.0,
    weight_decay=0.06,
    clip_grad=1.0,
    mixup=0.8,
    cutmix=1.0,
    resized_crop=(0.8, 1.0),
    flip=0.5,
    randaugment_ops=2,
    randaugment_magnitude=9,
    randaugment_std=0.5,
    drop_path=0.1,
    ema=0.9998,
    precision="bf16",
    channels_last=True,
    eval_every=10,
    checkpoint_every=5,
)
