"""Count every net: write docs/catalogue.md and the counts that `sightline models` lists.

    .venv/bin/python docs/catalogue.py

Neither file is edited by hand; a test counts anew and compares.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from sightline.backbones import FAMILIES, list_models
from sightline.cli.cost import COUNTED, cells
from sightline.cli.output import markdown
from sightline.cost import Entry, count_entry
from sightline.cost.entries import COUNTS

PAGE = Path(__file__).with_name("catalogue.md")
PAGES = {"aa": "aaconv", "convolution": ""}
HEADER = """# The catalogue

Every net at its own image size and number of classes, beside what its paper prints. Written by `make catalogue`;
`sightline cost --all --markdown` prints the same rows.

A multiply-add counts once: multiplication and addition together. "off" is our count over the printed one, less one; where a paper
counts FLOPs, 2 a multiply-add, so do we for the comparison. Normalisation, activations, pooling and softmax are not counted. Names
are built by `sightline.create_model(name)` and, as they are in timm's registry, by `timm.create_model(name)`.
"""


def page(entries: Sequence[Entry]) -> str:
    """The page of these entries, family by family."""
    by_name = {entry.model: entry for entry in entries}
    parts = [HEADER]
    for key, family in FAMILIES.items():
        rows = [cells(by_name[name]) for name in list_models(family=key) if name in by_name]
        link = PAGES.get(key, key)
        more = f" How it works: [{family.name}](families/{link}.md)." if link else ""
        parts.append(
            f"## {family.name}\n\n{family.paper}, [arXiv {family.arxiv}](https://arxiv.org/abs/{family.arxiv}).{more}\n"
        )
        parts.append(markdown(rows, COUNTED) + "\n")
    return "\n".join(parts)


def counts(entries: Sequence[Entry]) -> str:
    """The counts of these entries as JSON, one net a line."""
    lines = [f"  {json.dumps(one.model)}: [{one.cost.parameters}, {one.cost.macs}]" for one in entries]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    counted = [count_entry(name) for name in list_models()]
    COUNTS.write_text(counts(counted))
    PAGE.write_text(page(counted))
    print(f"{len(counted)} nets: {PAGE.name}, {COUNTS.name}")
