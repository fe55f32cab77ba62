"""The most memory a call adds: of the process as the system sees it, or of tensors where the system does not tell.

On Linux the kernel keeps a process's largest resident size and forgets it when asked (proc(5), /proc/self/clear_refs), so scratch
space of libraries counts too. What the allocator holds free is handed back first; blocks that it keeps between others can still be
in the way of larger ones, or not, so the least of some calls is taken.
"""

import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from sightline.cost.measure import PeakMemory

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESIDENT, TENSORS, DEVICE = "resident", "tensors", "device"  # what a number counts
TIMES, LONGEST = 3, 1.0  # calls, and the seconds after which no further one begins


def peak_extra(call: Callable[[], object], device: str = "cpu", times: int = TIMES) -> tuple[int, str]:
    """Bytes that a call holds at its peak beyond what was held before, its result included; and what was counted.

    The least of `times` calls, where the system tells.

    Call it once before: the first call of a kind loads code.
    """
    gc.collect()
    if device.startswith("cuda"):
        return _on_device(call), DEVICE
    if _forget_peak():
        return _least_growth(call, times), RESIDENT
    with PeakMemory() as memory:
        call()
    return memory.peak, TENSORS


def _least_growth(call: Callable[[], object], times: int) -> int:
    start, found = time.monotonic(), []
    while len(found) < times and (not found or time.monotonic() - start < LONGEST):
        _forget_peak()
        before = _status("VmRSS")
        result = call()  # held until the peak is read
        found.append(_status("VmHWM") - before)
        del result
    return max(min(found), 0)


def _on_device(call: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _forget_peak() -> bool:
    """Hand free memory back and let the system count anew; False where it can not."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        FORGET.write_text("5")
        return _status("VmHWM") > 0
    except OSError:
        return False


def _status(key: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0
