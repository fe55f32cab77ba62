"""Peak memory in a process of its own: what a call holds, the same each time, whatever became of that process."""

import os
import sys

import pytest

from sightline.bench.case import FORWARD
from sightline.bench.memory import APART, Meter


@pytest.fixture
def meter():
    made = Meter("ops")
    yield made
    made.close()


def entry() -> dict:
    timed = {"name": "unfold", "seconds": {FORWARD: [1.0]}, "memory": {}}
    refused = {"name": "SDPA with a mask", "seconds": {}, "memory": {}}
    return {"name": "local_relation 7", "contenders": [timed, refused]}


def filled(meter: Meter) -> dict:
    measured = entry()
    meter.fill(measured)
    timed, refused = measured["contenders"]
    assert refused["memory"] == {}
    return timed["memory"]


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the least block that is a map of its own is set for glibc"
)
def test_a_peak_is_what_a_call_holds_every_time(meter):
    """Unfold keeps 49 taps of 512 channels of 8 images of 7 x 7 pixels at least: 39 MB in float32."""
    first, second = filled(meter)[FORWARD], filled(meter)[FORWARD]
    assert abs(first - second) < 0.02 * first
    assert first > 4 * 49 * 512 * 8 * 49
    assert not set(APART) & set(os.environ)


def test_a_process_that_was_killed_costs_its_case_alone(meter):
    assert filled(meter)
    meter._pool.submit(os._exit, 9)
    assert filled(meter) == {}
    assert filled(meter)


def test_nothing_is_entered_unasked():
    assert filled(Meter("ops", wanted=False)) == {}
