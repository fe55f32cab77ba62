"""Nets of a few hundred parameters and images of three classes, so that a whole training takes a tenth of a second."""

import timm
import torch
from timm.models import register_model
from torch import nn

from sightline.data import MemorySet, Splits
from sightline.recipes import Recipe

CNN, TWO_HEADS, STEPS = "tiny_cnn_for_tests", "tiny_two_heads_for_tests", 3
RECIPE = Recipe(
    name="tiny", epochs=2, batch_size=8, lr=0.02, warmup_epochs=0.5, label_smoothing=0.1, crop_padding=1, flip=0.5
)


class TinyNet(nn.Module):
    """Convolution, normalisation, stochastic dropout, linear; two heads when asked."""

    def __init__(self, num_classes: int, in_chans: int, drop_path_rate: float = 0.0, width: int = 8, heads: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = timm.layers.DropPath(drop_path_rate)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(width, num_classes)
        self.fc_dist = nn.Linear(width, num_classes) if heads == 2 else None
        self.distilled_training, self.num_classes = False, num_classes

    def set_distilled_training(self, enable: bool = True) -> None:
        self.distilled_training = enable

    def reset_classifier(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.fc.in_features, num_classes)

    def no_weight_decay(self) -> set[str]:
        return {"conv.weight"}

    def forward(self, x):
        x = self.act(self.drop(self.norm(self.conv(x)))).mean((2, 3))
        if self.fc_dist is None:
            return self.fc(x)
        if self.training and self.distilled_training:
            return self.fc(x), self.fc_dist(x)
        return (self.fc(x) + self.fc_dist(x)) / 2


def _build(heads: int, options: dict) -> TinyNet:
    keys = ("num_classes", "in_chans", "drop_path_rate", "width")
    return TinyNet(**{key: options[key] for key in keys if key in options}, heads=heads)


@register_model
def tiny_cnn_for_tests(pretrained=False, **options):
    return _build(1, options)


@register_model
def tiny_two_heads_for_tests(pretrained=False, **options):
    return _build(2, options)


def image_set(count: int, seed: int, size: tuple[int, int] = (6, 5)) -> MemorySet:
    """Images whose class is the channel that is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 120, (count, 3, *size), generator=generator, dtype=torch.uint8)
    images[torch.arange(count), labels] += 100
    return MemorySet(images, labels, ("red", "green", "blue"), [f"{seed}-{index}.png" for index in range(count)])


def splits(train: int = 8 * STEPS + 2, **changes) -> Splits:
    """Three steps an epoch at batch 8, and a remainder."""
    fields = {
        "train": image_set(train, 1),
        "val": image_set(9, 2),
        "test": image_set(12, 3),
        "classes": ("red", "green", "blue"),
        "source": "tiny",
        "image_size": (6, 5),
        "mean": (0.4, 0.4, 0.4),
        "std": (0.2, 0.2, 0.2),
        "unreadable": (),
        "fingerprint": "f1",
    }
    return Splits(**(fields | changes))
