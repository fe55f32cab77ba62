"""Panels of `sightline explain`: every picture by every net, method, layer and head that was asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sightline.cli.explain_nets import Net, Seen, answers, class_index, class_name, see
from sightline.explain import METHODS, Explanation, Faithfulness, explain, faithfulness, methods_for
from sightline.explain.attending import attention_layers
from sightline.explain.draw import Panel
from sightline.explain.record import choose


@dataclass(frozen=True)
class Wish:
    """What was asked on the command line."""

    methods: tuple[str, ...]
    at: tuple[int, int] | str | None
    target: str | None
    layers: str | None
    head: str | None
    size: tuple[int, int] | None
    faithful: bool
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """One explanation with all that its panel, its row of the table and its arrays need."""

    seen: Seen
    net: Net
    answer: tuple[str, float]
    method: str
    explanation: Explanation | None
    refusal: str = ""
    scores: Faithfulness | None = None

    def panel(self, wish: Wish) -> Panel:
        """The panel: prediction above, method and cells below, the query marked."""
        size = self.seen.input.shape[2:]
        title = (
            f"{self.net.name}{'' if self.net.trained else ' (untrained)'}\nsays {self.answer[0]} ({self.answer[1]:.0%})"
        )
        if self.explanation is None:
            return Panel(self.seen.shown, title, _wrapped(self.refusal), size=(size[0], size[1]))
        mark = self.explanation.at if isinstance(self.explanation.at, tuple) else None
        return Panel(self.seen.shown, title, self._note(), self.explanation, mark, (size[0], size[1]))

    def _note(self) -> str:
        found = self.explanation
        if found is None:
            return self.refusal
        where = found.geometry
        lines = [METHODS[self.method].title + self._target()]
        if found.layer:
            lines.append(found.layer if found.head is None else f"{found.layer}, head {found.head}")
        cell = f"{where.stride[0]} x {where.stride[1]} px" if where.stride != (1, 1) else "1 px"
        lines.append(f"{where.rows} x {where.cols} cells of {cell}")
        return "\n".join(lines)

    def _target(self) -> str:
        if self.explanation is None or not self.explanation.target:
            return ""
        return f": {class_name(self.net.meta, self.explanation.target[0])}"

    def row(self) -> dict[str, Any]:
        """A line of the table."""
        found = self.explanation
        line = {
            "picture": self.seen.file,
            "net": self.net.name,
            "class": self.answer[0],
            "probability": f"{self.answer[1]:.1%}",
            "method": self.method,
            "layer": found.layer if found else "",
            "head": "" if found is None or found.head is None else str(found.head),
            "cells": f"{found.geometry.rows} x {found.geometry.cols}" if found else "",
        }
        if self.scores is not None:
            summary = self.scores.summary()
            line["deletion (random)"] = f"{summary['deletion']:.3f} ({summary['random_deletion']:.3f})"
            line["insertion (random)"] = f"{summary['insertion']:.3f} ({summary['random_insertion']:.3f})"
        if self.refusal:
            line["layer"] = self.refusal
        return line


def looks(file: str, net: Net, wish: Wish) -> list[Look]:
    """All explanations of one picture by one net. Raises ValueError for what nobody could answer."""
    seen = see(file, net, wish.size)
    answer = answers(net, seen)
    found = []
    for method in wish.methods:
        if METHODS[method] not in methods_for(net.model):
            reason = f"{METHODS[method].title} does not apply: no attention layer"
            found.append(Look(seen, net, answer, method, None, reason))
            continue
        for layer, head in _places(net, method, wish, seen):
            one = _explained(seen, net, method, layer, head, wish)
            scores = faithfulness(net.model, seen.input, one) if wish.faithful else None
            found.append(Look(seen, net, answer, method, one, scores=scores))
    return found


def _explained(seen: Seen, net: Net, method: str, layer: str | None, head: int | None, wish: Wish) -> Explanation:
    about = METHODS[method]
    at = seen.pixel(*wish.at) if isinstance(wish.at, tuple) else wish.at
    several = len(wish.methods) > 1  # a question that one of several methods does not take is not put to it
    target = None if wish.target is None else class_index(net.meta, wish.target)
    return explain(
        net.model,
        seen.input,
        method,
        layer=layer,
        head=head,
        at=at if about.per == "query" or not several else None,
        target=target if about.per_class or not several else None,
        **{name: value for name, value in wish.settings.items() if name in about.settings or not several},
    )


def _places(net: Net, method: str, wish: Wish, seen: Seen) -> Iterator[tuple[str | None, int | None]]:
    """Layers and heads to ask a method for."""
    about = METHODS[method]
    several = len(wish.methods) > 1
    for layer in _layers(net, method, wish) if about.layered or not several else [None]:
        if wish.head == "all" and about.heads:
            for head in range(_heads(net, layer, seen)):
                yield layer, head
        elif wish.head is None or wish.head == "all" or (several and not about.heads):
            yield layer, None
        else:
            yield layer, _number(wish.head)


def _layers(net: Net, method: str, wish: Wish) -> Sequence[str | None]:
    if wish.layers is None:
        return [None]
    if not METHODS[method].needs_attention:
        return [None] if wish.layers == "all" else [wish.layers]
    known = attention_layers(net.model)
    return list(known if wish.layers == "all" else choose(known, wish.layers.split(",")))


def _heads(net: Net, layer: str | None, seen: Seen) -> int:
    from sightline.explain import query_maps

    layer = layer or explain(net.model, seen.input).layer
    return query_maps(net.model, seen.input, layer, most_queries=1, most_keys=1)[0].groups


def _number(head: str) -> int:
    if not head.isdecimal():
        raise ValueError(f"--head is a number or all; got {head!r}")
    return int(head)


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 38))
