"""Several processes that train one model: what one of them says when another is gone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_LOST = re.compile("connection (closed|reset|refused)|broken pipe|timed out|nccl|gloo|socket", re.IGNORECASE)


class LostProcessError(RuntimeError):
    """Another process of the same training ended or can not be reached."""


@contextmanager
def naming_the_lost(processes: int) -> Iterator[None]:
    """Within the context, what a communication library says of a lost process becomes a LostProcessError with the remedy."""
    try:
        yield
    except RuntimeError as error:
        if processes == 1 or type(error).__module__.startswith("sightline") or not _LOST.search(str(error)):
            raise
        raise LostProcessError(
            f"another of the {processes} processes of this training ended or can not be reached; its own message says why. "
            f"The last checkpoint is kept, resume continues from it ({error})"
        ) from error
