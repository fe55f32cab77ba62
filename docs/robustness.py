"""Write docs/robustness.md from the committed measurements, docs/results/robustness/*.json.

    .venv/bin/python docs/robustness.py

The page is not edited by hand. A measurement is made by `sightline evaluate --robustness --out
docs/results/robustness/NET.json`; of the nets of `make demo` they lie in docs/results/robustness_digits.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline.cli.output import markdown
from sightline.report.numbers import percent

HERE = Path(__file__).parent
PAGE, RESULTS = HERE / "robustness.md", HERE / "results"
SETS = {"CIFAR-10": "robustness", "Digits of 8 x 8 pixels, the nets of `make demo`": "robustness_digits"}
NAMES = {"resnet_mini_first": "its first seven epochs, the twin of the nets that start from random weights"}
TURNS = ("rotated 90", "rotated 180", "rotated 270", "upside-down")
HEAD = """# Robustness

How a net answers pictures that are turned, damaged, of another size, or made by somebody who wants it to be wrong.

```bash
sightline evaluate runs/vit_mini --robustness                          # writes runs/vit_mini/robustness.json; the report shows it
sightline evaluate --model vit_mini --weights vit.safetensors --data photos/ --robustness --out vit.json
sightline evaluate runs/vit_mini --robustness --attack-limit 200 --attack-eps 1,2,4 --restarts 3 --seed 1
sightline report runs/vit_mini
```

The terminal shows a table, `--format json` all of it. In Python: `sightline.evaluate.robustness(model, images, mean, std,
Settings(...))`; the attacks alone are functions of `sightline.evaluate.attacks`. Data that have no test split and are new to the
net are evaluated whole (`--split all`).

## What is measured

| part | what |
|---|---|
| turned | 90, 180, 270 degrees (counter-clockwise) and upside-down, SAN's table 9; mirrored left to right |
| damaged | noise, blur, bright, dark, contrast, saturation, JPEG, pixelate, at severities 1 to 5 |
| resized | 0.5, 0.75, 1.25, 1.5 and 2 times the trained rows and columns; a net that refuses a size says why |
| calibration | expected calibration error in 15 bins, and the bars of the reliability diagram |
| FGSM | one step of the whole radius along the gradient's sign |
| PGD | `--attack-steps` steps of 2.5 radii over their number, from `--restarts` random starts; the last image counts |
| SAN's setting | targeted PGD within 8/255 from the image itself: 2 steps of 4/255, 4 steps of 2/255 (table 10) |
| worst case | of all these and of APGD on two losses (`--ensemble-steps` each) and Square (`--queries`), for each image |

APGD's losses are the cross-entropy and the difference of logits ratio. PGD and APGD know two balls, the largest change and the
Euclidean one; FGSM and Square the first.

- **Pixels.** Attacks speak of pixels in 0..1; normalisation is part of the attacked net, which is in evaluation mode and float32
  (half precision is refused). A radius r/255 is the largest change of any value. Euclidean radii are given for 32 x 32 pixels and
  three channels, and grow with the root of the number of values. Every image an attack returns is checked against its ball and
  against 0..1; one outside stops the run.
- **The gate.** The attacked net must answer the clean images as `evaluate` does. Only images that it answers rightly are attacked;
  accuracy under attack is over all images, so one that was wrong before stays wrong.
- **Worst case.** An image that fell within a small ball has fallen within every larger one, and to one attack, to the ensemble; so
  each attack of the ensemble works on those that still stand. It can only rise with more steps, queries and restarts: the figures
  are upper bounds of the true accuracy.
- **Open in SAN's paper**, ours: the target is a random wrong class, by seed and image, and the attack starts at the image itself.
- **Classes.** The difference of logits ratio divides by the gap between the first and the third logit: with two classes the plain
  margin stands for it, and the result says so.
- **Damage** is ours, from torchvision's operations (and Pillow's JPEG). Blur and blocks go by the image's short side. These are not
  the pictures of ImageNet-C or CIFAR-10-C: do not compare the figures with theirs.
- **Grey pictures** are stored as three equal channels, and attacks may change each.
- **Randomness** follows from `--seed`, whatever the batch: which images (the first of one shuffled order, so a smaller limit is a
  part of a larger); starts and targets with the image's number in its set, noise with its place among those looked at. Square's
  draws are shared by all images.
- **Checked.** FGSM, PGD (targeted too), APGD and Square agree with foolbox and torchattacks on a small net in float64, from fixed
  starts and draws (tests/golden); with the closed-form radius of a linear net; and stay in their bounds (tests/evaluate).

`robustness.json` keeps every figure with its n and Wilson's 95% interval, and for each attack the numbers of the images that still
are answered rightly.
"""
NOTHING = (
    "Not measured yet: `sightline evaluate --model NET --weights cifar10 --data cifar10/test.parquet --robustness`.\n"
)


def read(folder: str) -> list[dict[str, Any]]:
    """The measurements of a set, by file name."""
    files = sorted((RESULTS / folder).glob("*.json"))
    return [json.loads(path.read_text()) | {"name": path.stem} for path in files]


def page() -> str:
    """The page in Markdown."""
    parts = [HEAD, "\n## Measured\n"]
    for title, folder in SETS.items():
        measured = read(folder)
        parts.append(f"\n### {title}\n\n")
        parts.append(table(measured) + where(measured, folder) if measured else NOTHING)
    return "".join(parts)


def table(measured: Sequence[dict[str, Any]]) -> str:
    """One line a net."""
    radii = sorted({one["eps"] for net in measured for one in net["attacks"] if worst(one, "linf")})
    rows = [row(net, radii) for net in measured]
    return markdown(rows, tuple(rows[0])[1:]) + "\n\n"


def worst(one: dict[str, Any], norm: str) -> bool:
    """Whether an attack is the worst case of that norm."""
    return one["attack"] == "worst case" and one["norm"] == norm


def row(net: dict[str, Any], radii: Sequence[float]) -> dict[str, str]:
    """One line of the table."""
    turned = [one["accuracy"] for one in net["shifts"] if one["name"] in TURNS and one["accuracy"] is not None]
    damaged = [one["accuracy"] for one in net["shifts"] if one["kind"] == "corruption"]
    double = next(one["accuracy"] for one in net["shifts"] if one["name"] == "2 x")
    san = {one["steps"]: one for one in net["attacks"] if one["targeted"]}
    fell = {one["eps"]: one for one in net["attacks"] if worst(one, "linf")}
    return {
        "net": f"`{net['model']}`" if net["name"] == net["model"] else f"`{net['model']}` ({NAMES[net['name']]})",
        "clean": f"{percent(net['accuracy'])} ({percent(net['low'])} .. {percent(net['high'])})",
        "turned": percent(sum(turned) / len(turned)) if len(turned) == len(TURNS) else "refused",
        "damaged": percent(sum(damaged) / len(damaged)),
        "twice the size": "refused" if double is None else percent(double),
        "ECE": f"{net['ece']:.3f}",
        **{f"SAN n = {n}": f"{percent(san[n]['accuracy'])} / {percent(san[n]['success'])}" for n in (2, 4)},
        **{f"{eps:g}/255": percent(fell[eps]["accuracy"]) for eps in radii},
    }


def where(measured: Sequence[dict[str, Any]], folder: str) -> str:
    """What the table is of."""
    first = measured[0]
    hard = first["settings"]
    for net in measured:
        if net["settings"] != hard or net["data"] != first["data"]:
            raise SystemExit(
                f"{folder}: {net['model']} was measured otherwise than {first['model']}; measure one of them anew"
            )
    commits: dict[str, set[str]] = {}
    for seen in (net["environment"] for net in measured):
        commits.setdefault(f"{seen['cpu']}, torch {seen['torch']}", set()).add(seen["commit"][:12])
    machines = "; ".join(
        f"{machine}, commit{'s' if len(those) > 1 else ''} {', '.join(sorted(those))}"
        for machine, those in sorted(commits.items())
    )
    return (
        f"{first['data']['source']}: {first['n']:,} images, {len(first['attacked']):,} of them attacked. "
        f"*turned*: mean of the four turns of SAN's table 9. *damaged*: mean of 8 kinds at 5 severities. *SAN n*: accuracy / "
        f"share that reached the target. "
        f"*r/255*: worst case; PGD {hard['steps']} steps, APGD {hard['ensemble_steps']} steps each, Square {hard['queries']:,} "
        f"queries, {hard['restarts']} random start, seed {hard['seed']}. One trained net each: the spread over "
        f"seeds is not measured. {machines}. "
        f"From [docs/results/{folder}](results/{folder}).\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
