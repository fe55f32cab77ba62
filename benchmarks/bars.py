"""What sightline set out to reach on a CPU, and what the committed measurements say: met or not, losses included."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sightline.bench.read import Record, baseline, fastest, memory_ratio, named, ratio
from sightline.bench.table import per_mac

FORWARD, BOTH = "forward", "forward + backward"
Results = Mapping[str, Any]  # section -> measured
STAGES = (56, 28, 14, 7)


@dataclass(frozen=True)
class Bar:
    """A goal and what was reached, in one place or several.

    Args:
        what: what is compared.
        goal: the bar.
        at_most: is the bar above, or below?
        reached: place ("" where there is only one) -> number; None where it was not measured.
    """

    what: str
    goal: float
    at_most: bool
    reached: Mapping[str, float | None]

    def verdicts(self) -> list[bool]:
        """Of each number there is, whether it meets the bar."""
        numbers = [number for number in self.reached.values() if number is not None]
        return [number <= self.goal if self.at_most else number >= self.goal for number in numbers]

    def row(self) -> dict[str, str]:
        """For a table."""
        verdicts = self.verdicts()
        met = "" if not verdicts else "yes" if all(verdicts) else f"**{sum(verdicts)} of {len(verdicts)}**"
        shown = [f"{place}: {_show(number)}".removeprefix(": ") for place, number in self.reached.items()]
        if not verdicts:
            shown = ["not measured"]
        words = f"{'at most' if self.at_most else 'at least'} {self.goal:g}"
        return {
            "case": self.what,
            "bar": words,
            "reached": " · ".join(shown),
            "met": met.replace("**0 of 1**", "**no**"),
        }


def _show(number: float | None) -> str:
    return "not measured" if number is None else f"{number:.3g}" if number < 100 else f"{number:.0f}"


def bars(results: Results) -> list[Bar]:
    """All goals, in the order they were set."""
    makers = (_operators, _layer, _unfold, _nets, _criss_cross, _pairwise, _growth)
    return [bar for make in makers for bar in make(results)]


def case(results: Results, section: str, name: str) -> Record | None:
    """A measured case by name."""
    return next((one for one in results.get(section, {}).get("cases", []) if one["name"] == name), None)


def _stages(results: Results, section: str, name: str) -> dict[str, Record | None]:
    return {f"{side} px": case(results, section, f"{name} {side}") for side in STAGES}


def _operator(found: Record | None, direction: str) -> float | None:
    """Time of the operator, by the backend it takes itself, over that of the fastest baseline."""
    compared = None if found is None else ratio(named(found, "sightline"), baseline(found, direction), direction)
    return None if compared is None else compared.median


def _against_baseline(found: Record | None, direction: str) -> float | None:
    """Time of our fastest memory layout over that of the fastest baseline."""
    if found is None:
        return None
    ours = fastest((one for one in found["contenders"] if one["kind"] == "ours"), direction)
    compared = ratio(ours, baseline(found, direction), direction)
    return None if compared is None else compared.median


def _between(found: Record | None, one: str, other: str, direction: str) -> float | None:
    """Time of one contender over that of another."""
    compared = None if found is None else ratio(named(found, one), named(found, other), direction)
    return None if compared is None else compared.median


def _memory(found: Record | None, one: str, other: str, direction: str) -> float | None:
    return None if found is None else memory_ratio(named(found, one), named(found, other), direction)


def _operators(results: Results) -> Iterator[Bar]:
    for op in ("local_attention", "local_relation"):
        for direction, goal in ((FORWARD, 0.6), (BOTH, 1.0)):
            found = {place: _operator(one, direction) for place, one in _stages(results, "ops", op).items()}
            yield Bar(f"`{op}` over the 3 x 3 convolution of the stage, {direction}", goal, True, found)


def _layer(results: Results) -> Iterator[Bar]:
    found = {place: _against_baseline(one, FORWARD) for place, one in _stages(results, "layers", "sasa").items()}
    yield Bar("whole SASA layer over that convolution, forward", 1.0, True, found)


def _unfold(results: Results) -> Iterator[Bar]:
    for op in ("local_attention", "local_relation"):
        places = _stages(results, "ops", op)
        for direction, goal in ((FORWARD, 50), (BOTH, 30)):
            found = {place: _between(one, "unfold", "sightline", direction) for place, one in places.items()}
            yield Bar(f"unfold over `{op}`, {direction}", goal, False, found)
        for direction in (FORWARD, BOTH):
            found = {place: _memory(one, "sightline", "unfold", direction) for place, one in places.items()}
            yield Bar(f"peak memory of `{op}` over unfold's, {direction}", 0.1, True, found)


def _net(results: Results, word: str, name: str) -> tuple[Record | None, Record | None]:
    """A net in inference or training, and the baseline it was timed beside."""
    direction = BOTH if word == "training" else FORWARD
    for measured in results.get("nets", {}).get("cases", []):
        if measured["name"].startswith(word) and (net := named(measured, name)) is not None:
            return net, baseline(measured, direction)
    return None, None


def _nets(results: Results) -> Iterator[Bar]:
    words = {"inference": FORWARD, "training": BOTH}
    for name in ("sasa_resnet50", "lrnet50"):
        pairs = {word: _net(results, word, name) for word in words}
        found = {word: ratio(base, net, words[word]) for word, (net, base) in pairs.items()}
        medians = {word: None if one is None else one.median for word, one in found.items()}
        yield Bar(f"images a second of `{name}` over `conv_resnet50`'s", 1.0, False, medians)
    for name in ("san10_pairwise", "san10_patchwise"):
        pairs = {word: _net(results, word, name) for word in words}
        slower = {word: net and per_mac(net, base, words[word]) for word, (net, base) in pairs.items()}
        yield Bar(f"time of a multiply-add in `{name}` over `conv_resnet50`'s", 2.0, True, slower)


def _criss_cross(results: Results) -> Iterator[Bar]:
    found = case(results, "layers", "criss_cross R=2 97")
    dense = {way: _between(found, "dense non-local", "sightline", way) for way in (FORWARD, BOTH)}
    memory = {way: _memory(found, "dense non-local", "sightline", way) for way in (FORWARD, BOTH)}
    einsum = {way: _between(found, "einsum", "sightline", way) for way in (FORWARD, BOTH)}
    yield Bar("dense non-local over criss-cross R = 2, 97 x 97 x 512, time", 6, False, dense)
    yield Bar("dense non-local over it, extra memory", 11, False, memory)
    yield Bar("einsum over it, time", 1, False, einsum)


def _pairwise(results: Results) -> Iterator[Bar]:
    for kind in ("dot_product", "concatenation"):
        found = case(results, "ops", f"pairwise_attention {kind} 128")
        slower = {way: _between(found, "sightline reference", "sightline", way) for way in (FORWARD, BOTH)}
        yield Bar(f"dense over {kind} non-local, 16,384 positions, time", 30, False, slower)
        large = case(results, "ops", f"pairwise_attention {kind} 256")
        ours = None if large is None else named(large, "sightline")
        held = {way: None if ours is None else ours["memory"].get(way) for way in (FORWARD, BOTH)}
        gigabytes = {way: None if size is None else size / 2**30 for way, size in held.items()}
        yield Bar(f"{kind} non-local, 65,536 positions, GB", 2, True, gigabytes)


def _growth(results: Results) -> Iterator[Bar]:
    goals = {"local_attention": 1.1, "local_relation": 1.1, "vector_attention": 1.1, "criss_cross_attention": 1.6}
    for name, goal in {**goals, "dot_product": 1.1}.items():
        found = case(results, "scaling", name)
        ours = None if found is None else named(found, "sightline")
        yield Bar(f"slope of {name} over pixels", goal, True, {"": None if ours is None else ours["slope"]})
