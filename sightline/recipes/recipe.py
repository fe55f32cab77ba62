"""A recipe: one run as data. Flat, frozen, typed by its annotations; a value outside its range is refused when it is made.

Sources of single fields: label smoothing, mixup, cutmix, RandAugment, erasing, stochastic depth and the distillation terms as in
DeiT (arXiv 2012.12877, table 9 and section 5); each recipe's own values are explained in its run card, the field `card`.
Ours: one batch size, the global one; a learning rate is rescaled by the batch only where `lr_batch` says so, and is logged.
"""

from dataclasses import dataclass
from typing import Literal

from sightline.recipes.rules import check


@dataclass(frozen=True)
class Recipe:
    """One training run. Rates are shares 0..1, durations are epochs, sizes are pixels.

    Raises:
        ValueError: a field is outside its range; the message quotes field, value and rule.
        TypeError: a field has another type than its annotation.
    """

    name: str = "mini"
    card: str = ""  # where the values come from, what to expect
    epochs: int = 30
    batch_size: int = 64  # the global one: images an optimiser step, over all processes and accumulation
    image_size: int | None = None  # short side when the data are loaded; None: as they are
    small_size: int | None = (
        None  # side in the first epoch; it grows to the full one, see train/resize.py; None: full from the start
    )
    small_epochs: int = 0  # epochs until the full size is reached
    train_limit: int | None = None  # images used when the data are loaded; None: all
    test_limit: int | None = None
    seed: int = 0
    task: Literal["classes", "masked_patches"] = "classes"  # masked_patches: ViT's pre-training without labels

    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    lr: float = 1e-3
    lr_batch: int | None = None  # the rate used is lr * batch_size / lr_batch; None: it is lr, whatever the batch
    min_lr: float = 1e-5  # where cosine and line end
    schedule: Literal["cosine", "linear", "step"] = "cosine"
    step_epochs: float = 30.0  # step: epochs between two falls of the rate
    step_factor: float = 0.1  # step: what it is multiplied by
    warmup_epochs: float = 2.0
    weight_decay: float = 0.05  # not on norms, biases, nor what the model exempts
    momentum: float = 0.9
    nesterov: bool = True  # form of the momentum
    betas: tuple[float, float] = (0.9, 0.999)
    clip_grad: float | None = 1.0  # largest norm of the gradient; None: no clipping

    label_smoothing: float = 0.1
    mixup: float = 0.0  # alpha of the Beta distribution; 0: off
    cutmix: float = 0.0  # alpha; with mixup too, each batch takes one of the two
    mix_prob: float = 1.0  # share of batches that are mixed
    crop_padding: int = 0
    resized_crop: tuple[float, float] | None = (
        None  # shares of the area of a crop that is enlarged; in place of crop_padding
    )
    flip: float = 0.0  # probability of a left-right flip
    randaugment_ops: int = 0
    randaugment_magnitude: int = 9  # 0 to 10
    randaugment_std: float = 0.0  # spread of the magnitude
    erasing: float = 0.0  # probability
    erasing_mode: Literal["noise", "colour", "zero"] = "noise"
    repeats: int = 1  # repeated augmentation: times an image is drawn in a row, 3 in DeiT

    dropout: float = 0.0
    drop_path: float = 0.0  # stochastic depth at the deepest block
    hidden_head: bool = False  # ViT's pre-training head: a hidden tanh layer before the classifier
    fresh_head: bool = False  # after --finetune, the classifier begins anew even when its shape fits
    ema: float | None = None  # decay of the averaged weights; None: no averaging
    accumulate: int = 1  # parts into which a process cuts its share of the batch
    device_batch: int | None = None  # most images of a forward pass; larger shares are cut into more parts
    precision: Literal["no", "bf16", "fp16"] = "no"
    channels_last: bool = False  # memory layout of weights and images; faster for convolutions
    grad_checkpointing: bool = False  # compute activations again in the backward pass instead of keeping them
    compile: bool = False  # torch.compile
    sharded: bool = False  # FSDP2: weights, gradients and moments lie in pieces on the processes

    distillation: Literal["none", "soft", "hard"] = "none"
    distillation_alpha: float = 0.5  # weight of the teacher's term
    distillation_tau: float = 1.0  # temperature of the soft form
    teacher: str | None = None  # a run folder, a weights file of a run, or MODEL:FILE

    workers: int = 0  # threads that decode images ahead
    eval_every: int = 1  # epochs
    checkpoint_every: int = 1  # epochs
    checkpoint_steps: int | None = None  # within an epoch too, every so many steps; None: at the ends of epochs alone

    def __post_init__(self) -> None:
        check(self)
        if self.min_lr > self.peak_lr and self.schedule != "step":
            rule = "" if self.lr_batch is None else f" = {self.lr:g} x {self.batch_size} / {self.lr_batch} (lr_batch)"
            raise ValueError(f"min_lr must not exceed lr; got min_lr={self.min_lr!r}, lr={self.peak_lr!r}{rule}")
        if self.clip_grad == 0:
            raise ValueError("clip_grad=0 leaves nothing of a gradient; for no clipping set clip_grad=none")
        if max(self.betas) == 1:
            raise ValueError(f"betas must be below 1; got {self.betas}")
        if self.resized_crop is not None and self.crop_padding:
            raise ValueError(f"choose one crop: crop_padding={self.crop_padding} or resized_crop={self.resized_crop}")
        if self.optimizer == "muon" and self.sharded:
            raise ValueError("optimizer='muon' needs whole matrices and sharded=True cuts them; choose adamw or sgd")

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up: lr, or lr * batch_size / lr_batch."""
        return self.lr if self.lr_batch is None else self.lr * self.batch_size / self.lr_batch
