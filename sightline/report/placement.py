"""Labels that do not collide: each point's name gets the free place nearest to it, by repeated local choice.

Deterministic, for the ten to twenty points of a scatter. Places are (left, top, right, bottom) in units of the drawing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTHS: dict[str, float] = {
    **dict.fromkeys("fijlrtI.,-'() ", 0.34),
    **dict.fromkeys("mwMW%", 0.9),
}  # in font sizes; a capital 0.72, others 0.57
ROUNDS = 8
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Label:
    """A placed label: the end of its text that is nearer to its point, its baseline, and the end of a leader line if it is far."""

    text: str
    x: float
    anchor: str
    baseline: float
    box: Box
    leader: tuple[float, float] | None


def place(
    points: Sequence[tuple[float, float]], texts: Sequence[str], frame: Box, size: float, obstacles: Sequence[Box] = ()
) -> list[Label]:
    """Place the label of every point inside the frame, off the points, the obstacles and each other.

    Args:
        points: the places of the points.
        texts: a label a point.
        frame: where labels may lie.
        size: font size.
        obstacles: boxes to keep free if possible, such as error bars.
    """
    choices = [_candidates(point, text, frame, size) for point, text in zip(points, texts, strict=True)]
    marks = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    chosen = [boxes[0][1] for boxes in choices]
    for _ in range(ROUNDS):
        before = list(chosen)
        for i, boxes in enumerate(choices):
            others = [box for j, box in enumerate(chosen) if j != i]
            chosen[i] = min(boxes, key=lambda one: one[0] + _clash(one[1], others, marks, obstacles))[1]
        if chosen == before:
            break
    return [_label(text, box, point, size) for text, box, point in zip(texts, chosen, points, strict=True)]


def text_width(text: str, size: float) -> float:
    """Estimated width of a text, wide enough for the page's sans-serif faces."""
    return size * sum(WIDTHS.get(letter, 0.72 if letter.isupper() else 0.57) for letter in text)


def _candidates(point: tuple[float, float], text: str, frame: Box, size: float) -> list[tuple[float, Box]]:
    """Boxes around a point with a cost that grows with the distance; those inside the frame, all when none is."""
    x, y = point
    width, height = text_width(text, size), size * 1.2
    found = []
    for radius in (9.0, 16.0, 26.0, 38.0, 52.0, 68.0, 86.0):
        for step in range(16):
            angle = step * math.pi / 8
            across, down = math.cos(angle), math.sin(angle)
            left = x + across * radius - width * (1 - across) / 2
            top = y + down * radius - height * (1 - down) / 2
            box = (left, top, left + width, top + height)
            found.append((radius + (0 if step == 0 else 2 + step % 4), box))
    inside = [one for one in found if _within(one[1], frame)]
    return inside or found


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _clash(box: Box, labels: Sequence[Box], marks: Sequence[Box], obstacles: Sequence[Box]) -> float:
    on_labels = sum(overlap(box, other) for other in labels)
    on_marks = sum(overlap(box, other) for other in marks)
    return 40 * on_labels + 12 * on_marks + 0.5 * sum(overlap(box, other) for other in obstacles)


def overlap(a: Box, b: Box) -> float:
    """Shared area of two boxes."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return across * down if across > 0 and down > 0 else 0.0


def _label(text: str, box: Box, point: tuple[float, float], size: float) -> Label:
    near = (min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3]))
    leader = (round(near[0], 1), round(near[1], 1)) if math.dist(near, point) > 14 else None
    anchor, x = ("end", box[2]) if box[0] + box[2] < 2 * point[0] else ("start", box[0])
    return Label(text, round(x, 1), anchor, round(box[3] - size * 0.28, 1), box, leader)
