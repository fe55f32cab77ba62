"""The order of pictures, and the loader that follows it."""

import threading
import time

import pytest
import torch

from sightline.data import EpochBatches, Loader, LoaderError, MemorySet


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("size", [8, 17, 30, 64])
@pytest.mark.parametrize("drop_last", [False, True])
def test_nothing_is_lost_or_repeated(world, size, drop_last):
    ranks = [
        list(EpochBatches(size, 8, seed=3, epoch=2, drop_last=drop_last, rank=rank, world=world))
        for rank in range(world)
    ]
    steps = size // 8 if drop_last else -(-size // 8)
    assert [len(batches) for batches in ranks] == [steps] * world
    seen = torch.cat([indices for batches in ranks for indices in batches]).tolist()
    assert len(seen) == len(set(seen)) == (steps * 8 if drop_last else size)
    alone = list(EpochBatches(size, 8, seed=3, epoch=2, drop_last=drop_last))
    for step, expected in enumerate(alone):
        assert torch.equal(torch.cat([batches[step] for batches in ranks]), expected)
        parts = [len(batches[step]) for batches in ranks]
        assert max(parts) - min(parts) <= 1


def test_seed_and_epoch_change_the_order_and_nothing_else_does():
    def order(**options):
        return torch.cat(list(EpochBatches(100, 10, **options))).tolist()

    assert order(seed=0, epoch=1) == order(seed=0, epoch=1) != order(seed=1, epoch=0)
    assert order(seed=0, epoch=0) != order(seed=0, epoch=1)
    torch.manual_seed(5)
    assert order(seed=0, epoch=1) == torch.cat(list(EpochBatches(100, 20, seed=0, epoch=1))).tolist()
    assert order(shuffle=False) == list(range(100))


def test_resuming_in_the_middle():
    whole = list(EpochBatches(50, 8, seed=1))
    for start in range(8):
        rest = EpochBatches(50, 8, seed=1, start=start)
        assert len(rest) == 7 - start
        assert [batch.tolist() for batch in rest] == [batch.tolist() for batch in whole[start:]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 9, "world": 2}, "positive multiple of the 2 processes; got 9"),
        ({"batch_size": 0}, "positive multiple of the 1 processes; got 0"),
        ({"batch_size": 64, "drop_last": True}, "leaves none of 50 pictures; batch_size is 64, lower it"),
        ({"batch_size": 10, "start": 6}, "0 to 5; got 6"),
        ({"batch_size": 10, "rank": 2, "world": 2}, "got rank=2, world=2"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        EpochBatches(50, **options)


def numbered(count):
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 3, 2, 2)
    return MemorySet(images, torch.arange(count) % 3, "abc", [str(i) for i in range(count)])


class Slow(MemorySet):
    """Takes its time over a batch, more for some than for others, and notes how many threads read."""

    def __init__(self, count, seconds=0.004):
        inner = numbered(count)
        super().__init__(inner.images, inner.labels, inner.classes, inner.names)
        self.seconds, self.inside, self.most, self.begun, self.lock = seconds, 0, 0, 0, threading.Lock()

    def batch(self, indices):
        with self.lock:
            self.inside += 1
            self.begun += 1
            self.most = max(self.most, self.inside)
        time.sleep(self.seconds * (1 + int(indices[0]) % 3))
        with self.lock:
            self.inside -= 1
        return super().batch(indices)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_order_does_not_depend_on_the_workers(workers):
    images = Slow(50)
    loader = Loader(images, 8, seed=2, workers=workers)
    expected = list(EpochBatches(50, 8, seed=2, epoch=4))
    assert loader.steps == 7
    for batch, indices in zip(loader.epoch(4), expected, strict=True):
        assert torch.equal(batch.indices, indices)
        assert torch.equal(batch.labels, indices % 3)
        assert torch.equal(batch.images[:, 0, 0, 0], indices.to(torch.uint8))
    assert [batch.indices.tolist() for batch in loader.epoch(4, start=5)] == [b.tolist() for b in expected[5:]]
    assert images.most <= max(1, workers)


def test_ranks_share_the_batches():
    parts = [list(Loader(numbered(20), 8, rank=rank, world=2, drop_last=True).epoch(0)) for rank in (0, 1)]
    assert [len(batch.labels) for part in parts for batch in part] == [4] * 4


def test_the_share_of_time_waited(monkeypatch):
    """A clock that moves 3 with every batch and 1 with every step of the loop: 3 of 4 parts are waiting."""
    clock = [100.0]
    monkeypatch.setattr("sightline.data.loader.perf_counter", lambda: clock[0])

    class Timed(MemorySet):
        def batch(self, indices):
            clock[0] += 3
            return super().batch(indices)

    inner = numbered(40)
    loader = Loader(Timed(inner.images, inner.labels, inner.classes, inner.names), 8)
    assert loader.wait == 0.0
    for _ in range(2):
        for _ in loader.epoch(0):
            clock[0] += 1
        assert loader.wait == 0.75


def test_workers_prepare_batches_ahead():
    images = Slow(80, seconds=0)
    epoch = Loader(images, 8, workers=2).epoch(0)
    next(epoch)
    patience = time.monotonic() + 20
    while images.begun < 5 and time.monotonic() < patience:
        time.sleep(0.001)
    assert images.begun == 5  # the one taken and two a worker
    epoch.close()


def test_stopping_early_stops_the_workers():
    threads = threading.active_count()
    epoch = Loader(Slow(200), 4, workers=2).epoch(0)
    next(epoch)
    epoch.close()
    assert threading.active_count() == threads


def test_an_error_in_a_worker_reaches_the_loop():
    class Broken(Slow):
        def batch(self, indices):
            if 13 in indices.tolist():
                raise OSError("picture 13 is gone")
            return super().batch(indices)

    loader = Loader(Broken(40), 8, shuffle=False, workers=2)
    epoch = loader.epoch(0)
    assert next(epoch).indices.tolist() == list(range(8))
    with pytest.raises(
        LoaderError, match="a worker failed on a batch of 8 pictures, the first of them 8: picture 13 is gone"
    ):
        next(epoch)


def test_loader_checks_its_options_at_once():
    with pytest.raises(ValueError, match="workers can not be negative; got -1"):
        Loader(numbered(4), 2, workers=-1)
    with pytest.raises(ValueError, match="leaves none of 4 pictures"):
        Loader(numbered(4), 8, drop_last=True)
