"""Every colour mode to RGB: 16-bit grey is scaled, not clipped; whatever shines through becomes white.

Ours: 16-bit grey maps 0 .. 65535 to 0 .. 255, the same for every picture, so that brightness stays comparable.
Ours: 32-bit integers within 0 .. 65535 count as 16-bit; floats within 0 .. 1 as shares of white, within 0 .. 255 as they are;
      beyond that the picture's own lowest and highest value become black and white. NaN and infinities become black.
Ours: CMYK by Pillow's plain formula; colour profiles are not applied.
"""

import numpy as np
from PIL import Image

SIXTEEN_BITS = 65535


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded picture of any mode to RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey(image).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    # Premultiplied modes convert to their plain ones only, and LA only reaches RGBA after that.
    plain = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
    picture = image.convert(plain).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    values[~np.isfinite(values)] = 0.0
    black, white = _range(image.mode, float(values.min()), float(values.max()))
    scaled = (values - black) * (255.0 / (white - black))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _range(mode: str, low: float, high: float) -> tuple[float, float]:
    """Which values are black and white."""
    if mode.startswith("I;16"):
        return 0.0, SIXTEEN_BITS
    for limit in (1.0, 255.0) if mode == "F" else (SIXTEEN_BITS,):
        if low >= 0 and high <= limit:
            return 0.0, limit
    return low, high if high > low else low + 1.0
