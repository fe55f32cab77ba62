"""Write what every bad weights file answered into docs/weights.md and docs/results/refused.json.

SIGHTLINE_HOSTILE_LIST=build/refused.jsonl .venv/bin/python -m pytest tests/weights/test_safety.py
.venv/bin/python docs/weights_refused.py build/refused.jsonl
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "docs" / "results" / "refused.json", ROOT / "docs" / "weights.md"


def table(tried: list[dict[str, str]]) -> str:
    """One line a file."""
    lines = ["| tried | answer |", "|---|---|"]
    return "\n".join([*lines, *(f"| {one['case'].replace('_', ' ')} | {one['answer']} |" for one in tried)])


if __name__ == "__main__":
    tried = sorted(map(json.loads, Path(sys.argv[1]).read_text().splitlines()), key=lambda one: one["case"])
    RESULTS.write_text(json.dumps(tried, indent=1) + "\n")
    marked = re.compile(r"(<!-- refused -->\n).*?(<!-- /refused -->)", re.S)
    PAGE.write_text(marked.sub(lambda match: match[1] + table(tried) + "\n" + match[2], PAGE.read_text()))
