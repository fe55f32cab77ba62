"""The catalogue counted: every net at its own image size and number of classes, beside what its paper prints.

`counts.json` keeps the counts of all nets, for a listing that can not wait; `make catalogue` renews it, and a test counts anew.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sightline.backbones import NETS, Printed, create_model, own_classes, own_size
from sightline.cost.count import ModelCost, count_spent

NOTHING = Printed("")
COUNTS = Path(__file__).with_name("counts.json")


FILLING = {"normal_", "uniform_", "fill_", "zero_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_"}


class _Unfilled(TorchFunctionMode):
    """Fill no tensor: starting values are nothing on the meta device, and take a third of the time to count a net."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in FILLING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Entry:
    """A net of the catalogue: its cost and what the paper prints of it (empty fields where it prints nothing).

    Args:
        model: the net's name.
        num_classes: outputs of the classifier.
        cost: of one image.
        printed: what the paper prints.
    """

    model: str
    num_classes: int
    cost: ModelCost
    printed: Printed = NOTHING

    @property
    def parameters_off(self) -> float | None:
        """Our parameters over the printed ones, less one; None when the paper prints none."""
        printed = self.printed.parameters
        return self.cost.parameters / (float(printed) * 1e6) - 1 if printed else None

    @property
    def flops_off(self) -> float | None:
        """Our multiply-adds, counted as the paper counts, over the printed ones, less one; None when the paper prints none."""
        printed = self.printed.flops
        return self.cost.macs * self.printed.flops_per_mac / (float(printed) * 1e9) - 1 if printed else None

    @property
    def as_printed(self) -> bool:
        """Do our parameters, rounded as the paper rounds, give the printed digits? True when it prints none."""
        printed = self.printed.parameters
        digits = len(printed.partition(".")[2])
        return not printed or f"{self.cost.parameters / 1e6:.{digits}f}" == printed


def count_entry(name: str, image_size: Sequence[int] | None = None, num_classes: int | None = None) -> Entry:
    """Count a net of the catalogue, on the meta device: nothing is allocated.

    Args:
        name: see `sightline.list_models`.
        image_size: rows and columns; None: the net's own. For another size than its own nothing printed is quoted.
        num_classes: outputs; None: the net's own. As above.
    """
    own = own_size(name), own_classes(name)
    size = own[0] if image_size is None else (image_size[0], image_size[1])
    classes = own[1] if num_classes is None else num_classes
    with torch.device("meta"), _Unfilled():
        model = create_model(name, num_classes=classes, img_size=size)
    printed = NETS[name].printed if (size, classes) == own else None
    return Entry(name, classes, count_spent(model, size), printed or NOTHING)


def known_counts() -> dict[str, tuple[int, int]]:
    """(parameters, multiply-adds) by name, as last written by `make catalogue`."""
    return {name: (parameters, macs) for name, (parameters, macs) in json.loads(COUNTS.read_text()).items()}
