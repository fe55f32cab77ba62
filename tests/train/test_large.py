"""Switches for large nets change memory and speed, not what is learnt."""

from dataclasses import replace

import pytest
import torch

from sightline.evaluate import load_run
from sightline.train import train
from tests.train.tiny import CNN, RECIPE, splits

SMALL_VIT = {"depth": 2, "dim": 24, "heads": 2}


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("vit_mini", SMALL_VIT),
        ("sasa_resnet_mini", {}),
        ("lrnet_mini", {}),
        ("san_mini_pairwise", {}),
        ("san_mini_patchwise", {}),
    ],
)
def test_recomputed_activations_give_the_same_weights(tmp_path, model, options):
    """And the same batch statistics: they are counted once."""
    recipe = replace(RECIPE, epochs=1, drop_path=0.3 if options else 0.0)
    data = splits()
    for name, switch in (("kept", False), ("recomputed", True)):
        run = replace(recipe, grad_checkpointing=switch)
        train(run, model, data, tmp_path / name, model_options=options)
    kept, recomputed = (load_run(tmp_path / name)[0].state_dict() for name in ("kept", "recomputed"))
    assert all(torch.equal(kept[key], recomputed[key]) for key in kept)


def test_a_net_that_can_not_recompute_says_so(tmp_path):
    with pytest.raises(ValueError, match="TinyNet can not recompute its activations; leave grad_checkpointing=no"):
        train(replace(RECIPE, grad_checkpointing=True), CNN, splits(), tmp_path)
