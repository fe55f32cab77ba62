"""However many processes share a batch, together they see what one would."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sightline.train.feed import Feed
from sightline.train.plan import cut_batches
from tests.train.tiny import RECIPE, STEPS, splits

DATA = splits()


def feed(recipe, rank: int = 0, world: int = 1) -> Feed:
    place = SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))
    return Feed(DATA, recipe, cut_batches(recipe, world, len(DATA.train)), place)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("world", [2, 4, 8])
def test_the_global_batch_is_kept(world, repeats):
    recipe = replace(RECIPE, repeats=repeats)
    whole = [batch.images for batch in feed(recipe).epoch(3, 0)]
    shares = [[batch.images for batch in feed(recipe, rank, world).epoch(3, 0)] for rank in range(world)]
    assert len(whole) == STEPS
    for step in range(STEPS):
        together = torch.cat([share[step] for share in shares])
        assert all(len(share[step]) == 8 // world for share in shares)
        assert sorted(map(str, together.tolist())) == sorted(map(str, whole[step].tolist()))


def test_an_epoch_resumes_at_a_step():
    recipe = replace(RECIPE, workers=2)
    whole, rest = list(feed(recipe).epoch(1, 0)), list(feed(recipe).epoch(1, 2))
    assert len(rest) == STEPS - 2
    assert torch.equal(whole[2].images, rest[0].images)


def test_parts_of_a_share():
    recipe = replace(RECIPE, accumulate=4, mixup=0.8)
    one = feed(recipe)
    batch = next(one.epoch(0, 0))
    parts = one.parts(batch, torch.Generator().manual_seed(1))
    again = one.parts(batch, torch.Generator().manual_seed(1))
    assert [images.shape for images, _ in parts] == [(2, 3, 6, 5)] * 4
    assert all(
        torch.equal(a, b) for part, other in zip(parts, again, strict=True) for a, b in zip(part, other, strict=True)
    )
    for _, targets in parts:
        torch.testing.assert_close(targets.sum(1), torch.ones(2))
