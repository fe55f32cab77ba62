"""Colour maps of the attention maps, as anchors to interpolate between: viridis for weights, blue-white-red for signed ones.

Both are even to the eye and safe for colour-blind readers. Sources: viridis by S. van der Walt and N. Smith (CC0);
RdBu by C. Brewer, ColorBrewer 2.0 (Apache-2.0), here reversed.
"""

_VIRIDIS = "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725"
_RDBU = "0530612065ab4393c390c4ddd1e5f0f7f6f6fddbc7f3a481d6604db1182b67001f"


def _anchors(digits: str) -> list[str]:
    return [digits[i : i + 6] for i in range(0, len(digits), 6)]


WEIGHTS = _anchors(_VIRIDIS)
SIGNED = _anchors(_RDBU)
