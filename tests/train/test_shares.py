"""However many processes share a batch, together they see what one would: the same images, augmented and mixed alike."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sightline.train.feed import Feed
from sightline.train.groups import cut_share, group_count
from sightline.train.plan import cut_batches
from tests.train.tiny import RECIPE, STEPS, image_set, splits

DATA = splits()
STRONG = replace(RECIPE, mixup=0.8, cutmix=1.0, erasing=0.5, randaugment_ops=1)


def feed(recipe, rank: int = 0, world: int = 1, data=DATA) -> Feed:
    place = SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))
    return Feed(data, recipe, cut_batches(recipe, world, len(data.train)), place)


def epoch(one: Feed, number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Per step: what the net gets, all parts of it."""
    steps = [one.parts(batch, number, step) for step, batch in enumerate(one.epoch(number, 0))]
    return [tuple(torch.cat(part) for part in zip(*parts, strict=True)) for parts in steps]


def rows(images: torch.Tensor, targets: torch.Tensor) -> list[bytes]:
    """One entry an image, with its target, in an order of their own."""
    return sorted(torch.cat((images.flatten(1), targets), 1)[i].numpy().tobytes() for i in range(len(images)))


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("world", [2, 4, 8])
def test_processes_see_what_one_would(world, repeats):
    recipe = replace(STRONG, repeats=repeats)
    whole = epoch(feed(recipe), 3)
    shares = [epoch(feed(recipe, rank, world), 3) for rank in range(world)]
    assert len(whole) == STEPS
    for step in range(STEPS):
        assert all(len(share[step][0]) == 8 // world for share in shares)
        together = [torch.cat([share[step][part] for share in shares]) for part in (0, 1)]
        assert rows(*together) == rows(*whole[step])


@pytest.mark.parametrize(("batch", "world"), [(300, 2), (300, 3), (260, 4), (384, 6), (1021, 1), (264, 8)])
@pytest.mark.parametrize("repeats", [1, 3])
def test_so_do_shares_of_several_groups(batch, world, repeats):
    data = splits(train=0)
    data = replace(data, train=image_set(batch + 5, 1, (2, 3)))
    recipe = replace(STRONG, batch_size=batch, repeats=repeats, randaugment_ops=0)
    (whole,) = epoch(feed(recipe, data=data), 0)
    shares = [epoch(feed(recipe, rank, world, data), 0)[0] for rank in range(world)]
    assert all(len(images) == batch // world for images, _ in shares)
    assert rows(*(torch.cat(part) for part in zip(*shares, strict=True))) == rows(*whole)


def test_whole_groups_are_read_alone():
    assert group_count(1024) == 8
    for rank in range(8):
        share = cut_share(1024, rank, 8)
        assert (share.groups, share.start, share.stop, share.kept) == ((rank,), 128 * rank, 128 * rank + 128, None)
    assert cut_share(1024, 1, 2).groups == (4, 5, 6, 7)


def test_copies_go_to_different_processes():
    recipe = replace(RECIPE, repeats=2)
    own = [next(feed(recipe, rank, 2).epoch(0, 0)) for rank in (0, 1)]
    kept = [batch.indices[cut_share(8, rank, 2).kept] for rank, batch in enumerate(own)]
    order = feed(recipe)._repeated(0).order
    assert torch.equal(order[kept[0]], order[kept[1]])


def test_an_epoch_resumes_at_a_step():
    recipe = replace(RECIPE, workers=2)
    whole, rest = list(feed(recipe).epoch(1, 0)), list(feed(recipe).epoch(1, 2))
    assert len(rest) == STEPS - 2
    assert torch.equal(whole[2].images, rest[0].images)


def test_parts_of_a_share():
    recipe = replace(RECIPE, accumulate=4, mixup=0.8)
    one = feed(recipe)
    batch = next(one.epoch(0, 0))
    parts, again, later = (one.parts(batch, 0, step) for step in (1, 1, 2))
    assert [images.shape for images, _ in parts] == [(2, 3, 6, 5)] * 4
    assert all(
        torch.equal(a, b) for part, other in zip(parts, again, strict=True) for a, b in zip(part, other, strict=True)
    )
    assert not torch.equal(parts[0][0], later[0][0])
    for _, targets in parts:
        torch.testing.assert_close(targets.sum(1), torch.ones(2))


@pytest.mark.parametrize(
    ("changes", "world", "cut"),
    [
        ({"batch_size": 64}, 1, (64, 1)),
        ({"batch_size": 64, "device_batch": 16}, 1, (16, 4)),
        ({"batch_size": 64, "device_batch": 16}, 2, (16, 2)),
        ({"batch_size": 64, "device_batch": 100}, 2, (32, 1)),
        ({"batch_size": 60, "device_batch": 16}, 1, (15, 4)),
        ({"batch_size": 60, "device_batch": 16, "accumulate": 2}, 2, (15, 2)),
        ({"batch_size": 62, "device_batch": 7}, 1, (2, 31)),
    ],
)
def test_fewer_devices_take_more_parts(changes, world, cut):
    recipe = replace(RECIPE, **changes)
    batches = cut_batches(recipe, world, 1000)
    assert (batches.per_process, batches.accumulate) == cut
    assert batches.size == recipe.batch_size
    assert f"a batch of {recipe.batch_size} images = {cut[0]}" in batches.describe(recipe)
