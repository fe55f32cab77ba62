"""The most memory a call adds: of the process as the system sees it, or of tensors where the system does not tell.

On Linux the kernel keeps a process's largest resident size and forgets it when asked (proc(5), /proc/self/clear_refs), so scratch
space of libraries counts too. What the allocator holds free is handed back first.
"""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from sightline.cost.measure import PeakMemory

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESIDENT, TENSORS, DEVICE = "resident", "tensors", "device"  # what a number counts


def peak_extra(call: Callable[[], object], device: str = "cpu") -> tuple[int, str]:
    """Bytes that a call holds at its peak beyond what was held before, its result included; and what was counted.

    Call it once before: the first call of a kind loads code.
    """
    gc.collect()
    if device.startswith("cuda"):
        return _on_device(call), DEVICE
    if _forget_peak():
        before = _status("VmRSS")
        result = call()  # held until the peak is read
        peak = _status("VmHWM")
        del result
        return max(peak - before, 0), RESIDENT
    with PeakMemory() as memory:
        call()
    return memory.peak, TENSORS


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
