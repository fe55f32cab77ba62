"""Repeated augmentation: the positions that DeiT's own sampler draws, and shares of one global batch."""

import pytest
import torch

from sightline.data import EpochBatches
from sightline.train.repeat import Reordered, permutation, repeated_order
from tests import golden_cases
from tests.train.tiny import image_set


@pytest.mark.parametrize("name", golden_cases.names("deit_rasampler_*"))
def test_golden(name):
    case = golden_cases.load(name)
    processes, selected = case.config["num_replicas"], case.config["num_selected_samples"]
    draws = processes * selected
    order = repeated_order(case.tensors["input.permutation"], case.config["num_repeats"], draws, processes)
    for rank, expected in enumerate(case.tensors["output.indices"]):
        share = EpochBatches(draws, draws, shuffle=False, rank=rank, world=processes)
        assert torch.equal(order[next(iter(share))], expected)


def test_copies_stand_in_one_batch_on_different_processes():
    order = repeated_order(torch.tensor([7, 3, 5, 1, 0, 2, 4, 6]), repeats=2, batch_size=4, processes=2)
    assert order.tolist() == [7, 3, 7, 3, 5, 1, 5, 1]


def test_an_epoch_is_a_function_of_seed_and_epoch():
    first = permutation(50, seed=1, epoch=0)
    assert sorted(first.tolist()) == list(range(50))
    assert torch.equal(first, permutation(50, seed=1, epoch=0))
    assert not torch.equal(first, permutation(50, seed=1, epoch=1))
    assert not torch.equal(first, permutation(50, seed=0, epoch=1))


def test_a_set_seen_through_a_list():
    images = image_set(6, 0)
    view = Reordered(images, torch.tensor([4, 4, 1]))
    assert len(view) == 3
    assert view.names == ("0-4.png", "0-4.png", "0-1.png")
    assert view.labels.tolist() == [1, 1, 1]
    assert torch.equal(view.batch(torch.tensor([2, 0])), images.batch(torch.tensor([1, 4])))
