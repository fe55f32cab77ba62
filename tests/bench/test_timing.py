"""Timing side by side, on a clock that the test turns; numbers from fixed samples."""

import pytest
import torch

from sightline.bench.scaling import slope
from sightline.cost.resident import RESIDENT, TENSORS, peak_extra
from sightline.cost.timing import Spread, interleaved, ratios, spread


class Clock:
    """A clock that calls move on."""

    def __init__(self) -> None:
        self.now, self.order = 0.0, []

    def call(self, name: str, seconds: float):
        def run() -> None:
            self.now += seconds
            self.order.append(name)

        return run

    def between(self, call, times: int) -> float:
        start = self.now
        for _ in range(times):
            call()
        return self.now - start


def test_contenders_take_turns():
    clock = Clock()
    calls = {"a": clock.call("a", 1.0), "b": clock.call("b", 2.0), "c": clock.call("c", 4.0)}
    samples = interleaved(calls, rounds=3, sample_seconds=0.5, between=clock.between)
    assert samples == {"a": [1.0] * 3, "b": [2.0] * 3, "c": [4.0] * 3}
    assert "".join(clock.order) == "aabbcc" + "abc" + "bca" + "cab"  # warm and timed once, then the rounds


def test_short_calls_are_repeated():
    clock = Clock()
    calls = {"a": clock.call("a", 0.25), "b": clock.call("b", 11.0)}
    assert interleaved(calls, 3, 1.0, between=clock.between) == {"a": [0.25] * 3, "b": [11.0] * 3}
    assert clock.order.count("a") == 2 + 3 * 4
    assert clock.order.count("b") == 1 + 3  # a long one is not made again just to know how long


def test_what_is_known_is_not_made_again():
    clock = Clock()
    interleaved({"a": clock.call("a", 0.25)}, 3, 1.0, between=clock.between, known={"a": 0.5})
    assert clock.order.count("a") == 3 * 2


def test_a_slow_call_sits_out_the_later_rounds():
    clock = Clock()
    calls = {"a": clock.call("a", 0.5), "b": clock.call("b", 1.0)}
    samples = interleaved(calls, 9, 0.5, each=4.0, between=clock.between)
    assert samples == {"a": [0.5] * 9, "b": [1.0] * 5}  # the fifth takes it beyond four seconds
    assert len(interleaved({"b": clock.call("b", 9.0)}, 9, 0.5, each=4.0, between=clock.between)["b"]) == 3


def test_numbers_from_samples():
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert spread([2.0, 1.0]) == Spread(1.5, 1.0, 2.0, 2)
    assert ratios([2.0, 3.0], [1.0, 6.0]) == [2.0, 0.5]
    assert ratios([2.0], [1.0, 2.0]) == [2.0]  # the other one sat out the second round
    with pytest.raises(ValueError, match="at least one"):
        spread([])


def test_slope():
    assert slope([(32, 1.0), (64, 4.0), (128, 16.0)]) == 1.0
    assert slope([(32, 1.0), (64, 16.0)]) == 2.0
    assert slope([(32, 1.0)]) is None


def test_peak_memory_sees_what_a_call_holds_and_what_it_drops():
    def call(megabytes: int):
        def run() -> torch.Tensor:
            torch.ones(megabytes << 18).add_(1)
            return torch.ones(16 << 18)

        run()
        return run

    size, counted = peak_extra(call(96))
    assert counted in (RESIDENT, TENSORS)
    assert 90 < size / 2**20 < 130
    assert 10 < peak_extra(call(1))[0] / 2**20 < 40


def test_nothing_to_time_takes_no_time():
    assert interleaved({}) == {}
