"""Measure the survey's claims and write docs/claims.md.

    .venv/bin/python -m benchmarks.claims            # all of them (`make claims`), a few minutes
    .venv/bin/python -m benchmarks.claims G1 V4      # some
    .venv/bin/python -m benchmarks.claims --page     # the page alone, from the committed JSON

Each leaves docs/results/claims/ID.json. What needs trained nets reads docs/results/cifar10.json (`make evidence`) and
docs/results/robustness (`sightline evaluate --robustness`), and says so where they are missing.
"""

import json
import sys
import time
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.claims import aa, general, nonlocal_ccnet, san, sasa_lrnet, transformers
from benchmarks.claims.claim import EXPERIMENTS
from benchmarks.claims.figures import draw
from benchmarks.claims.page import PAGE, RESULTS, page
from benchmarks.claims.statements import CLAIMS
from sightline.runs import SCHEMA, atomic_write, environment

FAMILIES = (aa, general, nonlocal_ccnet, san, sasa_lrnet, transformers)  # importing them registers their experiments


def measure(name: str, machine: dict[str, Any]) -> None:
    """Run one experiment and write its JSON, with what it was measured on."""
    torch.manual_seed(0)
    started = time.perf_counter()
    outcome = EXPERIMENTS[name]()
    content = {
        "schema": SCHEMA,
        "id": name,
        "claim": CLAIMS[name].text,
        "paper": CLAIMS[name].paper,
        **asdict(outcome),
        "command": outcome.command or f"python -m benchmarks.claims {name}",
        "seconds": round(time.perf_counter() - started, 1),
        "environment": machine,
    }
    atomic_write(RESULTS / f"{name}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    print(f"{name}: {outcome.verdict}. {outcome.why}", flush=True)


def main(arguments: list[str]) -> None:
    """Measure the claims that are named, or all, and write the page."""
    names = [one for one in arguments if not one.startswith("-")] or ([] if "--page" in arguments else list(CLAIMS))
    if strange := [one for one in names if one not in EXPERIMENTS]:
        raise SystemExit(f"no claim is called {', '.join(strange)}; there are {', '.join(CLAIMS)}")
    machine = environment()  # before the first result changes the checkout
    for done, name in enumerate(names, 1):
        print(f"[{done}/{len(names)}] {name}", file=sys.stderr, flush=True)
        measure(name, machine)
    draw()
    PAGE.write_text(page())
    print(PAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
