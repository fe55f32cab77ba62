"""The nets and pictures of `sightline explain`: whichever were named, each picture as each net sees it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline.cli.opened import check_channels
from sightline.data import View, fit_image, normalise, open_image, read_image, seen_box
from sightline.weights import ModelMeta, create_model, load_net, load_run, meta_of
from sightline.weights.box import boxed

SHOWN = 360  # pixels of a panel's longer side, about


@dataclass(frozen=True)
class Net:
    """A net to be explained."""

    name: str
    model: nn.Module
    meta: ModelMeta
    trained: bool = True

    @property
    def view(self) -> View:
        """How it sees a picture."""
        return View(self.meta.crop, self.meta.crop_mode == "squash", self.meta.interpolation)


@dataclass(frozen=True)
class Seen:
    """A picture as a net sees it: normalised (1, C, H, W), and the same part to look at, (h, w, 3) uint8."""

    file: str
    input: Tensor
    shown: np.ndarray
    box: tuple[float, float, float, float]
    picture: tuple[int, int]

    def pixel(self, row: int, col: int) -> tuple[int, int]:
        """A pixel of the file as a pixel of the net's input.

        Raises:
            ValueError: it lies outside the picture, or outside the part that the net sees.
        """
        rows, cols = self.picture
        if not (0 <= row < rows and 0 <= col < cols):
            raise ValueError(f"pixel ({row}, {col}) lies outside {self.file}, which has {rows} rows and {cols} columns")
        top, left, bottom, right = self.box
        height, width = self.input.shape[2:]
        inside = top <= row + 0.5 < bottom and left <= col + 0.5 < right
        if not inside:
            raise ValueError(
                f"pixel ({row}, {col}) of {self.file} lies outside what the net sees of it, rows {top:.0f} to {bottom:.0f} "
                f"and columns {left:.0f} to {right:.0f}; choose another, or show it all with --size {_proportional(self)}"
            )
        return int((row + 0.5 - top) * height / (bottom - top)), int((col + 0.5 - left) * width / (right - left))


def load_nets(models: Sequence[str], runs: Sequence[str], weights: str | None, untrained: bool) -> list[Net]:
    """The nets of `--model NAME` or `NAME=WEIGHTS` and of `--run`.

    Raises:
        ValueError: none was named, a name has no weights and `untrained` was not asked for, or a net takes other than RGB.
    """
    nets = [_named(one, weights, untrained) for one in models]
    for run in runs:
        model, meta = load_run(run)
        nets.append(Net(meta.name, model, meta))
    if not nets:
        raise ValueError(
            "name at least one net: --run FOLDER, or --model NAME (with --weights, or --model NAME=WEIGHTS)"
        )
    for net, given in zip(nets, [*models, *runs], strict=True):
        check_channels(net.meta, given)
    return _told_apart(nets, [*models, *runs])


def _named(given: str, weights: str | None, untrained: bool) -> Net:
    name, _, own = given.partition("=")
    source = own or weights or next(iter(boxed(name)), None)
    if source is not None:
        return Net(name, *load_net(name, source))
    model = create_model(name)
    if not untrained:
        raise ValueError(
            f"no weights of {name!r} come with sightline, and without any its maps say nothing; give --model {name}=FILE, "
            "--run FOLDER of a trained net, or --untrained to look at its random weights all the same"
        )
    return Net(name, model.eval(), meta_of(model), trained=False)


def _told_apart(nets: list[Net], given: Sequence[str]) -> list[Net]:
    """Nets of one name are called by what was given for them too."""
    counts = Counter(net.name for net in nets)
    return [
        net if counts[net.name] == 1 else Net(f"{net.name} ({where})", net.model, net.meta, net.trained)
        for net, where in zip(nets, given, strict=True)
    ]


def see(file: str, net: Net, size: tuple[int, int] | None = None) -> Seen:
    """A picture as a net sees it, at the net's size or another.

    Raises:
        UnreadableImage: the file is no picture.
    """
    image, wanted = open_image(file), size or net.meta.image_size
    picture = (image.height, image.width)
    box = seen_box(picture, wanted, net.view)
    pixels = read_image(
        file, wanted, view=net.view
    )  # as training and predict read it, so that the net answers as there
    enlarged = _enlarged(wanted, box)
    shown = fit_image(image, enlarged, net.view) if enlarged != wanted else pixels
    like = next(net.model.parameters())
    return Seen(
        file,
        normalise(pixels[None], net.meta.mean, net.meta.std).to(like.device, like.dtype),
        shown.permute(1, 2, 0).numpy(),
        box,
        picture,
    )


def _enlarged(size: tuple[int, int], box: tuple[float, float, float, float]) -> tuple[int, int]:
    """A whole multiple of the net's size that is pleasant to look at and no larger than the picture itself."""
    most = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1], SHOWN / max(size))
    return size[0] * max(int(most), 1), size[1] * max(int(most), 1)


def _proportional(seen: Seen) -> str:
    """A --size for the whole picture, as many pixels as the net's input has."""
    rows, cols = seen.picture
    scale = (seen.input.shape[2] * seen.input.shape[3] / (rows * cols)) ** 0.5
    return f"{max(round(rows * scale), 1)},{max(round(cols * scale), 1)}"


@torch.no_grad()
def answers(net: Net, seen: Seen) -> tuple[str, float]:
    """The most probable class and its probability."""
    probability = net.model(seen.input).float().softmax(1)[0]
    best = int(probability.argmax())
    return class_name(net.meta, best), float(probability[best])


def class_name(meta: Any, index: int) -> str:
    """A class by its name, else by its number."""
    return meta.classes[index] if index < len(meta.classes) else f"class {index}"


def class_index(meta: Any, wanted: str) -> int:
    """A class by its name or its number. Raises ValueError, which names some, when there is none."""
    if wanted in meta.classes:
        return list(meta.classes).index(wanted)
    if wanted.isdecimal():
        return int(wanted)
    raise ValueError(
        f"the net knows no class {wanted!r}; it knows {', '.join(meta.classes[:12])}{' ...' * (len(meta.classes) > 12)}"
    )
