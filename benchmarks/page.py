"""Write docs/performance.md and its picture from the committed measurements, docs/results/bench_*.json.

make bench                                    # measure everything, then this
.venv/bin/python benchmarks/page.py build     # take over the measurements in build/, then this
.venv/bin/python benchmarks/page.py     # this alone
"""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bars import bars

from sightline.bench import SECTIONS, Settings
from sightline.bench.nets import NET_SECONDS
from sightline.bench.read import limit
from sightline.bench.table import section_rows
from sightline.cost.timing import LEAST

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "performance.png"
NUMBERS = ("case", "contender", "net", "note")  # columns that are words
HEAD = """# Performance on a CPU

Written by `make bench` from its measurements, [docs/results](results); nothing here is edited by hand. Every contender's answer is
checked before it is timed; losses stand beside wins. Ratios travel to other machines, milliseconds do not.

![Time over the convolution's at each stage, and growth with the number of pixels](images/performance.png)

"""
HOW = """
## How it is measured

- **Correctness first.** Each contender runs on the whole batch; output and gradients of its first image are compared with the
  definition in float64. More than 2e-4 of the largest value off, and it gets no time: its row says so.
- **In turn.** A sample is the mean of as many calls as take {sample:g} ms. Every round takes one sample of each contender of
  a case, starting with another one each time, in one process. Shown are median (quartiles) of up to {rounds} rounds; a contender
  whose samples took {seconds:g} s (nets: {net_seconds:g} s) sits out further rounds, but not before {least}. A ratio is the median
  of the ratios within each round that both were in. The JSON holds all samples.
- **Against.** *sightline* is the operator as it runs by itself, the backend it takes stands in the last column; *sightline
  reference* is its definition in plain PyTorch; *unfold* is what public PyTorch versions do, written plainly in
  `sightline/bench/unfold.py`; *SDPA with a mask* and *FlexAttention* are torch's own attention where it can express the operator;
  the *3 x 3 convolution* is torch's, of the same channels and pixels, in both memory layouts, and "of baseline" is over the faster
  of the two. Forward runs without autograd; forward + backward gives gradients of all operands and parameters. Layers and the gate
  run in evaluation mode. Nets: a training step is forward and backward in training mode without an optimiser, each net in the
  faster of the two memory layouts.
- **Memory** is what a call adds at its peak, result included: the process's largest resident size as the system counts it (Linux),
  so scratch space of libraries counts. Operators and layers are metered in a process of their own, in which every block from 1 MB
  on is a map of its own, after a first call; nets in the process that times them. Elsewhere, the tensors that the call creates.
- **Limit** is the time below which no kernel gets: multiply-adds of the closed form at the peak of matrix products, or operands and
  answer at the bandwidth of a copy, both measured in the same run. Exponentials come on top.
- The command keeps freed memory in the process (as for training), for all contenders alike.

On your machine, in a minute or two; with a GPU, `--device cuda`:

```bash
sightline bench --quick
sightline bench ops --only 'local*' --out mine.json
```
"""
TITLES = {
    "ops": "Operators",
    "layers": "Whole layers",
    "nets": "Whole nets",
    "gpu": "Operators on a GPU",
    "gpu_nets": "Whole nets on a GPU",
    "scaling": "Growth with the number of pixels",
}


def load(folder: Path = RESULTS) -> dict[str, Any]:
    """The measured sections that there are."""
    paths = {name: folder / f"bench_{name}.json" for name in SECTIONS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def page(results: Mapping[str, Any]) -> str:
    """The page in Markdown."""
    parts = [HEAD, _took(results), "## What was to be reached\n\n", _bars(results), "\n"]
    for name, measured in results.items():
        parts += [f"\n## {TITLES[name]}\n\n", _where(measured), "\n\n", _section(name, measured)]
    return "".join([*parts, _how(Settings())])


def _how(settings: Settings) -> str:
    """HOW with the command's own settings."""
    numbers = {"rounds": settings.rounds, "seconds": settings.seconds, "net_seconds": NET_SECONDS * settings.seconds}
    return HOW.format(**numbers, sample=1e3 * settings.sample_seconds, least=LEAST)


def _took(results: Mapping[str, Any]) -> str:
    """How long the measurements took, where they say so."""
    times = [case["took"] for measured in results.values() for case in measured["cases"] if "took" in case]
    return f"{len(times)} cases, measured in {sum(times) / 60:.1f} minutes.\n\n" if times else ""


def markdown(rows: list[dict[str, str]]) -> str:
    """Rows of equal keys as a table; columns that are empty everywhere are left out."""
    kept = [key for key in rows[0] if any(row[key] for row in rows)]
    lines = ["| " + " | ".join(key.strip() for key in kept) + " |"]
    lines.append("|" + "|".join("---" if key in NUMBERS else "---:" for key in kept) + "|")
    lines += ["| " + " | ".join(row[key].replace("|", "\\|") for key in kept) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _bars(results: Mapping[str, Any]) -> str:
    found = bars(results)
    verdicts = [verdict for one in found for verdict in one.verdicts()]
    return f"{sum(verdicts)} of {len(verdicts)} measured numbers meet their bar.\n\n" + markdown(
        [one.row() for one in found]
    )


def _where(measured: Mapping[str, Any]) -> str:
    environment, machines = measured["environment"], [case["machine"] for case in measured["cases"]]
    flops, copies = ([one[key] for one in machines] for key in ("matmul_gflops", "copy_gbytes"))
    commits = sorted({str(case.get("commit"))[:12] for case in measured["cases"]})
    return (
        f"{environment['cpu']}, {environment['threads']} threads, torch {environment['torch']}, float32, "
        f"{environment['date'][:10]}, commit {', '.join(commits)}. Peaks measured in the same runs: "
        f"{_range(flops)} GFLOP/s in matrix products, {_range(copies)} GB/s in copies. {measured.get('remark', '')}".rstrip()
    )


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def _section(name: str, measured: Mapping[str, Any]) -> str:
    about = [f"- `{case['name']}`: {case['about']}, batch {case['batch']}" for case in measured["cases"]]
    if name in ("nets", "gpu_nets", "scaling"):
        return markdown(section_rows(measured))
    lines = []
    for line, case in zip(about, measured["cases"], strict=True):
        rows = [
            {key: value for key, value in row.items() if key != "case"}
            for row in section_rows({**measured, "cases": [case]})
        ]
        least = limit(case)
        lines.append(
            f"**{line[2:]}**" + (f"; limit {1e3 * least:.2g} ms forward" if least else "") + "\n\n" + markdown(rows)
        )
    return "\n".join(lines)


def main(folder: Path | None = None) -> None:
    """Write page and picture, from measurements of a folder if there is one."""
    from chart import draw

    for path in [] if folder is None else sorted(folder.glob("bench_*.json")):
        shutil.move(path, RESULTS / path.name)  # what stays there is what an interrupted run continues from
    results = load()
    PAGE.write_text(page(results))
    draw(results, PICTURE)
    print(f"{PAGE.relative_to(ROOT)}, {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
