"""What timm's registry is told about every small net: images of 32 x 32 unless said otherwise, no downloadable weights."""

from collections.abc import Mapping
from typing import Any

from timm.models import generate_default_cfgs


def small_cfgs(classifiers: Mapping[str, str | tuple[str, ...]], first_conv: str) -> dict[str, Any]:
    """timm's default configurations of small nets, from the classifier's module name(s) by net and the first layer's name."""
    shared = {
        "input_size": (3, 32, 32),
        "fixed_input_size": False,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "first_conv": first_conv,
        "license": "apache-2.0",
    }
    return generate_default_cfgs({name: shared | {"classifier": head} for name, head in classifiers.items()})
