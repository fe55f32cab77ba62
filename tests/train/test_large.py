"""Switches for large nets change memory and speed, not what is learnt."""

from dataclasses import replace

import pytest
import torch

from sightline.evaluate import load_run
from sightline.train import train
from tests.train.tiny import CNN, RECIPE, splits


def test_recomputed_activations_give_the_same_weights(tmp_path):
    recipe = replace(RECIPE, epochs=1, drop_path=0.3)
    data, small = splits(), {"depth": 2, "dim": 24, "heads": 2}
    for name, switch in (("kept", False), ("recomputed", True)):
        run = replace(recipe, grad_checkpointing=switch)
        train(run, "vit_mini", data, tmp_path / name, model_options=small)
    kept, recomputed = (load_run(tmp_path / name)[0].state_dict() for name in ("kept", "recomputed"))
    assert all(torch.equal(kept[key], recomputed[key]) for key in kept)


def test_a_net_that_can_not_recompute_says_so(tmp_path):
    with pytest.raises(ValueError, match="TinyNet can not recompute its activations; leave grad_checkpointing=no"):
        train(replace(RECIPE, grad_checkpointing=True), CNN, splits(), tmp_path)
