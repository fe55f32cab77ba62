"""Names of a source and ours, both ways: a rule is a pair of templates, and a layout for what lies behind them.

Rule("encoder.layer.{n}.output.dense.weight", "blocks.{n}.mlp.fc2.weight")      {n} stands for a number, equal on both sides
Rule("block{s+1}/conv/kernel", "stages.{s}.conv.weight", KERNEL_FIRST)          counted from one there, from zero here
Rule(("q.weight", "k.weight", "v.weight"), "qkv.weight")                        stacked
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from sightline.weights.errors import WeightsError
from sightline.weights.layouts import SAME, Layout

_PLACE = re.compile(r"\{(\w)(\+1)?\}")


@dataclass(frozen=True)
class Rule:
    """Where a tensor is called what.

    Args:
        theirs: name(s) in the source; several are stacked in this order.
        ours: name in sightline.
        layout: how it lies there.
    """

    theirs: str | tuple[str, ...]
    ours: str
    layout: Layout = SAME

    @property
    def names(self) -> tuple[str, ...]:
        """The source's templates."""
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs

    @cached_property
    def _patterns(self) -> tuple[list[re.Pattern[str]], re.Pattern[str]]:
        return [_pattern(name) for name in self.names], _pattern(self.ours)

    def ours_of(self, name: str) -> tuple[str, dict[str, int]] | None:
        """Our name of a tensor of the source, and the numbers in it; None when the rule is about others."""
        return _first(self._patterns[0], name, self.ours)

    def theirs_of(self, name: str) -> list[str] | None:
        """The source's name(s) of our tensor; None when the rule is about others."""
        numbers = _numbers(self._patterns[1], name)
        return None if numbers is None else [_fill(template, numbers) for template in self.names]


@dataclass
class Translation:
    """A source in our names and layouts.

    Args:
        tensors: by our names.
        origins: the source's name(s) of each.
        unknown: names of the source that no rule knows.
        incomplete: our names of which the source has only a part, with what lacks.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    incomplete: dict[str, list[str]] = field(default_factory=dict)


def translate(tensors: Mapping[str, Tensor], rules: Sequence[Rule]) -> Translation:
    """From the source to ours; without rules, names and layouts are the same. Differentiable.

    Raises:
        WeightsError: two tensors of the source have one name here, or one has another number of axes than its rule.
    """
    if not rules:
        return Translation(dict(tensors), {name: (name,) for name in tensors})
    done, seen = Translation(), dict[str, Rule]()
    for name in tensors:
        rule, found = _rule_of(name, rules)
        if rule is None or found is None:
            done.unknown.append(name)
            continue
        ours, numbers = found
        origins = tuple(_fill(template, numbers) for template in rule.names)
        if seen.setdefault(ours, rule) is not rule:
            raise WeightsError(f"the source names one tensor twice: {name} and {', '.join(done.origins[ours])}")
        done.origins[ours] = origins
    for ours, rule in seen.items():
        lacking = [name for name in done.origins[ours] if name not in tensors]
        if lacking:
            done.incomplete[ours] = lacking
        else:
            done.tensors[ours] = _inward(rule, done.origins[ours], tensors)
    return done


def translate_back(tensors: Mapping[str, Tensor], rules: Sequence[Rule], heads: int = 1) -> dict[str, Tensor]:
    """From ours to the source's names and layouts; where several rules know a tensor, the first is taken.

    Raises:
        WeightsError: the source's layout has no place for a tensor.
    """
    if not rules:
        return dict(tensors)
    found: dict[str, Tensor] = {}
    homeless = []
    for name, tensor in tensors.items():
        rule, theirs = next(((rule, names) for rule in rules if (names := rule.theirs_of(name))), (None, None))
        if rule is None or theirs is None:
            homeless.append(name)
        else:
            parts = rule.layout.outward(tensor, len(theirs), heads)
            found |= {name: part.contiguous() for name, part in zip(theirs, parts, strict=True)}
    if homeless:
        raise WeightsError(f"that layout has no place for {', '.join(homeless[:6])}")
    return found


def _rule_of(name: str, rules: Sequence[Rule]) -> tuple[Rule | None, tuple[str, dict[str, int]] | None]:
    for rule in rules:
        found = rule.ours_of(name)
        if found is not None:
            return rule, found
    return None, None


def _inward(rule: Rule, names: Sequence[str], tensors: Mapping[str, Tensor]) -> Tensor:
    for name in names:
        if rule.layout.axes is not None and tensors[name].ndim != rule.layout.axes:
            raise WeightsError(
                f"{name} has the shape {tuple(tensors[name].shape)}; {rule.layout.axes} axes belong there"
            )
    shapes = {tuple(tensors[name].shape) for name in names}
    if len(shapes) > 1 or (len(names) > 1 and () in shapes):
        raise WeightsError(f"{', '.join(names)} must be of one shape; they are of {sorted(shapes)}")
    return rule.layout.inward([tensors[name] for name in names])


def _pattern(template: str) -> re.Pattern[str]:
    parts, position = [], 0
    for place in _PLACE.finditer(template):
        parts.append(re.escape(template[position : place.start()]))
        parts.append(f"(?P<{place[1]}{'_from_one' if place[2] else ''}>\\d+)")
        position = place.end()
    return re.compile("".join([*parts, re.escape(template[position:])]))


def _numbers(pattern: re.Pattern[str], name: str) -> dict[str, int] | None:
    match = pattern.fullmatch(name)
    if match is None:
        return None
    return {key[0]: int(value) - (1 if key.endswith("_from_one") else 0) for key, value in match.groupdict().items()}


def _first(patterns: Sequence[re.Pattern[str]], name: str, template: str) -> tuple[str, dict[str, int]] | None:
    for pattern in patterns:
        numbers = _numbers(pattern, name)
        if numbers is not None:
            return _fill(template, numbers), numbers
    return None


def _fill(template: str, numbers: Mapping[str, int]) -> str:
    return _PLACE.sub(lambda place: str(numbers[place[1]] + (1 if place[2] else 0)), template)
