"""SIGKILL at random steps, and at every moment of writing a checkpoint: the run ends as if nothing had happened, bit by bit.

SIGHTLINE_KILLS=20 (`make survive`) kills that often; twice suffices for `make test`.
"""

import random
import time
from pathlib import Path

import pytest
import torch

from sightline.runs import RunFolder
from tests.survive.ends import differences, draw_pictures
from tests.survive.job import KILLS, Job, Team

MOMENTS = ["fsync", "link", "replace", "folder", "written", "half"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def whole(request, pictures, tmp_path_factory) -> tuple[int, Path]:
    """A run that nobody disturbed, and its number of processes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    team = Team(Job(folder, pictures), request.param)
    assert set(team.wait()) == {0}, team.words()
    return request.param, folder


def test_killed_at_random_steps(whole, pictures, tmp_path):
    world, undisturbed = whole
    folder, draw, killed = tmp_path / "run", random.Random(world), []
    while len(killed) < KILLS:
        team, wanted = Team(Job(folder, pictures), world), draw.randint(1, 5)
        places = [place for place in (team.next_step() for _ in range(wanted)) if place is not None]
        time.sleep(draw.random() * 0.02)  # somewhere within the next step, or within the writing of a checkpoint
        ranks = draw.choice([(0,), (1,), (0, 1)]) if world > 1 else (0,)
        team.kill(ranks)
        assert not RunFolder(folder).finished(), "the run ended before it was killed often enough: give it more epochs"
        killed.append(f"after epoch {places[-1][0]} step {places[-1][1]}" if places else "before its first step")
        print(f"kill {len(killed):2} of process {' and '.join(map(str, ranks))} of {world}: {killed[-1]}", flush=True)
    team = Team(Job(folder, pictures), world)
    assert set(team.wait()) == {0}, team.words()
    found = differences(undisturbed, folder)
    print(f"{world} process(es), {len(killed)} kills: {found or 'identical to the last bit'}", flush=True)
    assert not found


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_a_checkpoint_is_written(moment, whole, pictures, tmp_path, monkeypatch):
    world, undisturbed = whole
    if world > 1 and moment != "replace":
        pytest.skip("the main process alone writes; once is enough for the others")
    folder = tmp_path / "run"
    team = Team(Job(folder, pictures, fault=f"tests.survive.faults:die_at_{moment}"), world)
    assert -9 in team.wait(), team.words()
    kept = [file for file in (folder / "checkpoints").glob("*.pt") if not file.name.startswith(".")]
    assert kept
    assert all(torch.load(file, weights_only=True)["schema"] == 1 for file in kept)
    team = Team(Job(folder, pictures), world)
    assert set(team.wait()) == {0}, team.words()
    assert differences(undisturbed, folder) == []
