"""What the full CIFAR-10 recipe takes: write the table of docs/training.md from counted multiply-adds.

    .venv/bin/python benchmarks/full.py

An estimate, not a measurement: 3 passes x 2 operations a multiply-add x images x epochs, over a speed that is assumed.
"""

import re
from pathlib import Path

from sightline.cost import known_counts
from sightline.recipes import get

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
IMAGES = 45_000  # trained on
GPU, CORES = 30e12, 0.1e12  # operations a second that are sustained, on a GPU and on two cores
STEP = 0.01  # seconds that the many small kernels of a step take at least, however small the net
NETS = (
    "vit_compact",
    "deit_compact_distilled",
    "resnet_mini",
    "nonlocal_resnet_mini",
    "ccnet_resnet_mini",
    "sasa_resnet_mini",
    "lrnet_mini",
    "aa_resnet_mini",
    "san_mini_pairwise",
    "san_mini_patchwise",
)
MARKED = re.compile(r"(<!-- full -->\n).*?(<!-- /full -->)", re.S)


def table() -> str:
    """The table in Markdown."""
    recipe, counts = get("cifar10_full"), known_counts()
    epochs = recipe.epochs
    least = STEP * epochs * (IMAGES // recipe.batch_size)
    lines = [
        "| net | parameters | multiply-adds | operations of a run | one GPU | two cores |",
        "|---|---|---|---|---|---|",
    ]
    for net in NETS:
        parameters, macs = counts[net]
        taught = counts["resnet_mini"][1] / 3 if net.endswith("_distilled") else 0  # the teacher runs forward alone
        spent = 6 * (macs + taught) * IMAGES * epochs
        lines.append(
            f"| `{net}` | {parameters / 1e6:.2f} M | {macs / 1e6:,.0f} M | {spent:.1e} | {max(spent / GPU, least) / 60:.0f} min "
            f"| {spent / CORES / 3600:.0f} h |"
        )
    note = (
        f"Estimates: operations counted, {epochs} epochs of {IMAGES:,} images, forward and backward; speeds assumed, "
        f"{GPU / 1e12:.0f} TFLOP/s sustained on a data-centre GPU in bfloat16, but {1000 * STEP:.0f} ms a step at the least, "
        f"and {CORES / 1e12:.1f} TFLOP/s on two cores. "
        "Nothing in this table was run to its end."
    )
    return "\n".join([*lines, "", note])


if __name__ == "__main__":
    PAGE.write_text(MARKED.sub(lambda match: match[1] + table() + "\n" + match[2], PAGE.read_text()))
