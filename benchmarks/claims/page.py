"""docs/claims.md from docs/results/claims/*.json."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.claims.claim import FAILS, HOLDS, LATER, PARTLY
from benchmarks.claims.figures import COST, SHARES
from benchmarks.claims.statements import CLAIMS, FAMILIES
from benchmarks.claims.trained import nets, shares

ROOT = Path(__file__).resolve().parents[2]
PAGE, RESULTS = ROOT / "docs" / "claims.md", ROOT / "docs" / "results" / "claims"
HEAD = """# The survey's claims, measured

Every claim that the survey makes of the eight systems: what was measured, how, and what came out, beside the paper's own number.
Written by `make claims` from [docs/results/claims](results/claims); no hand edits it, and each verdict follows from its
numbers by code ([benchmarks/claims](../benchmarks/claims)). What speaks against a claim stands beside what speaks for it.

```bash
make claims                                 # all, a few minutes; trainings are read, not repeated
.venv/bin/python -m benchmarks.claims G1    # one
```

- *holds*, *does not hold*: as measured here. *holds in part*: some of its parts do; the line says which.
- *not measurable at this size yet*: needs trainings or data that were not at hand, the command is given; or the difference is
  too small to be told.
- Of trained nets a part of a claim holds when the 95% interval of the difference lies above zero, does not when it lies below, and
  is undecided where it spans zero. Intervals are over test pictures, taken as if each net had its own; with one seed a net they say
  nothing about another training. Small nets on pictures of 32 x 32 do not decide about ImageNet.
"""


PLURAL = {HOLDS: "hold", PARTLY: "hold in part", FAILS: "do not hold", LATER: "are not measurable at this size yet"}


def read() -> dict[str, dict[str, Any]]:
    """The measured claims, by their names."""
    files = {name: RESULTS / f"{name}.json" for name in CLAIMS}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def page() -> str:
    """The page in Markdown."""
    found = read()
    parts = [HEAD, "\n", _tally(found), "\n\n", _index(found), "\n", *_pictures()]
    for letter, family in FAMILIES.items():
        parts.append(f"\n## {family}\n")
        parts += [_claim(name, found.get(name)) for name in CLAIMS if name.startswith(letter)]
    return "".join([*parts, "\n", _where(found)])


def _pictures() -> list[str]:
    parts = []
    if nets():
        parts.append(
            f"\n![Test accuracy against parameters and multiply-adds](images/{COST.name})\n\n*The small nets that come with "
            "sightline, CIFAR-10, 8,000 test images, one seed; bars are 95% intervals. How each was trained stands in "
            "[weights.md](weights.md#in-the-box); only nets of one start and budget may be compared.*\n"
        )
    if shares():
        parts.append(
            f"\n![Test accuracy against the share of the training images](images/{SHARES.name})\n\n*Convolution, transformer and "
            "token at 16 pixels, each net shown 180,000 images whatever its share (T3, T4, D4, D5); one seed.*\n"
        )
    return parts


def _tally(found: dict[str, dict[str, Any]]) -> str:
    counts = Counter(one["verdict"] for one in found.values())
    return (
        f"Of {len(CLAIMS)} claims "
        + ", ".join(f"{counts[one]} {words}" for one, words in PLURAL.items() if counts[one])
        + "."
    )


def _index(found: dict[str, dict[str, Any]]) -> str:
    rows = ["| | claim | verdict |", "|---|---|---|"]
    rows += [
        f"| [{name}](#{name.lower()}) | {claim.text} | {_word(found.get(name))} |" for name, claim in CLAIMS.items()
    ]
    return "\n".join(rows)


def _word(one: dict[str, Any] | None) -> str:
    return f"**{one['verdict']}**" if one else LATER


def _claim(name: str, one: dict[str, Any] | None) -> str:
    claim = CLAIMS[name]
    parts = [f"\n### {name}\n\n*{claim.text}*\n\nThe paper: {claim.paper}.\n"]
    if one is None:
        return "".join([*parts, f"\n**{LATER}.**\n"])
    parts.append(f"\n{_verdict(one)}\n\n{one['experiment']}\n")
    if one["numbers"]:
        parts.append(f"\n{_numbers(one['numbers'])}\n")
    return "".join([*parts, f"\n`{one['command']}`, {one['seconds']:g} s.\n"])


def _verdict(one: dict[str, Any]) -> str:
    """The verdict and why, as a sentence; the verdict's own word is not said again."""
    verdict, why = f"{one['verdict'][0].upper()}{one['verdict'][1:]}", one["why"]
    stop = "" if why.endswith(".") else "."
    if why.startswith(f"{verdict}: "):
        return f"**{verdict}:** {why.removeprefix(f'{verdict}: ')}{stop}"
    return f"**{verdict}.** {why}{stop}"


def _numbers(numbers: list[dict[str, str]]) -> str:
    columns = [key for key in ("what", "value", "n", "interval", "paper") if any(one[key] for one in numbers)]
    names = {"what": "", "value": "measured", "n": "n", "interval": "95% interval or range", "paper": "paper"}
    rows = [" | ".join(names[key] for key in columns), " | ".join("---" for _ in columns)]
    rows += [" | ".join(one[key].replace("|", "\\|") for key in columns) for one in numbers]
    return "\n".join(f"| {row} |" for row in rows)


def _where(found: dict[str, dict[str, Any]]) -> str:
    seen = {
        (one["environment"]["cpu"], one["environment"]["torch"], one["environment"]["commit"]) for one in found.values()
    }
    return (
        "Measured on "
        + "; ".join(f"{cpu}, torch {torch}, commit {commit}" for cpu, torch, commit in sorted(seen))
        + ".\n"
    )
