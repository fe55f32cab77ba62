"""A net in pieces on two processes (FSDP2) learns what a whole one learns, is killed and goes on, and ends as one file."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from sightline.runs import RunFolder
from tests.survive.ends import timeless
from tests.survive.job import RUN, Job, Team

RECIPE = replace(RUN, epochs=4, drop_path=0.0, accumulate=2, checkpoint_steps=2, workers=0)
ROUNDING = ("conv.bias", "norm.running_mean")
"""A bias before a normalisation has no gradient but rounding, which AdamW magnifies; the mean follows it, the output does not."""


def test_pieces_learn_what_the_whole_learns_and_survive(tmp_path):
    jobs = {
        name: Job(
            tmp_path / name, recipe=replace(RECIPE, sharded=name != "whole"), fault="tests.survive.faults:small_units"
        )
        for name in ("whole", "pieces", "killed")
    }
    for name in ("whole", "pieces"):
        team = Team(jobs[name], 2)
        assert team.wait() == [0, 0], team.words()
    for _ in range(2):
        team = Team(jobs["killed"], 2)
        for _ in range(4):
            team.next_step()
        team.kill((0, 1))
    assert not RunFolder(tmp_path / "killed").finished()
    team = Team(jobs["killed"], 2)
    assert team.wait() == [0, 0], team.words()
    whole, pieces, killed = (load_file(tmp_path / name / "model.safetensors") for name in jobs)
    for key, value in whole.items():
        assert torch.equal(killed[key], pieces[key])
        if key not in ROUNDING:
            torch.testing.assert_close(pieces[key], value, rtol=1e-4, atol=1e-6)
    losses = [[line["train_loss"] for line in RunFolder(tmp_path / name).log()] for name in ("whole", "pieces")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "pieces")
    assert (tmp_path / "killed" / "checkpoints" / "last.sharded" / ".metadata").is_file()
