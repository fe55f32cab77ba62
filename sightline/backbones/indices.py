"""Which parts of a net an index or a count names, in timm's interface for features."""

from collections.abc import Sequence


def chosen(indices: int | Sequence[int] | None, depth: int, parts: str = "blocks") -> list[int]:
    """The last so many of `depth` parts, or the named ones, counted from zero; negative ones count from the end; None: all.

    Raises:
        ValueError: none, or one that is not there.
    """
    if indices is None or isinstance(indices, int):
        last = depth if indices is None else indices
        indices = range(depth - last, depth)
    found = [index % depth if -depth <= index < depth else depth for index in indices]
    if not found or depth in found:
        raise ValueError(f"indices must name {parts} -{depth}..{depth - 1}; got {list(indices)}")
    return found
