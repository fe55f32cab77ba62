"""The paragraph on top of the page, from the numbers alone: who leads, what is noise, what attention costs, what is missing."""

from collections.abc import Sequence

from sightline.report.load import Comparison
from sightline.report.numbers import enumeration, opening, p_value, percent, points
from sightline.report.standing import Standing

FIELDS_OF_A_RUN = {
    "seed",
    "teacher",
    "distillation",
    "distillation_alpha",
    "distillation_tau",
    "card",
    "name",
    "workers",
}


def summarise(comparison: Comparison, standings: Sequence[Standing]) -> list[str]:
    """Sentences in the order of the paragraph; each stands on its own."""
    told = [one for one in standings if one.accuracy is not None]
    sentences = [_setting(comparison)]
    if not told:
        return [*sentences, "No run has finished yet, so there is no test accuracy to show.", *_unfinished(standings)]
    twin = next((one for one in told if one.twin), None)
    sentences += [_leader(told, twin), *_against_twin(told, twin), *_price(told, twin)]
    return [*sentences, *_caveats(comparison, told), *_unfinished(standings)]


def _setting(comparison: Comparison) -> str:
    run = next((run for run in comparison.runs if run.recipe), None)
    if run is None:
        return f"None of the {len(comparison.models)} planned nets has begun."
    sizes = run.recipe.get("data", {}).get("sizes", {})
    epochs = {run.epochs for run in comparison.runs if run.recipe}
    count = len(comparison.models)
    nets = f"{opening(count)} {'net was' if count == 1 else 'nets were'}"
    budget = (
        f"for {run.epochs} epoch{'' if run.epochs == 1 else 's'}"
        if len(epochs) == 1
        else "for different numbers of epochs"
    )
    seeds = f", with {len(comparison.seeds)} seeds," if len(comparison.seeds) > 1 else ""
    return (
        f"{nets} trained {budget}{' each' if count > 1 else ''}{seeds} on {sizes.get('train', 0):,} pictures of "
        f"{comparison.data_name} and tested on {sizes.get('test', 0):,} others in {len(run.classes)} classes."
    )


def _leader(told: Sequence[Standing], twin: Standing | None) -> str:
    first = told[0]
    level = [one for one in told if one.accuracy == first.accuracy]
    if len(level) > 1:
        return f"{enumeration([one.label for one in level])} share the lead at {percent(first.accuracy)}."
    accuracy = f"{percent(first.accuracy)} ({percent(first.low)} to {percent(first.high)})"
    if len(told) == 1:
        return f"{first.label} reaches a test accuracy of {accuracy}."
    if twin is None:
        return f"{first.label} has the highest test accuracy, {accuracy}."
    if first.twin:
        return f"No net beats the convolutional twin: it has the highest test accuracy, {accuracy}."
    return (
        f"{first.label} has the highest test accuracy, {accuracy}, {points(first.difference).lstrip('+')} points above the "
        f"convolutional twin's {percent(twin.accuracy)}{_verdict(first)}."
    )


def _verdict(one: Standing) -> str:
    if one.p is None:
        return ""
    p = p_value(one.p)
    word = "more than noise" if one.beyond else "within noise"
    return f"; that is {word} by the paired test (p {p if p.startswith('<') else '= ' + p})"


def _against_twin(told: Sequence[Standing], twin: Standing | None) -> list[str]:
    tested = [one for one in told if one.beyond is not None]
    if twin is None or not tested:
        return []
    better = [one for one in tested if one.beyond and (one.difference or 0) > 0]
    worse = [one for one in tested if one.beyond and (one.difference or 0) < 0]
    sentences = [_beyond(better, "better"), _beyond(worse, "worse")]
    rest = len(tested) - len(better) - len(worse)
    if rest == len(tested) > 1:
        sentences = [f"None of the {rest} differences from the twin is more than noise."]
    elif rest > 1:
        sentences.append(f"The other {rest} differences are within noise.")
    elif rest == 1 and len(tested) > 1:
        sentences.append("The other difference is within noise.")
    return [sentence for sentence in sentences if sentence]


def _beyond(nets: Sequence[Standing], word: str) -> str:
    if not nets:
        return ""
    listed = enumeration([f"{one.label} ({points(one.difference)} points)" for one in nets])
    return f"Beyond noise, {listed} {'is' if len(nets) == 1 else 'are'} {word} than the twin."


def _price(told: Sequence[Standing], twin: Standing | None) -> list[str]:
    """What attention costs: speed against the twin's."""
    if twin is None or not twin.train_speed:
        return []
    others = [one for one in told if not one.twin and one.train_speed]
    if not others:
        return []
    slower = [one for one in others if (one.train_speed or 0) < twin.train_speed]
    slowest = min(others, key=lambda one: one.train_speed or 0.0)
    if not slower:
        return ["No net trains slower than the twin."]
    share = (slowest.train_speed or 0.0) / twin.train_speed
    pace = f"{share:.2f} of its images per second"
    if len(slower) == 1:
        return [f"One of the {len(others)} other nets trains slower than the twin: {slowest.label}, at {pace}."]
    who = (
        "Every other net trains"
        if len(slower) == len(others)
        else f"{opening(len(slower))} of the {len(others)} other nets train"
    )
    return [f"{who} slower than the twin, {slowest.label} slowest at {pace}."]


def _caveats(comparison: Comparison, told: Sequence[Standing]) -> list[str]:
    sentences = []
    names = {one.model: one.label for one in told}
    taught = [run for run in comparison.runs if run.recipe.get("recipe", {}).get("distillation", "none") != "none"]
    pupils = list(dict.fromkeys(names[run.model] for run in taught if run.model in names))
    if pupils:
        sentences.append(f"{enumeration(pupils)} also learned from a teacher's answers.")
    if all(one.finished == 1 for one in told):
        sentences.append("One seed a net: the intervals cover the choice of test pictures, not the luck of training.")
    if not comparison.planned and len(comparison.models) > 1:
        sentences.append("These runs were not made as one comparison: there is no paired test, and budgets may differ.")
    unequal = unequal_fields(comparison)
    if unequal:
        sentences.append(f"Read with care: the runs differ in {enumeration(unequal)}.")
    return sentences


def unequal_fields(comparison: Comparison) -> list[str]:
    """Fields of the recipe that a fair comparison keeps equal and these runs do not."""
    recipes = [run.recipe["recipe"] for run in comparison.runs if "recipe" in run.recipe]
    names = dict.fromkeys(name for recipe in recipes for name in recipe)
    return [
        name
        for name in names
        if name not in FIELDS_OF_A_RUN and any(recipe.get(name) != recipes[0].get(name) for recipe in recipes)
    ]


def _unfinished(standings: Sequence[Standing]) -> list[str]:
    waiting = [f"{one.label} ({one.status})" for one in standings if one.status]
    return [f"Not finished: {enumeration(waiting)}."] if waiting else []
