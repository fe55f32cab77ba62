"""Two processes learn what one learns: the same losses for the same global batch, whatever is drawn on the way to the net."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from sightline.runs import RunFolder
from tests.survive.job import RUN, Job, Team

TOLERANCE = 1e-5
"""Of losses, relative: the order of a sum differs, once a layer and step. Twelve steps of AdamW carry that along."""
PLAIN = replace(RUN, epochs=4, drop_path=0.0, ema=0.9, accumulate=1, checkpoint_steps=None, workers=0)


@pytest.mark.parametrize(
    "changes",
    [{}, {"repeats": 3}, {"accumulate": 2}, {"device_batch": 2, "clip_grad": 0.1}],
    ids=["mixup, CutMix, erasing", "repeated augmentation", "accumulation", "parts of two, clipped"],
)
def test_two_processes_give_the_losses_of_one(tmp_path, changes):
    recipe = replace(PLAIN, **changes)
    one, two = (
        Job(tmp_path / name, recipe=recipe, fault="tests.survive.faults:without_norm") for name in ("one", "two")
    )
    teams = Team(one), Team(two, 2)
    assert [team.wait() for team in teams] == [[0], [0, 0]], teams[1].words()
    logs = [RunFolder(job.folder).log() for job in (one, two)]
    differ = [abs(a[key] - b[key]) / a[key] for a, b in zip(*logs, strict=True) for key in ("train_loss", "val_loss")]
    print(
        f"{changes or 'plain'}: {[line['train_loss'] for line in logs[0]]}, largest relative difference {max(differ):.1e}"
    )
    assert max(differ) < TOLERANCE
    weights = [load_file(job.folder / "model.safetensors") for job in (one, two)]
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], rtol=1e-3, atol=1e-5)
    cut = [RunFolder(job.folder).read("recipe")["batch"] for job in (one, two)]
    assert cut[0]["global"] == cut[1]["global"] == 8
    assert (logs[0][0]["processes"], logs[1][0]["processes"]) == (1, 2)


def test_averages_follow_batch_statistics_on_two_processes(tmp_path):
    job = Job(tmp_path / "run", recipe=PLAIN)
    team = Team(job, 2)
    assert team.wait() == [0, 0], team.words()
    averaged = load_file(job.folder / "model.safetensors")
    assert averaged["norm.num_batches_tracked"] == 12
    assert averaged["norm.running_mean"].abs().max() > 0
