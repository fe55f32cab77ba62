"""One of several processes of a launcher (torchrun, accelerate launch): the first speaks, the others work in silence."""

import logging
import os

import typer


def is_main() -> bool:
    """Is this the process that speaks?"""
    return os.environ.get("RANK", "0") == "0"


def show_notes() -> None:
    """Show on stderr what a training notes: how the batch was cut, which checkpoint it went on from, unreadable pictures."""
    for logger in map(logging.getLogger, ("sightline.train", "sightline.data")):
        if is_main() and not any(isinstance(handler, _Echo) for handler in logger.handlers):
            logger.addHandler(_Echo())
            logger.setLevel(logging.INFO)
            logger.propagate = False


class _Echo(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Print one note."""
        typer.secho(record.getMessage(), fg="yellow" if record.levelno >= logging.WARNING else None, err=True)
