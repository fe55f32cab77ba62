"""What goes wrong with weights."""

from collections.abc import Sequence

from sightline.runs import RunFolderError


class WeightsError(RunFolderError):
    """Weights can not be found, read, recognised, or do not fit; the message names the file and the remedy."""


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names for a message: the first few, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
