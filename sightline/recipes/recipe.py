"""A recipe: one run as data. Flat, frozen, typed by its annotations; a value outside its range is refused when it is made.

Sources of single fields: label smoothing, mixup, cutmix, RandAugment, erasing, stochastic depth and the distillation terms as in
DeiT (arXiv 2012.12877, table 9 and section 5); each recipe's own values are explained in its run card, the field `card`.
Ours: one batch size, the global one; learning rates are absolute and never rescaled in silence.
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

    optimizer: Literal["adamw", "sgd"] = "adamw"  # sgd: Nesterov momentum
    lr: float = 1e-3
    min_lr: float = 1e-5
    warmup_epochs: float = 2.0
    weight_decay: float = 0.05  # not on norms, biases, nor what the model exempts
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    clip_grad: float | None = 1.0  # largest norm of the gradient; None: no clipping

    label_smoothing: float = 0.1
    mixup: float = 0.0  # alpha of the Beta distribution; 0: off
    cutmix: float = 0.0  # alpha; with mixup too, each batch takes one of the two
    mix_prob: float = 1.0  # share of batches that are mixed
    crop_padding: int = 0
    flip: float = 0.0  # probability of a left-right flip
    randaugment_ops: int = 0
    randaugment_magnitude: int = 9  # 0 to 10
    erasing: float = 0.0  # probability
    repeats: int = 1  # repeated augmentation: times an image is drawn in a row, 3 in DeiT

    drop_path: float = 0.0  # stochastic depth at the deepest block
    ema: float | None = None  # decay of the averaged weights; None: no averaging
    accumulate: int = 1  # parts into which a process cuts its share of the batch
    precision: Literal["no", "bf16", "fp16"] = "no"
    channels_last: bool = False  # memory layout of weights and images; faster for convolutions

    distillation: Literal["none", "soft", "hard"] = "none"
    distillation_alpha: float = 0.5  # weight of the teacher's term
    distillation_tau: float = 1.0  # temperature of the soft form
    teacher: str | None = None  # a run folder, a weights file of a run, or MODEL:FILE

    workers: int = 0  # threads that decode images ahead
    eval_every: int = 1  # epochs
    checkpoint_every: int = 1  # epochs

    def __post_init__(self) -> None:
        check(self)
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr must not exceed lr; got min_lr={self.min_lr!r}, lr={self.lr!r}")
