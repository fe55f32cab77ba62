"""Measure a prepared case: gate, times of both directions side by side, peak memory. The result is plain data for JSON."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sightline.bench.case import BASELINE, BOTH, FORWARD, KIN, Case, Contender, Prepared
from sightline.bench.gate import Gate, Verdict
from sightline.bench.settings import Settings
from sightline.cost.resident import peak_extra
from sightline.cost.timing import LONG, Between, elapsed, interleaved

Records = dict[str, dict[str, Any]]  # contender -> its entry


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Gate and time every contender of a case; one that the gate refuses is kept with its reason and no time.

    On a CPU `memory.Meter` enters peak memory afterwards.
    """
    wait = torch.cuda.synchronize if settings.device.startswith("cuda") else None
    return compare(case, settings, elapsed, wait)


def compare(
    case: Case, settings: Settings, between: Between, wait: Callable[[], object] | None = None
) -> dict[str, Any]:
    """`measure` with a clock: `between` times so many calls, which end with `wait`."""
    torch.manual_seed(0)
    prepared = case.prepare(settings.device)
    verdicts = judge(prepared, BOTH in case.directions)
    records = {one.name: record(one, verdicts[one.name]) for one in prepared.contenders}
    able = [one for one in prepared.contenders if not verdicts[one.name].refused]
    known = {name: one.seconds for name, one in verdicts.items() if one.seconds > LONG * settings.sample_seconds}
    for direction in case.directions:
        calls = {
            one.name: call(one, prepared.operands, direction, wait)
            for one in able
            if one.backward or direction == FORWARD
        }
        samples = interleaved(calls, settings.rounds, settings.sample_seconds, settings.seconds, between, known)
        fill(records, direction, samples)
        if settings.memory and wait is not None:
            for name, one in calls.items():
                remember_memory(records[name], direction, peak_extra(one, settings.device))
    return entry(case, records, case.batch, prepared.macs, bytes_moved=prepared.moved)


def judge(prepared: Prepared, backward: bool) -> dict[str, Verdict]:
    """The gate's verdict on every contender; baselines and kin compute something else and pass unless they need too much memory."""
    gate = Gate(prepared, backward)
    device = next(one.device.type for one in prepared.operands if one is not None)
    verdicts = {}
    for one in prepared.contenders:
        if one.needs > 0.8 * free_memory(device):
            gigabytes, where = one.needs / 2**30, "this machine" if device == "cpu" else "the card"
            verdicts[one.name] = Verdict(refused=f"would hold {gigabytes:.1f} GB, more than {where} has free")
        else:
            verdicts[one.name] = Verdict() if one.kind in (BASELINE, KIN) else gate.check(one)
    return verdicts


def free_memory(device: str) -> float:
    """Bytes that may be had: of a GPU or of the system; infinite where nobody tells."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float("inf")


def entry(case: Any, records: Records, batch: int, macs: int = 0, **more: Any) -> dict[str, Any]:
    """A measured case: a `Case`, a net's or a growing one's."""
    contenders = list(records.values())
    return {"name": case.name, "about": case.about, "batch": batch, "macs": macs, **more, "contenders": contenders}


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


def fill(records: Records, key: str, samples: Mapping[str, Sequence[float]]) -> None:
    """Enter samples of a direction or size."""
    for name, times in samples.items():
        records[name]["seconds"][key] = [float(f"{one:.5g}") for one in times]


def remember_memory(record: dict[str, Any], direction: str, peak: tuple[int, str]) -> None:
    """Enter the peak memory of one direction and what it counts."""
    record["memory"][direction], record["memory_counts"] = peak


def call(
    contender: Contender, shared: Sequence[Tensor | None], direction: str, wait: Callable[[], object] | None = None
) -> Callable[[], object]:
    """A call without arguments that does one direction's work, then waits for the device, where it is told how."""
    operands = shared if contender.operands is None else contender.operands
    work = _forward(contender, operands) if direction == FORWARD else _both(contender, operands)
    if wait is None:
        return work

    def waiting() -> object:
        answer = work()
        wait()
        return answer

    return waiting


def _forward(contender: Contender, operands: Sequence[Tensor | None]) -> Callable[[], object]:
    return torch.no_grad()(lambda: contender.run(*operands))


def _both(contender: Contender, operands: Sequence[Tensor | None]) -> Callable[[], object]:
    operands = [None if one is None else one.detach().requires_grad_() for one in operands]
    leaves = [*(one for one in operands if one is not None), *contender.parameters]
    with torch.no_grad():
        cotangent = torch.randn_like(contender.run(*operands))
    return lambda: torch.autograd.grad(contender.run(*operands), leaves, cotangent)
