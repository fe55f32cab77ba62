"""One progress display with time left for a training or a comparison; plain lines when the output is piped."""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sightline.cli.launched import is_main
from sightline.runs import RunFolder

if TYPE_CHECKING:
    from sightline.compare import Progress as Comparison
    from sightline.train import TrainingProgress


class Display:
    """Bars on a terminal, one line an epoch or a run elsewhere; everything goes to stderr, results alone to stdout."""

    def __init__(self, runs: int) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.main = is_main()
        self.live = self.console.is_terminal and self.main
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            disable=not self.live,
        )
        self.all: TaskID | None = self.bars.add_task("all", total=runs, done="", note="") if runs > 1 else None
        self.one: TaskID | None = None
        self.last_epoch, self.started = -1, time.monotonic()

    def training(self, progress: "TrainingProgress", name: str = "") -> None:
        """Show a training's progress."""
        total = progress.epochs * progress.steps
        done = min(progress.epoch * progress.steps + progress.step, total)
        note = f"loss {progress.train_loss:.3f}"
        if progress.val_accuracy is not None:
            note += f", validation {progress.val_accuracy:.1%}"
        if self.one is None:
            self.one = self.bars.add_task(name or "training", total=total, done="", note=note)
        steps = f"step {done}/{total}"
        self.bars.update(self.one, completed=done, total=total, done=steps, note=note, description=name or "training")
        if self.main and not self.live and not name and progress.epoch != self.last_epoch:
            self.last_epoch = progress.epoch
            typer.echo(f"epoch {progress.epoch + 1}/{progress.epochs}: {note}", err=True)

    def comparison(self, progress: "Comparison") -> None:
        """Show a comparison's progress."""
        label = f"{progress.run.model} (seed {progress.run.seed})"
        training, share = progress.training, 0.0
        if training is None:
            self._announce(progress, label)
            share = 1.0 if progress.state == "measuring" else 0.0
        else:
            share = (training.epoch * training.steps + training.step) / max(training.epochs * training.steps, 1)
            self.training(training, label)
        if self.all is not None:
            done = f"net {progress.position + 1} of {progress.total}"
            note = "measuring its speed, drawing its maps" if progress.state == "measuring" else ""
            self.bars.update(self.all, completed=progress.position + min(share, 1.0), done=done, note=note)

    def _announce(self, progress: "Comparison", label: str) -> None:
        """A run begins, is reused, or its training has ended and it is measured."""
        if progress.state == "measuring":
            return
        if self.one is not None:
            self.bars.remove_task(self.one)
            self.one = None
        words = {"new": "training", "begun": "continuing", "finished": "reusing the finished run"}
        if not self.live:
            place = f"[{progress.position + 1}/{progress.total}]"
            elapsed = time.monotonic() - self.started
            typer.echo(f"{place} {label}: {words[progress.state]} ({elapsed:.0f} s so far)", err=True)
        elif progress.state == "finished":
            self.console.print(f"{label}: reusing the finished run")


@contextmanager
def display(runs: int = 1, folder: Path | None = None) -> Iterator[Display]:
    """A display for that many runs, of a comparison or, with the folder, of one training; an interrupt says how it goes on."""
    shown = Display(runs)
    with shown.bars:
        try:
            yield shown
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_how_to_go_on(folder)) from None


def _how_to_go_on(folder: Path | None) -> str:
    if folder is None:
        return "what had finished is kept; the same command continues"
    begun = RunFolder(folder).exists()
    return f"`sightline train --out {shlex.quote(str(folder))} --resume` continues it" if begun else ""


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar for work in counted steps: call it with steps done, their number, and the name of the next ("" at the end)."""
    shown, started = Display(1), time.monotonic()

    def step(done: int, total: int, name: str) -> None:
        if shown.one is None:
            shown.one = shown.bars.add_task(what, total=total, done="", note="")
        shown.bars.update(shown.one, completed=done, done=f"{done}/{total}", note=name)
        if not shown.live and name:
            typer.echo(f"[{done + 1}/{total}] {what}: {name} ({time.monotonic() - started:.0f} s so far)", err=True)

    with shown.bars:
        yield step


@contextmanager
def shares(what: str) -> Iterator[Callable[[float, str], None]]:
    """A bar for work of many kinds: call it with the share that is done, 0..1, and the name of what runs ("" at the end)."""
    shown, started, last = Display(1), time.monotonic(), ""

    def step(share: float, name: str) -> None:
        nonlocal last
        if shown.one is None:
            shown.one = shown.bars.add_task(what, total=1.0, done="", note="")
        shown.bars.update(shown.one, completed=share, done=f"{share:.0%}", note=name)
        if not shown.live and name and name.split()[0] != last:
            last = name.split()[0]
            typer.echo(f"[{share:.0%}] {what}: {name} ({time.monotonic() - started:.0f} s so far)", err=True)

    with shown.bars:
        yield step
