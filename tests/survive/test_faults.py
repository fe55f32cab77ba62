"""What goes wrong around a training ends in a message with name and remedy; at most what came after the last checkpoint is lost."""

import os
import shutil
import signal
import subprocess
from dataclasses import replace

import pytest
import torch

from sightline.data import FileSet, LoaderError, UnreadableImage
from sightline.runs import RunFolder, RunFolderError
from sightline.train import train
from tests.survive.ends import differences, draw_pictures
from tests.survive.job import RUN, Job, Team, read
from tests.train.tiny import CNN, splits

SHORT = replace(RUN, epochs=4)


def at(epoch: int, step: int, act):
    return lambda place: act() if (place.epoch, place.step) == (epoch, step) else None


def checkpoint(run) -> dict:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pictures):
    """A run that nobody disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(SHORT, CNN, read(pictures), run)
    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    tried = subprocess.run(mount, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no small file system can be mounted here (it takes root): {tried.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    "left", [0, 4096, 12288], ids=["full to the last byte", "a page left", "half a checkpoint left"]
)
def test_a_full_disk(small_disk, pictures, whole, left):
    filler, data = small_disk / "filler", read(pictures)

    def fill():
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left)))

    with pytest.raises(
        RunFolderError, match=r"cannot write .*: No space left on device; .*Free some space, then resume"
    ) as e:
        train(SHORT, CNN, data, small_disk / "run", progress=at(1, 2, fill))
    print(f"{left} bytes left: {e.value}")
    saved = checkpoint(small_disk / "run")
    assert (saved["epoch"], saved["step"]) in [(1, 0), (1, 1)], "at most the work since the last checkpoint is lost"
    assert not list(small_disk.rglob(".*.part")), "nothing half-written is left lying"
    filler.unlink()
    train(SHORT, CNN, data, small_disk / "run", resume=True)
    assert differences(whole, small_disk / "run") == []
    print("freed, resumed: identical to the last bit")


def test_a_deleted_picture(tmp_path, pictures, whole):
    victim, run = pictures / "train" / "r" / "0.png", tmp_path / "run"
    kept = victim.read_bytes()
    with pytest.raises(
        UnreadableImage, match=r"train/r/0\.png: no such file; .*Put it back as it was and resume the run"
    ):
        train(SHORT, CNN, read(pictures), run, progress=at(1, 1, victim.unlink))
    assert checkpoint(run)["epoch"] >= 1
    victim.write_bytes(kept)
    train(SHORT, CNN, read(pictures), run, resume=True)
    assert differences(whole, run) == []


@pytest.mark.parametrize("error", [MemoryError("cannot allocate"), OSError(24, "Too many open files"), RuntimeError()])
def test_a_dying_worker(tmp_path, pictures, whole, monkeypatch, error):
    run, batch = tmp_path / "run", FileSet.batch

    def fail(self, indices):
        if len(indices) == SHORT.batch_size:
            raise error
        return batch(self, indices)

    def break_it():
        monkeypatch.setattr(FileSet, "batch", fail)

    with pytest.raises(
        LoaderError, match=r"a worker failed on a batch of 8 pictures, the first of them train/./\d+\.png: "
    ):
        train(replace(SHORT, workers=1), CNN, read(pictures), run, progress=at(1, 1, break_it))
    monkeypatch.undo()
    assert checkpoint(run)["epoch"] >= 1
    train(SHORT, CNN, read(pictures), run, resume=True)
    assert differences(whole, run) == []


def test_nan_in_one_of_two_processes_stops_both(tmp_path):
    run = tmp_path / "run"
    team = Team(Job(run, recipe=SHORT, fault="tests.survive.faults:break_the_second"), 2)
    assert team.wait() == [1, 1]
    assert (
        "layer norm (BatchNorm2d) is the first whose output is not finite. The last checkpoint is kept" in team.words(1)
    )
    assert "the process whose images did it names the layer. The last checkpoint is kept" in team.words(0)
    assert all(value.isfinite().all() for value in checkpoint(run)["model"].values())


@pytest.mark.parametrize("rank", [0, 1])
def test_sigterm_to_one_of_two_stops_both_at_one_step(tmp_path, rank):
    job = Job(tmp_path / "run", recipe=replace(SHORT, checkpoint_steps=None))
    undisturbed = Job(tmp_path / "whole", recipe=SHORT)
    team = Team(job, 2)
    for _ in range(2):
        place = team.next_step()
    os.kill(team.processes[rank].pid, signal.SIGTERM)
    assert team.wait() == [130, 130], team.words()
    said = [team.words(r).strip().splitlines()[-1] for r in (0, 1)]
    assert said[0] == said[1]
    assert "the state is saved, resume continues it" in said[0]
    saved = checkpoint(tmp_path / "run")
    assert (saved["epoch"], saved["step"]) >= place, "no step is lost"
    assert Team(job, 2).wait() == Team(undisturbed, 2).wait() == [0, 0]
    assert differences(tmp_path / "whole", tmp_path / "run") == []


def test_a_lost_partner_is_named(tmp_path):
    team = Team(Job(tmp_path / "run", recipe=SHORT), 2)
    team.next_step()
    team.kill((1,))
    assert team.processes[0].exitcode == 1
    assert "LostProcessError: another of the 2 processes of this training ended" in team.words(0)


def test_a_run_folder_of_an_older_version(tmp_path):
    """Begun by version 0.1.0, before recipes had all of today's fields; stopped in its third epoch."""
    run = tmp_path / "run"
    shutil.copytree(os.path.join(os.path.dirname(__file__), "old_run"), run)
    folder, before = RunFolder(run), checkpoint(run)
    log = folder.log()
    recipe = replace(RUN, **OLD)
    assert train(recipe, CNN, splits(), run, resume=True)["finished"]
    assert folder.log()[:2] == log[:2]
    assert [line["epoch"] for line in folder.log()] == [0, 1, 2, 3]
    assert checkpoint(run)["model"].keys() == before["model"].keys()
    assert before["epoch"] == 2


OLD = {"epochs": 4, "erasing": 0.0, "workers": 0, "checkpoint_steps": None}
