"""Work in a bounded number of threads behind a bounded queue. Equal work asked for at the same time is done once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sightline.web.limits import Limits, Refused


@dataclass
class _Flight:
    job: Future[Any]
    answer: asyncio.Future[Any]
    awaited: int = 0


class Pool:
    """Run jobs in threads. Used from one event loop.

    Args:
        limits: workers, waiting, waiting_each.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="sightline-web")
        self._flights: dict[Hashable, _Flight] = {}
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        """Jobs that run or wait."""
        return len(self._flights)

    async def run(self, key: Hashable, owner: str, work: Callable[[], Any]) -> Any:
        """The result of `work()`, done in a thread, or of equal work (same key) that is on its way.

        Work that nobody waits for any more is taken out of the queue.

        Raises:
            Refused: 503, the queue is full, for all or for this owner.
        """
        flight = self._flights.get(key) or self._start(key, owner, work)
        flight.awaited += 1
        try:
            return await asyncio.shield(flight.answer)
        finally:
            flight.awaited -= 1
            if not flight.awaited and flight.job.cancel():  # what runs already runs to its end
                self._flights.pop(key, None)

    def close(self) -> None:
        """Start nothing more; what runs ends in its own time."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, key: Hashable, owner: str, work: Callable[[], Any]) -> _Flight:
        if len(self._flights) >= self._limits.waiting:
            raise Refused(503, f"the server is busy with {len(self._flights)} jobs; try again in a moment", 1)
        if self._of[owner] >= self._limits.waiting_each:
            raise Refused(503, f"you have {self._of[owner]} jobs waiting already; try again in a moment", 1)
        job = self._threads.submit(work)
        flight = self._flights[key] = _Flight(job, asyncio.wrap_future(job))
        self._of[owner] += 1
        loop = asyncio.get_running_loop()

        def landed(_job: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop may have ended before the thread did
                loop.call_soon_threadsafe(self._land, key, owner, flight)

        job.add_done_callback(landed)
        return flight

    def _land(self, key: Hashable, owner: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        self._of[owner] -= 1
        if not self._of[owner]:
            del self._of[owner]
        if not flight.job.cancelled():
            flight.job.exception()  # looked at, so that nobody complains of an error that nobody waited for
            if flight.answer.done() and not flight.answer.cancelled():
                flight.answer.exception()
