"""The operators on a GPU, in bfloat16 and channels-last at the papers' batch: correctness, times by events, the card's own limits.

A sample is the time between two CUDA events around as many calls as take `sample_seconds`; nothing waits for the host in between.
Peaks are those of bfloat16 matrix products and of copies on this card, in this run. What a limit leaves out: exponentials.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from sightline.bench.case import BASELINE, BOTH, FORWARD, Case, Contender, Prepared
from sightline.bench.gate import Gate, Verdict
from sightline.bench.machine import Machine
from sightline.bench.measure import free_memory, record
from sightline.bench.settings import Settings
from sightline.cost.resident import peak_extra
from sightline.ops.triton_support.tune import events

KIN = "kin"  # another operation, shown beside ours: its answer is not compared and it is not what ours is measured against
SIDE, GIGABYTE = 8192, 1 << 30
LEAST_ROUNDS = 3


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Gate and time every contender of a case on the GPU.

    Raises:
        ValueError: the device is no GPU.
    """
    if not settings.device.startswith("cuda"):
        raise ValueError(f"these cases are for a GPU; got device {settings.device!r}: use --device cuda")
    torch.manual_seed(0)
    machine = peaks(settings.device)
    prepared = case.prepare(settings.device)
    verdicts = judge(prepared, BOTH in case.directions)
    records = {one.name: record(one, verdicts[one.name]) for one in prepared.contenders}
    able = [one for one in prepared.contenders if not verdicts[one.name].refused]
    for direction in case.directions:
        calls = {one.name: unwaited(one, prepared, direction) for one in able if one.backward or direction == FORWARD}
        for name, times in samples(calls, settings).items():
            records[name]["seconds"][direction] = [float(f"{one:.5g}") for one in times]
        for name, one in calls.items():
            if settings.memory:
                records[name]["memory"][direction], records[name]["memory_counts"] = peak_extra(one, settings.device)
    return {
        "name": case.name,
        "about": case.about,
        "batch": case.batch,
        "macs": prepared.macs,
        "bytes_moved": prepared.moved,
        "machine": machine.as_dict(),
        "contenders": list(records.values()),
    }


def judge(prepared: Prepared, backward: bool) -> dict[str, Verdict]:
    """The gate's verdict on all but baselines and kin; what would not fit is refused unseen."""
    gate = Gate(prepared, backward)
    verdicts = {}
    for one in prepared.contenders:
        if one.needs > 0.8 * free_memory():
            verdicts[one.name] = Verdict(refused=f"would hold {one.needs / 2**30:.0f} GB, more than the card has free")
        else:
            verdicts[one.name] = Verdict() if one.kind in (BASELINE, KIN) else gate.check(one)
    return verdicts


def unwaited(contender: Contender, prepared: Prepared, direction: str) -> Callable[[], object]:
    """A call of one direction that returns once its kernels are queued."""
    operands = prepared.operands if contender.operands is None else contender.operands
    if direction == FORWARD:
        return torch.no_grad()(lambda: contender.run(*operands))
    operands = [None if one is None else one.detach().requires_grad_() for one in operands]
    leaves = [*(one for one in operands if one is not None), *contender.parameters]
    with torch.no_grad():
        cotangent = torch.randn_like(contender.run(*operands))
    return lambda: torch.autograd.grad(contender.run(*operands), leaves, cotangent)


def samples(
    calls: Mapping[str, Callable[[], object]],
    settings: Settings,
    between: Callable[[Callable[[], object], int], float] | None = None,
) -> dict[str, list[float]]:
    """Seconds of a call, round by round, every round beginning with another one; `between` times some calls (CUDA events)."""
    clock = events if between is None else between
    names, counts = list(calls), {}
    for name in names:
        clock(calls[name], 1)  # compiles and tunes
        counts[name] = max(int(settings.sample_seconds / max(clock(calls[name], 3) / 3, 1e-7)), 1)
    found: dict[str, list[float]] = {name: [] for name in names}
    spent = 0.0
    for turn in range(settings.rounds):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            whole = clock(calls[name], counts[name])
            spent += whole
            found[name].append(whole / counts[name])
        if turn + 1 >= LEAST_ROUNDS and spent > settings.seconds:
            break
    return found


def peaks(device: str) -> Machine:
    """Bfloat16 matrix products and copies, the best of five."""
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.zeros(GIGABYTE, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    products = [events(lambda: torch.mm(a, b), 5) / 5 for _ in range(6)][1:]
    copies = [events(lambda: target.copy_(source), 5) / 5 for _ in range(6)][1:]
    return Machine(2 * SIDE**3 / min(products) / 1e9, 2 * GIGABYTE / min(copies) / 1e9, SIDE)
