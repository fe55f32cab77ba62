"""Load the data of a verb: progress of a long decoding, and a word on every file that was left out."""

import typer
from rich.console import Console
from rich.progress import Progress

from sightline.cli.launched import is_main
from sightline.data import Splits, Unreadable, load_splits
from sightline.recipes import Recipe

SHOWN = 5


def load(source: str, recipe: Recipe, max_unreadable: float = 0.01) -> Splits:
    """Load the splits a recipe asks for; files that can not be read are named on stderr."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not (console.is_terminal and is_main()), transient=True) as bar:
        task = bar.add_task("decoding", total=None)
        splits = load_splits(
            source,
            image_size=recipe.image_size,
            train_limit=recipe.train_limit,
            test_limit=recipe.test_limit,
            max_unreadable=max_unreadable,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if is_main():
        report_unreadable(splits.unreadable)
    return splits


def report_unreadable(unreadable: tuple[Unreadable, ...]) -> None:
    """Name the files that were left out, the first few and how many more."""
    for one in unreadable[:SHOWN]:
        typer.secho(f"Left out: {one.name}: {one.reason}", fg="yellow", err=True)
    if len(unreadable) > SHOWN:
        typer.secho(f"Left out: {len(unreadable) - SHOWN} more files that can not be read", fg="yellow", err=True)
