"""The recipes of the convolutional twins, Non-local, SASA, LR-Net, AA and SAN for images of 224 pixels.

    sightline train --model sasa_resnet50 --data imagenet/ --recipe sasa

Where a paper gives no recipe for ImageNet, or its text could not be had, the card says "Ours". Ours, in all of them: crops
are cut from the centred square of the picture at `image_size`; norms and biases are spared by the weight decay.
"""

from dataclasses import replace

from sightline.recipes.recipe import Recipe

RESNET = Recipe(
    name="resnet",
    card="""resnet: the convolutional twins (He et al. 2016, arXiv 1512.03385, section 3.4, as it is run today).

    sightline train --model conv_resnet50 --data imagenet/ --recipe resnet

The paper: SGD with momentum 0.9, batch 256, rate 0.1 divided by 10 when the error stalls, weight decay 1e-4, crops and
flips. Ours: 90 epochs with falls at 30 and 60; crops of 8% to 100% of the area.
""",
    epochs=90,
    batch_size=256,
    image_size=224,
    optimizer="sgd",
    nesterov=False,
    lr=0.1,
    lr_batch=256,
    schedule="step",
    step_epochs=30.0,
    warmup_epochs=0.0,
    weight_decay=1e-4,
    clip_grad=None,
    label_smoothing=0.0,
    resized_crop=(0.08, 1.0),
    flip=0.5,
)

NONLOCAL = replace(
    RESNET,
    name="nonlocal",
    card="""nonlocal: Non-local nets (Wang et al. 2018, arXiv 1711.07971, section 4.1), carried from videos to images.

    sightline train --model nonlocal_resnet50 --data imagenet/ --recipe nonlocal --finetune runs/conv_resnet50

From the paper, for Kinetics: start from a trained ResNet, batch 64, rate 0.01 divided by 10 every 150,000 of 400,000 steps,
momentum 0.9, weight decay 1e-4, dropout 0.5 after the pooling. Ours: all of it for images, which the paper does not train
on; the steps as epochs of its 240,000 clips: 40 of 107.
""",
    epochs=107,
    batch_size=64,
    lr=0.01,
    lr_batch=64,
    step_epochs=40.0,
    dropout=0.5,
)

SASA = replace(
    RESNET,
    name="sasa",
    card="""sasa: stand-alone self-attention (Ramachandran et al. 2019, arXiv 1906.05909, appendix A.2).

    sightline train --model sasa_resnet50 --data imagenet/ --recipe sasa

From the paper: 130 epochs, Nesterov momentum, rate 1.6 at batch 4096, 10 epochs of warm-up, cosine, weights averaged with
decay 0.9999. Ours: momentum 0.9, weight decay 1e-4, smoothing 0.1, crops of 8% to 100%, flips; the paper gives none of
them. The paper: 77.6% for ResNet-50.
""",
    epochs=130,
    batch_size=4096,
    nesterov=True,
    lr=1.6,
    lr_batch=4096,
    min_lr=0.0,
    schedule="cosine",
    warmup_epochs=10.0,
    label_smoothing=0.1,
    ema=0.9999,
)

LRNET = replace(
    RESNET,
    name="lrnet",
    card="""lrnet: local relation networks (Hu et al. 2019, arXiv 1904.11491). Ours: the paper's own recipe could not be had.

    sightline train --model lrnet50 --data imagenet/ --recipe lrnet

110 epochs, SGD with momentum 0.9, batch 256, rate 0.1, cosine, 5 epochs of warm-up, weight decay 1e-4, smoothing 0.1. The
paper: 77.3% for LR-Net-50.
""",
    epochs=110,
    min_lr=0.0,
    schedule="cosine",
    warmup_epochs=5.0,
    label_smoothing=0.1,
)

AA = replace(
    RESNET,
    name="aa",
    card="""aa: attention-augmented ResNets on ImageNet (Bello et al. 2019, arXiv 1904.09925, section 4). From memory of the
paper, not confirmed: 100 epochs, synchronous SGD with momentum 0.9, batch 1024, warm-up and cosine, weight decay
1e-4, smoothing 0.1.

    sightline train --model aa_resnet50 --data imagenet/ --recipe aa

Ours: the rate 0.4 (0.1 x batch / 256), 5 epochs of warm-up, crops of 8% to 100%. The paper: 77.7% for ResNet-50.
""",
    epochs=100,
    batch_size=1024,
    min_lr=0.0,
    schedule="cosine",
    warmup_epochs=5.0,
    label_smoothing=0.1,
)

AA_CIFAR = replace(
    AA,
    name="aa_cifar",
    card="""aa_cifar: attention-augmented Wide-ResNet-28-10 on CIFAR-100 (arXiv 1904.09925, section 4.1). From memory of the
paper, not confirmed: 500 epochs, a linear warm-up over the first 5%, then a cosine, weight decay 5e-4.

    sightline train --model aa_wide_resnet28_10 --data cifar100/ --recipe aa_cifar

Ours: batch 128, the rate 0.1, Nesterov momentum, padding 4 and flips. The paper: 81.6%.
""",
    epochs=500,
    batch_size=128,
    image_size=32,
    nesterov=True,
    lr=0.1,
    lr_batch=128,
    warmup_epochs=25.0,
    weight_decay=5e-4,
    label_smoothing=0.0,
    resized_crop=None,
    crop_padding=4,
)

SAN = replace(
    RESNET,
    name="san",
    card="""san: self-attention networks (Zhao et al. 2020, arXiv 2004.13621, section 5.1).

    sightline train --model san10_patchwise --data imagenet/ --recipe san

From the paper: 100 epochs, SGD with momentum 0.9, batch 256, rate 0.1, cosine, weight decay 1e-4, smoothing 0.1, crops and
flips. Ours: the rate falls step by step, in the authors' code epoch by epoch; no warm-up, as there. The paper: 77.1% for
SAN10 patchwise.
""",
    epochs=100,
    min_lr=0.0,
    schedule="cosine",
    label_smoothing=0.1,
)

RESIDUAL = (RESNET, NONLOCAL, SASA, LRNET, AA, AA_CIFAR, SAN)
