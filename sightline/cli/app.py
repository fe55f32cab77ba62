"""The command's frame: its verbs, its errors, its exit codes.

Exit codes: 0 done; 1 the work failed (the message says why and what to do); 2 the command line is wrong; 130 interrupted.
"""

import io
import os
import sys
from typing import Annotated

import typer

from sightline import __version__

app = typer.Typer(
    help="Attention for image recognition: train, compare and look at eight systems.",
    epilog="Start with: sightline demo",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sightline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def fail(message: str) -> typer.Exit:
    """Print an error to stderr; raise what it returns to end with exit code 1."""
    typer.secho(f"Error: {message}", fg="red", err=True)
    return typer.Exit(1)


def _run() -> None:
    """Run the verb; raise BrokenPipeError and KeyboardInterrupt, which typer and rich turn into exit codes without a word."""
    try:
        app()
    except SystemExit as end:
        for hidden in (end.__context__, end.__context__ and end.__context__.__cause__):
            if isinstance(hidden, BrokenPipeError | KeyboardInterrupt):
                raise hidden from None
        raise
    finally:
        sys.stdout.flush()


def main() -> None:
    """Run the command; expected errors become one clear sentence, not a traceback (set SIGHTLINE_TRACEBACK=1 to see it)."""
    from sightline.cli import verbs  # noqa: F401 (importing attaches the verbs)
    from sightline.cli.allocator import keep_freed_memory

    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name that is no text must not cost the other rows
    try:
        _run()
    except KeyboardInterrupt as stop:
        typer.secho(f"Interrupted: {stop}" if str(stop) else "Interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (head, less) has gone: no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        if os.environ.get("SIGHTLINE_TRACEBACK"):
            raise
        message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        typer.secho(f"Error: {message or type(error).__name__}", fg="red", err=True)
        sys.exit(1)
