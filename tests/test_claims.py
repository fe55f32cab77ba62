"""The claims page says what its JSON says, every claim has an experiment, and verdicts follow from numbers."""

import pytest

from benchmarks.claims import __main__ as claims
from benchmarks.claims import trained
from benchmarks.claims.claim import EXPERIMENTS, FAILS, HOLDS, LATER, OPEN, PARTLY, VERDICTS, decide
from benchmarks.claims.page import PAGE, page, read
from benchmarks.claims.statements import CLAIMS


def test_every_claim_is_there_and_the_page_is_up_to_date():
    assert set(EXPERIMENTS) == set(CLAIMS) == set(read())
    assert PAGE.read_text() == page()
    for name, one in read().items():
        assert one["verdict"] in VERDICTS
        assert one["claim"] == CLAIMS[name].text
        assert one["numbers"] or one["verdict"] == LATER


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ({"a": True, "b": True}, HOLDS),
        ({"a": True, "b": False}, PARTLY),
        ({"a": False, "b": False}, FAILS),
        ({"a": True, "b": None}, PARTLY),
        ({"a": False, "b": None}, FAILS),
        ({"a": None}, LATER),
        ({"a": OPEN, "b": None}, LATER),
        ({"a": OPEN, "b": True}, PARTLY),
        ({"a": OPEN, "b": False}, FAILS),
    ],
)
def test_verdicts(parts, verdict):
    assert decide(parts)[0] == verdict


def test_the_words_name_every_part():
    parts = {"a": True, "b": False, "c": None, "d": OPEN}
    words = "Holds: a. Does not hold: b. Undecided, the interval spans both: d. Not measured yet: c"
    assert decide(parts)[1] == words


def test_the_interval_of_a_difference_by_hand():
    """Newcombe's example, 56 of 70 against 48 of 80: 0.2, from 0.0524 to 0.3339."""
    mean, low, high = trained.difference(56 / 70, 70, 48 / 80, 80)
    assert mean == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def entry(model: str, accuracy: float, **changes: object) -> dict:
    test = {"accuracy": accuracy, "n": 8000, "low": accuracy - 0.01, "high": accuracy + 0.01}
    plain = {"recipe": "cifar10", "changes": {}, "epochs": 8, "starts_from": None, "teacher": None, "seed": 0}
    return {"model": model, "test": test} | plain | changes


def test_nets_are_compared_with_equal_budgets_alone(monkeypatch):
    def verdict(first: dict, slack: float = 0.0) -> dict:
        monkeypatch.setattr(trained, "nets", lambda: {"a": first, "b": entry("b", 0.80)})
        return trained.accuracy_numbers("a", "b", "better", slack)[1]

    assert verdict(entry("a", 0.85)) == {"better": True}
    assert verdict(entry("a", 0.805)) == {"better": OPEN}  # within noise
    assert verdict(entry("a", 0.795), slack=0.01) == {"better": OPEN}
    assert verdict(entry("a", 0.75)) == {"better": False}
    assert verdict(entry("a", 0.80), slack=0.02) == {"better": True}
    assert verdict(entry("a", 0.75), slack=0.02) == {"better": False}
    assert verdict(entry("a", 0.85, changes={"lr": 7e-3})) == {"better": True}  # chosen on validation images
    assert verdict(entry("a", 0.85, changes={"ema": 0.0})) == {"better, with equal budgets": None}
    assert verdict(entry("a", 0.85, epochs=9)) == {"better, with equal budgets": None}
    monkeypatch.setattr(trained, "nets", dict)
    assert trained.accuracy_numbers("a", "b", "better") == ([], {"better, on CIFAR-10": None})


@pytest.mark.parametrize("name", ["N2", "A3", "C1"])
def test_quick_ones_again(name):
    outcome = EXPERIMENTS[name]()
    assert outcome.verdict == read()[name]["verdict"] == HOLDS


def test_strange_names_are_refused():
    with pytest.raises(SystemExit, match="no claim is called X9; there are G1, G2"):
        claims.main(["X9"])
