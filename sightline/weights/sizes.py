"""How large is too large: a file that unpacks to far more than it holds is an attack or a mistake, and is refused unread."""

from pathlib import Path

from sightline.weights.errors import WeightsError

RATIO = 50  # times the size of the file; weights hardly compress
FREE = 2**28  # bytes below which nobody is harmed


def check_size(file: Path, declared: int, what: str) -> None:
    """Refuse contents that claim far more bytes than their file has.

    Raises:
        WeightsError: `declared` bytes are more than RATIO times the file, and more than FREE.
    """
    if declared > max(FREE, RATIO * file.stat().st_size):
        raise WeightsError(
            f"{file} is refused: {what} claims {declared / 1e9:,.1f} GB in a file of {file.stat().st_size / 1e6:,.1f} MB, "
            "which no weights do. Nothing of it was unpacked; get the file anew from a source you trust"
        )
