"""The methods by name: what each needs and gives. A page, a command and a table can be drawn from these lines alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sightline.explain.explanation import Answer, Ask
from sightline.explain.methods.attention import attention


@dataclass(frozen=True)
class Method:
    """One method.

    Args:
        name: as `explain` takes it.
        title: for people.
        about: one sentence, what the map shows.
        source: where it is from.
        run: computes it.
        per: "query": the map of one position, `at`; "image": one map a picture.
        needs_attention: the model must have attention layers that can be captured.
        layered: `layer` chooses a layer; otherwise the whole net is asked.
        heads: `head` chooses a head or channel group.
        per_class: `target` chooses the class that is explained.
        signed: values below zero may occur and mean something.
        unit: what the numbers are.
        settings: its own options with their defaults.
    """

    name: str
    title: str
    about: str
    source: str
    run: Callable[[Ask], Answer]
    per: str
    needs_attention: bool
    layered: bool
    heads: bool
    per_class: bool
    signed: bool
    unit: str
    settings: Mapping[str, Any] = field(default_factory=dict)


METHODS: dict[str, Method] = {
    one.name: one
    for one in (
        Method(
            "attention",
            "Attention",
            "The weights with which one position reads all others, in one layer; heads or channel groups averaged, or one.",
            "each system's own paper; criss-cross passes are composed",
            attention,
            per="query",
            needs_attention=True,
            layered=True,
            heads=True,
            per_class=False,
            signed=False,
            unit="attention weight",
        ),
    )
}
