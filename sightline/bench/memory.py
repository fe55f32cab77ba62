"""Peak memory on a CPU, measured in a process of its own.

What was freed may be kept, handed back or cut into pieces, so that a process which has run for a while grows by more or by less
than a call needs (glibc; the same step of criss-cross attention: 126 to 206 MB). A new process that makes every large block a map
of its own grows by what the call holds, the same each time.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import torch

from sightline.bench.case import Case
from sightline.bench.measure import call, remember_memory
from sightline.cost.resident import peak_extra

APART = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}  # read by glibc when a process begins; other systems ignore it

Peaks = dict[tuple[str, str], tuple[int, str]]  # contender, direction -> bytes, what they count


class Meter:
    """Enters the peak memory of one section's cases; its process begins with the first of them.

    Args:
        section: whose cases they are.
        wanted: enter it; otherwise `fill` does nothing.
    """

    def __init__(self, section: str, wanted: bool = True) -> None:
        self.section, self.wanted = section, wanted
        self._pool: ProcessPoolExecutor | None = None

    def fill(self, entry: dict[str, Any]) -> None:
        """Enter the peaks of every contender of a measured case that was timed; none where the system ends the process for them."""
        if not self.wanted:
            return
        records = {one["name"]: one for one in entry["contenders"]}
        timed = [(name, direction) for name, one in records.items() for direction in one["seconds"]]
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, get_context("spawn"))
        try:
            with _environment(APART):
                found = self._pool.submit(peaks, self.section, entry["name"], timed, torch.get_num_threads()).result()
        except BrokenProcessPool:  # killed for memory; the next case begins another
            self.close()
            return
        for (name, direction), peak in found.items():
            remember_memory(records[name], direction, peak)

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None


def peaks(section: str, name: str, timed: list[tuple[str, str]], threads: int) -> Peaks:
    """The peaks of some contenders of a case, each in some directions."""
    from sightline.bench.sections import SECTIONS

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    case: Case = next(one for one in SECTIONS[section].cases() if one.name == name)
    prepared = case.prepare("cpu")
    contenders = {one.name: one for one in prepared.contenders}
    found, warm = {}, set()
    for contender, direction in timed:
        work = call(contenders[contender], prepared.operands, direction)
        if contender not in warm:  # the first call of a kind loads code
            work()
        warm.add(contender)
        found[contender, direction] = peak_extra(work, times=1)
    return found


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """What processes that begin within find in their environment besides."""
    before = {key: os.environ.get(key) for key in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
