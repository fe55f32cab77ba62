"""What became of every tensor of a source and of a net."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

STATUSES = ("matched", "resized", "dropped", "missing")


@dataclass(frozen=True)
class Entry:
    """One tensor.

    Args:
        status: "matched": taken as it is; "resized": adapted to another grid or patch; "dropped": of the source, not used;
            "missing": of the net, kept at its start.
        ours: its name in the net; "" when it has none there.
        theirs: its name(s) in the source; () when it has none there.
        shape: in the net, or in the source when it is dropped.
        note: why, where that is not plain.
    """

    status: str
    ours: str
    theirs: tuple[str, ...]
    shape: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What became of every tensor.

    Args:
        source: as it was named.
        format: of the source.
        entries: one for each tensor of the net and each of the source.
        notes: what the net now computes differently, what else lay in the file.
    """

    source: str
    format: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()

    def of(self, status: str) -> tuple[Entry, ...]:
        """The entries of one status.

        Raises:
            ValueError: there is no such status.
        """
        if status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; got {status!r}")
        return tuple(entry for entry in self.entries if entry.status == status)

    @property
    def summary(self) -> str:
        """One line: the source, its format, how many tensors of each status."""
        counts = ", ".join(f"{len(self.of(status))} {status}" for status in STATUSES)
        return f"{self.source} ({self.format}): {counts}"

    def rows(self, everything: bool = False) -> list[dict[str, Any]]:
        """The table: what was not simply matched, or everything."""
        return [
            {
                "status": one.status,
                "tensor": one.ours,
                "in the source": ", ".join(one.theirs),
                "shape": " x ".join(map(str, one.shape)),
                "note": one.note,
            }
            for one in self.entries
            if everything or one.status != "matched"
        ]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [self.summary]
        for one in (entry for status in STATUSES[1:] for entry in self.of(status)):
            names = one.ours or ", ".join(one.theirs)
            lines.append(f"  {one.status:8} {names} {one.shape}" + (f": {one.note}" if one.note else ""))
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def sort(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """By status, in the order of STATUSES; else as they come."""
    return tuple(sorted(entries, key=lambda one: STATUSES.index(one.status)))
