"""Write docs/golden.md from the lines the golden tests recorded: operator, variant, case, largest relative differences.

make golden
"""

import json
import sys
from pathlib import Path
from typing import Any

from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "golden.md"
HEAD = """# Golden numbers

Every stored case, computed in float64 and compared with numbers of an independent implementation (stored as float32, so about 6e-8
is the rounding of the stored value itself). A difference is the largest over a tensor divided by that tensor's largest value; the
largest over all outputs, and over all gradients of inputs and parameters, is shown. Gradients that are zero in theory are compared
absolutely and not shown. Written by `make golden` from the tests themselves.

| operator | variant | case | outputs | gradients |
|---|---|---|---|---|
"""
TELLING = (
    "pairwise",
    "recurrence",
    "border",
    "relative",
    "composability",
    "sa_type",
    "pad_mode",
    "mode",
    "classifier",
    "distillation_type",
    "kernel_size",
    "heads",
    "stride",
    "dilation",
    "sub_sample",
)


def about(case: str) -> tuple[str, str]:
    """The operator of a case, and the settings that tell it from its neighbours."""
    with safe_open(ROOT / "tests" / "golden" / f"{case}.safetensors", "pt") as file:
        meta: dict[str, Any] = file.metadata()
    config = json.loads(meta["config"])
    telling = [f"{key}={config[key]}" for key in TELLING if config.get(key) is not None]
    return f"{meta['system']}: {meta['operator']}".replace("_", " "), ", ".join(telling)


def main(recorded: Path) -> None:
    """Write the page, the largest difference of each case over all tests that used it."""
    worst: dict[str, dict[str, float | None]] = {}
    for line in map(json.loads, recorded.read_text().splitlines()):
        kept = worst.setdefault(line["case"], {"forward": None, "gradient": None})
        for key, value in kept.items():
            new = line[key]
            kept[key] = new if value is None or (new is not None and new > value) else value
    rows = []
    for case, found in sorted(worst.items()):
        operator, variant = about(case)
        shown = ["" if found[key] is None else f"{found[key]:.1e}" for key in ("forward", "gradient")]
        rows.append(f"| {operator} | {variant} | `{case}` | {shown[0]} | {shown[1]} |")
    PAGE.write_text(HEAD + "\n".join(rows) + "\n")
    stored = {path.stem for path in (ROOT / "tests" / "golden").glob("*.safetensors")}
    print(f"{PAGE.relative_to(ROOT)}: {len(rows)} of {len(stored)} stored cases", *sorted(stored - set(worst)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
