"""The recipes of ViT and DeiT for images of 224 and 384 pixels, as written in the papers; what they leave open is marked
"Ours".

    sightline train --model deit_s16 --data imagenet/ --recipe deit
    sightline train --model deit_s16_distilled --data imagenet/ --recipe deit_distilled --set teacher=timm:regnety_160.deit_in1k
    sightline train --model deit_s16_distilled_384 --data imagenet/ --recipe deit_384_distilled \\
        --finetune runs/deit_s16_distilled --set teacher=timm:regnety_160.deit_in1k
    sightline train --model vit_b16_384 --data flowers/ --recipe vit_finetune --finetune runs/vit_b16

Fewer devices: `--set accumulate=8` keeps the batch, and so the recipe's meaning; `--set batch_size=256` changes it, and the
rate with it where the recipe states a rule. Ours, in all of them: crops are cut from the centred square of the picture at
`image_size`.
"""

from dataclasses import replace

from sightline.recipes.recipe import Recipe

DEIT = Recipe(
    name="deit",
    card="""deit: DeiT's training on ImageNet-1k (Touvron et al. 2021, arXiv 2012.12877, table 9, column "DeiT-B").

    sightline train --model deit_b16 --data imagenet/ --recipe deit

From the table: 300 epochs, batch 1024, AdamW, 5e-4 x batch / 512, cosine, weight decay 0.05, 5 epochs of warm-up, smoothing
0.1, no dropout, stochastic depth 0.1, repeated augmentation 3x, no clipping, RandAugment 9/0.5, mixup 0.8, CutMix 1.0,
erasing 0.25. From the authors' code: the lowest rate 1e-5, erasing with noise, mixing every batch by one of the two,
RandAugment of two operations. An epoch is as many draws as there are images, so with 3x repetition 300 epochs are 100
passes. Averaging is on in the code and off in the table: `--set ema=0.99996`. Ours: the warm-up is a line of steps, not
epochs, and begins at its first step's rate (1e-6 in the code); crops of 8% to 100% of the
area (timm's default). The paper: 72.2, 79.8, 81.8% for Ti, S, B.
""",
    epochs=300,
    batch_size=1024,
    image_size=224,
    lr=5e-4,
    lr_batch=512,
    min_lr=1e-5,
    warmup_epochs=5.0,
    weight_decay=0.05,
    clip_grad=None,
    label_smoothing=0.1,
    mixup=0.8,
    cutmix=1.0,
    resized_crop=(0.08, 1.0),
    flip=0.5,
    randaugment_ops=2,
    randaugment_magnitude=9,
    randaugment_std=0.5,
    erasing=0.25,
    repeats=3,
    drop_path=0.1,
)

DEIT_DISTILLED = replace(
    DEIT,
    name="deit_distilled",
    card="""deit_distilled: deit with hard distillation (arXiv 2012.12877, section 5, "hard-label distillation", and table 3).

    sightline train --model deit_b16_distilled --data imagenet/ --recipe deit_distilled --set teacher=timm:regnety_160.deit_in1k

L = CE(class head, label) / 2 + CE(distillation head, the teacher's class) / 2; labels smoothed, the teacher's class not.
The teacher sees the same augmented image. The paper's is a RegNetY-16GF of 82.9%; any run folder of the same classes will
do. A net without the token learns both from one head (table 3, "hard"). The paper: 74.5, 81.2, 83.4% for Ti, S, B with both
heads.
""",
    distillation="hard",
    distillation_alpha=0.5,
)

DEIT_SOFT = replace(
    DEIT,
    name="deit_soft",
    card="""deit_soft: deit with soft distillation (arXiv 2012.12877, section 5, "soft distillation"; tau 3.0, lambda 0.1).

As the authors' code, the divergence is divided by batch and classes, K times less than the formula says. Table 3: 72.2,
79.8, 81.8% for Ti, S, B, no better than no teacher.
""",
    distillation="soft",
    distillation_alpha=0.1,
    distillation_tau=3.0,
)

DEIT_384 = replace(
    DEIT,
    name="deit_384",
    card="""deit_384: DeiT's fine-tuning at 384 pixels (arXiv 2012.12877, section 3 and 5.1: the same augmentation as in
training).

    sightline train --model deit_b16_384 --data imagenet/ --recipe deit_384 --finetune runs/deit_b16

25 epochs (the paper); positions are resized bicubic, so that vectors keep their length (section 3). Ours, after the
authors' published command as far as known: rate 5e-6 and no schedule, weight decay 1e-8, batch 512, no warm-up. Table 5:
83.1% for B.
""",
    epochs=25,
    batch_size=512,
    image_size=384,
    lr=5e-6,
    lr_batch=None,
    min_lr=5e-6,
    warmup_epochs=0.0,
    weight_decay=1e-8,
)

DEIT_384_DISTILLED = replace(
    DEIT_384,
    name="deit_384_distilled",
    card="""deit_384_distilled: deit_384 with the teacher at the target resolution (arXiv 2012.12877, section 5.1, "Fine-tuning
with distillation"), which the paper describes and the authors' code refuses.

    sightline train --model deit_b16_distilled_384 --data imagenet/ --recipe deit_384_distilled \\
        --finetune runs/deit_b16_distilled --set teacher=timm:regnety_160.deit_in1k

The paper takes a teacher made for 384 by FixRes; here it sees the student's images at its own size. Table 3: 84.5% for B.
""",
    distillation="hard",
    distillation_alpha=0.5,
)

VIT_IMAGENET = Recipe(
    name="vit_imagenet",
    card="""vit_imagenet: ViT from scratch on ImageNet-1k (Dosovitskiy et al. 2021, arXiv 2010.11929, table 3, last row).

    sightline train --model vit_b16 --data imagenet/ --recipe vit_imagenet

From the table: 300 epochs, rate 3e-3, cosine, weight decay 0.3, dropout 0.1; from appendix B.1: Adam (0.9, 0.999), batch
4096, 10,000 steps of warm-up (32 epochs of 312 steps), clipping at norm 1; from section 3.1: a hidden tanh layer before the
classifier. Weight decay is decoupled, as in Google's code. Ours: crops of 8% to 100% and flips, the paper names none; no
smoothing. Fine-tuned at 384 (vit_finetune) the paper has 77.9% for B/16.
""",
    epochs=300,
    batch_size=4096,
    image_size=224,
    lr=3e-3,
    min_lr=0.0,
    warmup_epochs=32.0,
    weight_decay=0.3,
    clip_grad=1.0,
    label_smoothing=0.0,
    resized_crop=(0.08, 1.0),
    flip=0.5,
    dropout=0.1,
    hidden_head=True,
)

VIT_PRETRAIN = replace(
    VIT_IMAGENET,
    name="vit_pretrain",
    card="""vit_pretrain: ViT's pre-training on ImageNet-21k (arXiv 2010.11929, table 3, row "ImageNet-21k", and appendix B.1).

    sightline train --model vit_b16 --data imagenet21k/ --recipe vit_pretrain

90 epochs (B; 30 or 90 for L), rate 1e-3, falling in a line, weight decay 0.03, dropout 0.1, batch 4096, 10,000 steps of
warm-up (2.9 epochs of 3,466 steps). For JFT-300M: `--set epochs=7 --set lr=8e-4 --set weight_decay=0.1 --set dropout=0`
(B).
""",
    epochs=90,
    lr=1e-3,
    schedule="linear",
    warmup_epochs=2.9,
    weight_decay=0.03,
)

VIT_FINETUNE = Recipe(
    name="vit_finetune",
    card="""vit_finetune: ViT's fine-tuning (arXiv 2010.11929, section 3.2, appendix B.1.1 and table 4).

    sightline train --model vit_b16_384 --data imagenet/ --recipe vit_finetune --finetune runs/vit_b16

SGD with momentum 0.9 (not Nesterov's), batch 512, cosine, no weight decay, clipping at norm 1, images of 384; the
classifier begins anew at zero and the hidden layer is left off. The paper counts steps: 20,000 on ImageNet (8 epochs),
10,000 on CIFAR (`--set epochs=102`), 500 on Pets and Flowers, and chooses the rate from 0.003, 0.01, 0.03, 0.06 on held-out
training images. Averaging in table 2: `--set ema=0.9999`. Ours: 500 steps of warm-up (0.2 epochs), the rate 0.01, crops of
5% to 100% as in Google's code for these tasks, and flips.
""",
    epochs=8,
    batch_size=512,
    image_size=384,
    optimizer="sgd",
    nesterov=False,
    lr=0.01,
    min_lr=0.0,
    warmup_epochs=0.2,
    weight_decay=0.0,
    clip_grad=1.0,
    label_smoothing=0.0,
    resized_crop=(0.05, 1.0),
    flip=0.5,
    fresh_head=True,
)

VIT_MASKED = replace(
    VIT_PRETRAIN,
    name="vit_masked",
    card="""vit_masked: ViT's pre-training without labels: masked patches (arXiv 2010.11929, section 4.6 and appendix B.1.2).

    sightline train --model vit_b16 --data imagenet/ --recipe vit_masked --out runs/vit_masked
    sightline train --model vit_b16_384 --data imagenet/ --recipe vit_finetune --finetune runs/vit_masked

Half of the patch embeddings are corrupted (80% hidden, 10% another patch's, 10% left), the mean colour of each is to be
told, 3 bits a channel. From the appendix: Adam at 2e-4, batch 4096, 10,000 steps of warm-up, cosine; a million steps on
JFT, of which the first 100,000 bring nearly all, and ImageNet alone as much. Ours: 320 epochs of ImageNet, which are
100,000 steps; weight decay 0.03, no dropout, no hidden head. The paper: 79.9% for B/16 after fine-tuning, 2 points above no
pre-training, 4 below labels.
""",
    task="masked_patches",
    epochs=320,
    lr=2e-4,
    schedule="cosine",
    warmup_epochs=32.0,
    dropout=0.0,
    hidden_head=False,
)

TRANSFORMERS = (
    DEIT,
    DEIT_DISTILLED,
    DEIT_SOFT,
    DEIT_384,
    DEIT_384_DISTILLED,
    VIT_IMAGENET,
    VIT_PRETRAIN,
    VIT_MASKED,
    VIT_FINETUNE,
)
