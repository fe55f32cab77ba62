"""What the trained small nets say.

docs/results/cifar10.json (`make evidence`), docs/results/robustness (`sightline evaluate --robustness` on CIFAR-10), and, smaller
still, docs/results/digits.json and robustness_digits: ten nets that `make demo` trains with one budget on digits of 8 x 8 pixels.
"""

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.claims.claim import Number, Part, above

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
SHORT = "one short budget: 45,000 images seen, a quarter of the training set, 24 pixels (benchmarks/variants.py)"


def nets() -> dict[str, dict[str, Any]]:
    """The trained nets by name; empty before `make evidence`."""
    return {one["model"]: one for one in _told("cifar10.json").get("nets", ())}


def stages(model: str) -> list[dict[str, Any]]:
    """Other trainings of a net, not in the box, that nets of their budget are compared with."""
    return [one for one in _told("cifar10.json").get("stages", {}).values() if one["model"] == model]


def shares() -> dict[tuple[str, int], dict[str, Any]]:
    """The trainings on shares of CIFAR-10 by arm and per cent (benchmarks/shares.py); empty before they are run."""
    return {(one["arm"], one["share"]): one for one in _told("shares.json").get("runs", ())}


def variants() -> dict[str, dict[str, Any]]:
    """Test results of the nets of benchmarks/variants.py by name; empty before they are trained."""
    return {one["variant"]: one["test"] for one in _told("variants.json").get("runs", ())}


def lead(arm: str, other: str, share: int = 100) -> tuple[list[Number], tuple[float, float, float] | None]:
    """How far an arm of benchmarks/shares.py is ahead of another on a share of the data, as a row and as numbers; None before."""
    found = shares()
    if (arm, share) not in found or (other, share) not in found:
        return [], None
    one, two = found[arm, share]["test"], found[other, share]["test"]
    gap = difference(one["accuracy"], one["n"], two["accuracy"], two["n"])
    text, interval = points(gap)
    images = found[arm, share]["images"]
    what = f"{share}% ({images:,} images): {arm} {one['accuracy']:.1%}, {other} {two['accuracy']:.1%}"
    return [Number(what, text, f"{one['n']:,} test images, one seed each", interval)], gap


def robust(model: str, folder: str) -> dict[str, Any] | None:
    """The robustness of a net, where it was measured; folder is "robustness" or "robustness_digits"."""
    return _told(f"{folder}/{model}.json") or None


def _told(file: str) -> dict[str, Any]:
    """The content of a file of docs/results; empty before it is measured."""
    path = RESULTS / file
    return json.loads(path.read_text()) if path.exists() else {}


def difference(a: float, n_a: int, b: float, n_b: int) -> tuple[float, float, float]:
    """Share a minus share b with its 95% interval (Newcombe 1998, method 10: from Wilson's intervals, unpaired)."""
    from sightline.evaluate import wilson_interval

    one, two = wilson_interval(round(a * n_a), n_a), wilson_interval(round(b * n_b), n_b)
    low = math.sqrt((a - one.low) ** 2 + (two.high - b) ** 2)
    high = math.sqrt((one.high - a) ** 2 + (b - two.low) ** 2)
    return a - b, a - b - low, a - b + high


def points(value: tuple[float, float, float]) -> tuple[str, str]:
    """A difference and its interval in percentage points."""
    mean, low, high = (100 * one for one in value)
    return f"{mean:+.1f} points", f"{low:+.1f} .. {high:+.1f}"


def budget(one: dict[str, Any]) -> str:
    """How a net was trained, briefly."""
    start = f" from a trained {one['starts_from']['model']}" if one["starts_from"] else ""
    teacher = f", taught by {one['teacher']}" if one["teacher"] else ""
    changed = "".join(f", {key}={value}" for key, value in one["changes"].items() if key != "epochs")
    return f"{one['recipe']}, {one['epochs']} epochs{changed}{start}{teacher}, seed {one['seed']}"


def equal_budgets(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether two nets had the same recipe, epochs and start; only then does their difference speak of the nets.

    The learning rate may differ: each net's was chosen on validation images, and the rows print it. So may the teacher: the recipe
    of a taught net, kd_X, is X in all else.
    """
    changes = ({key: value for key, value in net["changes"].items() if key != "lr"} for net in (one, two))
    recipes = {net["recipe"].removeprefix("kd_") for net in (one, two)}
    same = all(one[key] == two[key] for key in ("epochs", "starts_from"))
    return same and len(recipes) == 1 and next(changes) == next(changes)


def matched(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """That training of another net which had the budget of this one, or the box's where none had."""
    return next((stage for stage in [other, *stages(other["model"])] if equal_budgets(one, stage)), other)


def digits_numbers(model: str, other: str) -> list[Number]:
    """The same pair on digits of 8 x 8 pixels, one budget for both: a number, no verdict, since nearly all are right there."""
    content = json.loads((RESULTS / "digits.json").read_text())
    found, n = {one["model"]: one["accuracy_mean"] for one in content["summary"]}, content["test_images"]
    if model not in found or other not in found:
        return []
    text, interval = points(difference(found[model], n, found[other], n))
    pair = f"{found[model]:.1%} against {found[other]:.1%}"
    return [
        Number(
            f"{model} against {other} on digits of 8 x 8 (`make demo`): {pair}", text, f"{n} images, one seed", interval
        )
    ]


def is_ahead(gap: tuple[float, float, float] | None) -> Part:
    """Whether a difference with its interval is above zero; None where it was not measured."""
    return None if gap is None else above(gap[1], gap[2])


def variant_numbers(words: str, *names: str) -> list[Number]:
    """Test accuracies of nets of benchmarks/variants.py; none before they are trained."""
    found = variants()
    return [
        Number(
            f"{words.format(name.split('_')[-1][1:])}: test accuracy on one short budget",
            f"{found[name]['accuracy']:.1%}",
            f"{found[name]['n']:,} images, one seed",
            f"{found[name]['low']:.1%} .. {found[name]['high']:.1%}",
        )
        for name in names
        if name in found
    ]


def variant_lead(one: str, other: str) -> Part:
    """Whether a net of benchmarks/variants.py is ahead of another."""
    found = variants()
    if one not in found or other not in found:
        return None
    first, second = found[one], found[other]
    return is_ahead(difference(first["accuracy"], first["n"], second["accuracy"], second["n"]))


def accuracy_numbers(model: str, other: str, words: str, slack: float = 0.0) -> tuple[list[Number], dict[str, Part]]:
    """Test accuracies of two small nets on CIFAR-10 and their difference; a part of a claim, None before they are trained with
    equal budgets.

    Args:
        model: the net the claim is about.
        other: what it is compared with.
        words: what is claimed of it.
        slack: how much it may be below.
    """
    found, small = nets(), digits_numbers(model, other)
    if model not in found or other not in found:
        return small, {f"{words}, on CIFAR-10": None}
    one = found[model]
    two = matched(one, found[other])
    numbers = [
        Number(
            f"{net['model']} on CIFAR-10 ({budget(net)}): test accuracy",
            f"{net['test']['accuracy']:.1%}",
            f"{net['test']['n']:,} images",
            f"{net['test']['low']:.1%} .. {net['test']['high']:.1%}",
        )
        for net in (one, two)
    ]
    gap = difference(one["test"]["accuracy"], one["test"]["n"], two["test"]["accuracy"], two["test"]["n"])
    text, interval = points(gap)
    numbers.append(Number(f"{model} less {other}", text, "one seed each", interval))
    if not equal_budgets(one, two):
        return numbers + small, {f"{words}, with equal budgets": None}
    return numbers + small, {words: above(gap[1], gap[2], -slack)}
