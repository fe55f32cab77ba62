"""Feed batches to a training or evaluation loop, and say how long it had to wait for them."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from time import perf_counter
from typing import NamedTuple

from torch import Tensor

from sightline.data.batches import EpochBatches
from sightline.data.errors import DataError
from sightline.data.imageset import ImageSet
from sightline.data.stream import StreamSet

_AHEAD = 2  # batches in preparation, a worker


class LoaderError(RuntimeError):
    """A batch could not be prepared, for a reason that is not the picture's."""


class Batch(NamedTuple):
    """uint8 (B, 3, H, W) images, int64 (B,) labels, and the int64 (B,) positions in the set they come from."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class Loader:
    """Batches of a set, epoch by epoch; the order is that of `EpochBatches`, whatever the number of workers.

    Args:
        images: the set.
        batch_size: pictures a step, all processes together.
        seed, shuffle, drop_last, rank, world, rows: see `EpochBatches`.
        lanes: of a streamed set, see `stream_order`; they must divide batch_size.
        workers: threads that prepare batches ahead; 0: a batch is prepared when it is asked for, best for sets in memory.

    Raises:
        ValueError: workers is negative, or a rule of `EpochBatches` is broken.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
        rows: slice | None = None,
        lanes: int = 1,
        workers: int = 0,
    ) -> None:
        if workers < 0:
            raise ValueError(f"workers can not be negative; got {workers}")
        self.images = images
        self.workers, self.lanes = workers, lanes
        self._options = {
            "size": len(images),
            "batch_size": batch_size,
            "seed": seed,
            "shuffle": shuffle,
            "drop_last": drop_last,
            "rank": rank,
            "world": world,
            "rows": rows,
        }
        self.steps = EpochBatches(**self._options).steps
        self._waited = 0.0
        self._elapsed = 0.0

    @property
    def wait(self) -> float:
        """Share of the latest epoch's time, 0 to 1, that the loop spent waiting for batches."""
        return self._waited / self._elapsed if self._elapsed else 0.0

    def epoch(self, epoch: int = 0, start: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of one epoch, from step `start` on.

        Raises:
            UnreadableImage: a picture could be read once and can not be any more.
            LoaderError: a batch could not be prepared for another reason.
        """
        batches = EpochBatches(**self._options, epoch=epoch, start=start, order=self._streamed(epoch))
        self._waited, began = 0.0, perf_counter()
        with closing(self._ahead(batches) if self.workers else self._at_once(batches)) as ready:
            while True:
                asked = perf_counter()
                batch = next(ready, None)
                got = perf_counter()
                self._waited += got - asked
                self._elapsed = got - began
                if batch is None:
                    return
                yield batch

    def _streamed(self, epoch: int) -> Tensor | None:
        """The order of a set that is read from shards; None for others."""
        if not (isinstance(self.images, StreamSet) and self._options["shuffle"]):
            return None
        return self.images.order(self._options["seed"], epoch, self._options["batch_size"], self.lanes)

    def _at_once(self, batches: Iterable[Tensor]) -> Generator[Batch, None, None]:
        for indices in batches:
            yield self._fetch(indices)

    def _ahead(self, batches: Iterable[Tensor]) -> Generator[Batch, None, None]:
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for indices in batches:
                    waiting.append(pool.submit(self._fetch, indices))
                    if len(waiting) > _AHEAD * self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:  # the loop stopped early, or a batch failed
                    future.cancel()

    def _fetch(self, indices: Tensor) -> Batch:
        try:
            return Batch(self.images.batch(indices), self.images.labels[indices], indices)
        except DataError:
            raise
        except Exception as error:  # out of memory, out of threads or files, a decoder that broke
            where = "a worker" if self.workers else "the loader"
            first = self.images.names[int(indices[0])]
            raise LoaderError(
                f"{where} failed on a batch of {len(indices)} pictures, the first of them {first}: "
                f"{error or type(error).__name__}. What is saved is kept; fewer workers need less memory"
            ) from error
