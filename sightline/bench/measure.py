"""Measure a prepared case: gate, times of both directions side by side, peak memory. The result is plain data for JSON."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sightline.bench.case import BASELINE, BOTH, FORWARD, Case, Contender, Prepared
from sightline.bench.gate import Gate, Verdict
from sightline.bench.settings import Settings
from sightline.cost.resident import peak_extra
from sightline.cost.timing import interleaved


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Gate and time every contender of a case; one that the gate refuses is kept with its reason and no time."""
    torch.manual_seed(0)
    prepared = case.prepare(settings.device)
    verdicts = judge(prepared, BOTH in case.directions)
    records = {one.name: record(one, verdicts[one.name]) for one in prepared.contenders}
    able = [one for one in prepared.contenders if not verdicts[one.name].refused]
    for direction in case.directions:
        calls = {
            one.name: call(one, prepared.operands, direction, settings.device)
            for one in able
            if one.backward or direction == FORWARD
        }
        time_calls(records, calls, direction, settings)
    return {
        "name": case.name,
        "about": case.about,
        "batch": case.batch,
        "macs": prepared.macs,
        "bytes_moved": prepared.moved,
        "contenders": list(records.values()),
    }


def judge(prepared: Prepared, backward: bool) -> dict[str, Verdict]:
    """The gate's verdict on every contender; baselines compute something else and pass unless they need too much memory."""
    gate = Gate(prepared, backward)
    verdicts = {}
    for one in prepared.contenders:
        if one.needs > 0.8 * free_memory():
            gigabytes = one.needs / 2**30
            verdicts[one.name] = Verdict(refused=f"would hold {gigabytes:.1f} GB, more than this machine has free")
        else:
            verdicts[one.name] = Verdict() if one.kind == BASELINE else gate.check(one)
    return verdicts


def free_memory() -> float:
    """Bytes that may be had: of a GPU or of the system; infinite where nobody tells."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float("inf")


def record(contender: Contender, verdict: Verdict) -> dict[str, Any]:
    """A contender's entry, times still to come."""
    return {
        "name": contender.name,
        "kind": contender.kind,
        "note": contender.note,
        "refused": verdict.refused,
        "error": {"forward": finite(verdict.forward), "backward": finite(verdict.backward)},
        "seconds": {},
        "memory": {},
    }


def finite(number: float | None) -> float | None:
    """JSON has no word for what is not a number."""
    return number if number is not None and math.isfinite(number) else None


def time_calls(
    records: dict[str, dict[str, Any]], calls: dict[str, Callable[[], object]], direction: str, settings: Settings
) -> None:
    """Fill in samples and peak memory of one direction."""
    samples = interleaved(calls, settings.rounds, settings.sample_seconds, settings.seconds, settings.contender_seconds)
    for name, times in samples.items():
        records[name]["seconds"][direction] = [float(f"{one:.5g}") for one in times]
    for name, one in calls.items():
        if settings.memory:
            records[name]["memory"][direction], records[name]["memory_counts"] = peak_extra(one, settings.device)


def call(contender: Contender, shared: Sequence[Tensor | None], direction: str, device: str) -> Callable[[], object]:
    """A call without arguments that does one direction's work and ends when it is done."""
    operands = shared if contender.operands is None else contender.operands
    wait = torch.cuda.synchronize if device.startswith("cuda") else None
    if direction == FORWARD:

        def forward() -> object:
            with torch.no_grad():
                answer = contender.run(*operands)
            if wait is not None:
                wait()
            return answer

        return forward
    operands = [None if one is None else one.detach().requires_grad_() for one in operands]
    leaves = [*(one for one in operands if one is not None), *contender.parameters]
    with torch.no_grad():
        cotangent = torch.randn_like(contender.run(*operands))

    def both() -> object:
        found = torch.autograd.grad(contender.run(*operands), leaves, cotangent)
        if wait is not None:
            wait()
        return found

    return both
