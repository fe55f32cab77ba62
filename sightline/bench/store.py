"""Measurements on disk: one JSON file a section, in which cases can be renewed one by one on the same machine."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.runs import atomic_write

SCHEMA = 1
SAME = ("cpu", "threads", "device", "torch", "platform")  # what cases of one file must share


def read(path: Path) -> dict[str, Any]:
    """A file of measurements.

    Raises:
        ValueError: it is no such file, or of a newer schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can not be read as measurements: {error}") from error
    if not isinstance(content, dict) or not {"schema", "section", "environment", "cases"} <= set(content):
        raise ValueError(f"{path} holds no measurements of `sightline bench`; write to another file")
    if content["schema"] > SCHEMA:
        raise ValueError(f"{path} has schema {content['schema']}; this sightline reads up to {SCHEMA}")
    return content


def merge(path: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """What was measured now, together with the other cases that the file has, in the file's order.

    Each case keeps the commit and date it was measured at.

    Raises:
        ValueError: the file is of another section or machine.
    """
    stamp = {key: measured["environment"].get(key) for key in ("commit", "date")}
    now = {case["name"]: {**case, **stamp} for case in measured["cases"]}
    if not path.exists():
        return {**measured, "cases": list(now.values())}
    before = fitting(path, measured["section"], measured["environment"])
    names = dict.fromkeys([*(case["name"] for case in before["cases"]), *now])
    older = {case["name"]: case for case in before["cases"]}
    return {**measured, "cases": [now.get(name, older.get(name)) for name in names]}


def fitting(path: Path, section: str, environment: Mapping[str, Any]) -> dict[str, Any]:
    """A file of measurements that those of this section and environment may join.

    Raises:
        ValueError: it is of another section or machine.
    """
    before = read(path)
    if before["section"] != section:
        raise ValueError(f"{path} has the section {before['section']}, not {section}; write to another file")
    for key in SAME:
        old, new = before["environment"].get(key), environment.get(key)
        if old != new:
            raise ValueError(f"{path} was measured with {key} {old}, now it is {new}; write to another file")
    return before


def measured_at(path: Path, commit: str | None) -> tuple[str, ...]:
    """Names of the cases that a file has from a commit; none where sources were changed since ("-dirty") or nobody knows."""
    known = commit is not None and not commit.endswith("-dirty")
    return tuple(case["name"] for case in read(path)["cases"] if known and case.get("commit") == commit)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write it whole."""
    atomic_write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
