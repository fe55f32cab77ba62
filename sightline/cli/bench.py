"""`sightline bench`: how fast operators, layers and nets are on this machine."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.app import app
from sightline.cli.output import Format, show

if TYPE_CHECKING:
    from sightline.bench import Settings

ALL, GPU, CUDA = "all", "gpu", "cuda"


@app.command(
    epilog="Examples: `sightline bench ops --quick` · `sightline bench ops --only 'local_attention*' --out ops.json` · "
    "`sightline bench cuda --device cuda --minutes 7 --out gpu.json`"
)
def bench(
    section: Annotated[
        str, typer.Argument(help="ops, layers, nets, scaling; gpu, gpu_nets, both: cuda (with --device cuda); or all.")
    ] = ALL,
    only: Annotated[str, typer.Option(help="Glob over the names of cases.")] = "*",
    quick: Annotated[bool, typer.Option("--quick", help="Few and small cases, a minute or two.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Samples of every contender.")] = 9,
    seconds: Annotated[
        float, typer.Option(help="Of a contender in one direction, after which it sits out; three samples in any case.")
    ] = 0.5,
    minutes: Annotated[
        float | None, typer.Option(help="After which no further case begins; --resume goes on with the rest.")
    ] = None,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too.")] = True,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the CPU; torch's own choice when not given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A JSON file for all samples; cases it has already are renewed.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out cases that the file has from this commit.")
    ] = False,
    output: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Time operators, layers and nets against what they replace, every answer checked first.

    Contenders are timed in turn, so that noise hits all alike: the operator by each backend, the reference, the unfold that
    public versions use, torch's own attention with a mask, FlexAttention, and the convolution of the same stage. A contender that
    gives a wrong answer gets no time, but stays in the table. "of baseline" is time over that of the fastest baseline, round by
    round.
    """
    from sightline.bench import SECTIONS, Settings

    if section not in (ALL, CUDA, *SECTIONS):
        raise ValueError(f"there is no section {section!r}; there are: {', '.join(SECTIONS)}, {CUDA}, {ALL}")
    if minutes is not None and not minutes > 0:
        raise ValueError(f"--minutes must be positive; got {minutes}")
    _prepare(device, threads)
    settings = Settings(device, rounds, seconds, memory=memory, quick=quick, only=only)
    names = _sections(section, settings)
    paths = [
        out if out is None or section not in (ALL, CUDA) else out.with_name(f"{out.stem}_{name}{out.suffix or '.json'}")
        for name in names
    ]
    chosen = [_remaining(settings, name, path, resume) for name, path in zip(names, paths, strict=True)]
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    for index, (name, path, left) in enumerate(zip(names, paths, chosen, strict=True)):
        label = name if len(names) == 1 else f"{name}, section {index + 1} of {len(names)}"
        _print(_shown(name, left, path, label, end), output)
        if time.monotonic() > end:
            break


def _remaining(settings: "Settings", section: str, path: Path | None, resume: bool) -> "Settings":
    """Without the cases that the file has from this commit, when asked to resume. A file of another machine is refused now, before
    anything is measured."""
    from dataclasses import replace

    from sightline.bench.store import fitting, measured_at
    from sightline.runs import environment

    if path is None or not path.exists():
        return settings
    here = environment(settings.device)
    fitting(path, section, here)
    return replace(settings, skip=measured_at(path, here["commit"])) if resume else settings


def _prepare(device: str, threads: int | None) -> None:
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}: torch sees no GPU here; use --device cpu")
    if threads is not None:
        torch.set_num_threads(threads)


def _sections(section: str, settings: "Settings") -> list[str]:
    """The sections meant; with all of them, those in which `--only` matches something."""
    from sightline.bench import SECTIONS, case_names

    if section not in (ALL, CUDA):
        return [section]
    found = []
    for name in SECTIONS:
        for_gpu = name.startswith(GPU)
        if (section == CUDA and not for_gpu) or (section == ALL and for_gpu and not settings.device.startswith("cuda")):
            continue
        try:
            case_names(name, settings)
        except ValueError:
            continue
        found.append(name)
    if not found:
        raise ValueError(f"no case of any section matches {settings.only!r}")
    return found


class _TimeIsUpError(Exception):
    """Carries what has been measured."""


def _shown(section: str, settings: "Settings", path: Path | None, label: str, end: float = math.inf) -> dict[str, Any]:
    """Run a section under a progress display with the time left; the file is written after every case, so an interrupt keeps it.

    No case begins after the time `end`.
    """
    from sightline.bench import run
    from sightline.bench.store import merge, write
    from sightline.cli.progress import counting

    def keep(measured: dict[str, Any]) -> None:
        if path is not None:
            write(path, merge(path, measured))
        if time.monotonic() > end:
            raise _TimeIsUpError(measured)

    with counting(label) as step:
        try:
            measured = run(section, settings, lambda progress: step(progress.done, progress.total, progress.name), keep)
        except _TimeIsUpError as stop:
            measured = stop.args[0]
            typer.secho(f"The time is up after {len(measured['cases'])} cases of {section}.", err=True)
        except KeyboardInterrupt:
            kept = "nothing is kept without --out" if path is None else f"the cases that had ended are in {path}"
            again = "" if path is None else "; --resume leaves them out next time"
            typer.secho(f"Interrupted: {kept}{again}.", err=True)
            raise typer.Exit(130) from None
    if path is not None:
        typer.echo(f"wrote {path}", err=True)
    return measured


def _print(measured: dict[str, Any], output: Format) -> None:
    from sightline.bench import table

    if output is Format.JSON:
        import json

        print(json.dumps(measured, indent=1))
        return
    rows = table.section_rows(measured)
    if output is Format.TABLE and rows:
        print(table.headline(measured))
        rows = [{key: value for key, value in row.items() if any(other[key] for other in rows)} for row in rows]
    show(rows, output, right=[key for key in (rows[0] if rows else []) if key not in ("case", "contender", "note")])
