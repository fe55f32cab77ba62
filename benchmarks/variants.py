"""Windows of other sizes, and other numbers of criss-cross passes, on one short budget: what claims S2, L1 and C3 say of them.

    .venv/bin/python benchmarks/variants.py cifar10/   # what is not finished; a quarter of an hour on two cores

Every net sees 45,000 images, four times a quarter of the training set, at 24 pixels a side, under recipe cifar10, window operators
at the rate of evidence.py. Runs lie in runs/variants, results in docs/results/variants.json.
"""

import json
import sys
from functools import partial
from pathlib import Path

from evidence import WINDOWS
from shares import entry_of

from sightline.backbones import spatial
from sightline.backbones.catalogue import Net
from sightline.backbones.mini import TWIN, everywhere, joined
from sightline.backbones.register import SMALL, register
from sightline.backbones.trunk import build
from sightline.cli.loading import load
from sightline.cli.progress import display
from sightline.layers import CrissCrossAttention, NonLocalBlock2d
from sightline.recipes import get, override
from sightline.runs import RunFolder, environment
from sightline.train import train

ROOT = Path(__file__).resolve().parent.parent
RUNS, RESULT = Path("runs/variants"), ROOT / "docs" / "results" / "variants.json"
BUDGET = (
    "epochs=4",
    "eval_every=4",
    "train_limit=11250",
    "image_size=24",
    "small_size=none",
    "small_epochs=0",
    "warmup_epochs=0.5",
)
SASA = {f"sasa_k{k}": everywhere(partial(spatial.sasa, kernel_size=k, heads=4)) for k in (3, 5, 7)}
RELATION = {f"lrnet_k{k}": everywhere(partial(spatial.local_relation, kernel_size=k)) for k in (3, 5, 7, 9)}
CONTEXT = {f"ccnet_r{n}": joined(partial(CrissCrossAttention, recurrence=n)) for n in (1, 2, 3)}
CONTEXT |= {"nonlocal": joined(NonLocalBlock2d), "convolution": TWIN}
CONFIGS = SASA | RELATION | CONTEXT
NETS = {
    f"{name}_variant": Net(name.split("_")[0], f"A variant for benchmarks/variants.py: {name}.", config, cfg=SMALL)
    for name, config in CONFIGS.items()
}
register(__name__, NETS, build, first_conv="conv1", classifier="fc")


def main(arguments: list[str]) -> None:
    """`DATA [VARIANTS ...]`."""
    if not arguments:
        raise SystemExit(__doc__)
    data, *only = arguments
    for name in only or CONFIGS:
        recipe = override(get("cifar10"), [*BUDGET, *([WINDOWS] if name in SASA | RELATION else [])])
        with display() as shown:
            train(
                recipe,
                f"{name}_variant",
                load(data, recipe),
                RUNS / name,
                resume=True,
                progress=shown.training,
            )
        print(f"{name}: test {entry_of(RUNS / name)['test']['accuracy']:.2%}", flush=True)
    write()


def write() -> None:
    """docs/results/variants.json, of all that is finished."""
    done = [name for name in CONFIGS if RunFolder(RUNS / name).finished()]
    content = {
        "schema": 1,
        "command": "benchmarks/variants.py",
        "image_size": 24,
        "images_seen": 45_000,
        "environment": environment(),
        "runs": [{"variant": name} | entry_of(RUNS / name) for name in done],
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
