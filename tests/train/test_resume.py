"""A run that was stopped, by a crash or by a signal, ends with the weights it would have had, bit by bit."""

import io
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch

from sightline.runs import RunFolder, RunFolderError
from sightline.train import TrainingInterrupted, train
from sightline.train.checkpoint import dump
from sightline.train.interrupt import StopRequest
from tests.train.tiny import CNN, RECIPE, image_set, splits

RUN = replace(RECIPE, epochs=4, mixup=0.4, cutmix=1.0, ema=0.9, drop_path=0.3, erasing=0.3, accumulate=2)


class CrashError(Exception):
    pass


@pytest.fixture(autouse=True)
def _interruptible():
    """Python's own handler of Ctrl-C: a shell starts background jobs with the signal ignored, and tests may be one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def crash_at(epoch: int, step: int):
    def act(progress):
        if (progress.epoch, progress.step) == (epoch, step):
            raise CrashError

    return act


def signal_at(epoch: int, step: int, number: int):
    sent = []

    def act(progress):
        if (progress.epoch, progress.step) == (epoch, step) and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    return act


def end_state(folder) -> dict:
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)


def assert_same_end(one, other) -> None:
    """Weights, averages, moments, position: equal to the last bit; the same figures, but for times."""
    a, b = end_state(one), end_state(other)
    for one_part, other_part in ((a["model"], b["model"]), (a["ema"]["module"], b["ema"]["module"])):
        assert one_part.keys() == other_part.keys()
        assert all(torch.equal(one_part[key], other_part[key]) for key in one_part)
    assert a["ema"]["updates"] == b["ema"]["updates"]
    for key, moments in a["optimizer"]["state"].items():
        for name, moment in moments.items():  # muon notes there, too, which matrices are its own
            other_moment = b["optimizer"]["state"][key][name]
            assert torch.equal(moment, other_moment) if isinstance(moment, torch.Tensor) else moment == other_moment
    assert (a["epoch"], a["step"]) == (b["epoch"], b["step"])
    assert (one / "predictions.npz").read_bytes() == (other / "predictions.npz").read_bytes()
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    timeless = [
        [{key: line[key] for key in ("epoch", "step", "lr", "train_loss", "val_loss")} for line in RunFolder(run).log()]
        for run in (one, other)
    ]
    assert timeless[0] == timeless[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(RUN, CNN, splits(), folder)
    return folder


@pytest.mark.parametrize(
    ("act", "stopped"),
    [
        (crash_at(2, 1), CrashError),
        (crash_at(0, 2), CrashError),
        (signal_at(1, 2, signal.SIGTERM), TrainingInterrupted),
        (signal_at(2, 3, signal.SIGINT), TrainingInterrupted),
        (signal_at(3, 3, signal.SIGINT), TrainingInterrupted),
    ],
    ids=[
        "crash",
        "crash before the first checkpoint",
        "SIGTERM within an epoch",
        "SIGINT at its end",
        "SIGINT at the very end",
    ],
)
def test_four_epochs_are_two_and_two(tmp_path, uninterrupted, act, stopped):
    with pytest.raises(stopped):
        train(RUN, CNN, splits(), tmp_path, progress=act)
    assert not RunFolder(tmp_path).finished()
    torch.manual_seed(99)  # the new process begins with other numbers
    train(RUN, CNN, splits(), tmp_path, resume=True)
    assert_same_end(uninterrupted, tmp_path)


def test_muon_resumes_too(tmp_path):
    run = replace(RUN, optimizer="muon", epochs=2)
    train(run, CNN, splits(), tmp_path / "whole")
    with pytest.raises(CrashError):
        train(run, CNN, splits(), tmp_path / "cut", progress=crash_at(1, 2))
    train(run, CNN, splits(), tmp_path / "cut", resume=True)
    assert_same_end(tmp_path / "whole", tmp_path / "cut")


def test_a_signal_saves_the_step_it_arrived_in(tmp_path):
    with pytest.raises(TrainingInterrupted, match=r"stopped in epoch 1, step 2 .* the state is saved"):
        train(RUN, CNN, splits(), tmp_path, progress=signal_at(1, 2, signal.SIGINT))
    state = end_state(tmp_path)
    assert (state["epoch"], state["step"]) == (1, 2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_acts_at_once():
    noted = []

    def interrupt_twice() -> None:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            noted.append(stop.requested)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert noted == [True]


def test_other_threads_train_without_handlers():
    found = []

    def work():
        with StopRequest() as stop:
            found.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


@pytest.fixture
def begun(tmp_path):
    with pytest.raises(CrashError):
        train(RUN, CNN, splits(), tmp_path, progress=crash_at(1, 1))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "model", "data", "message"),
    [
        ({"lr": 0.03, "mixup": 0.0}, CNN, {}, r"lr was 0\.02 and is 0\.03; mixup was 0\.4 and is 0\.0"),
        ({}, "tiny_two_heads_for_tests", {}, "model name was 'tiny_cnn_for_tests' and is 'tiny_two_heads_for_tests'"),
        ({}, CNN, {"fingerprint": "f2"}, "data fingerprint was 'f1' and is 'f2'"),
    ],
)
def test_another_run_is_not_resumed(begun, changes, model, data, message):
    with pytest.raises(ValueError, match=message):
        train(replace(RUN, **changes), model, splits(**data), begun, resume=True)


def test_workers_and_checkpoints_may_change(begun, uninterrupted):
    train(replace(RUN, workers=2, checkpoint_every=4, card="new"), CNN, splits(), begun, resume=True)
    assert_same_end(uninterrupted, begun)


def test_an_older_recipe_lacks_new_fields(begun):
    run = RunFolder(begun)
    content = run.read("recipe")
    del content["recipe"]["repeats"]
    run.write("recipe", content)
    assert train(RUN, CNN, splits(), begun, resume=True)["finished"]


def test_a_damaged_checkpoint_is_named(begun):
    (begun / "checkpoints" / "last.pt").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(RunFolderError, match=r"last\.pt is damaged.*Delete it to begin the run anew"):
        train(RUN, CNN, splits(), begun, resume=True)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, uninterrupted, caplog):
    with pytest.raises(CrashError):
        train(RUN, CNN, splits(), tmp_path, progress=crash_at(2, 1))
    last = tmp_path / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    train(RUN, CNN, splits(), tmp_path, resume=True)
    assert "last.pt is damaged" in caplog.text
    assert "previous.pt, epoch 1, step 0" in caplog.text
    assert_same_end(uninterrupted, tmp_path)


def test_a_missing_last_checkpoint_too(begun, uninterrupted):
    (begun / "checkpoints" / "last.pt").rename(begun / "checkpoints" / "previous.pt")
    train(RUN, CNN, splits(), begun, resume=True)
    assert_same_end(uninterrupted, begun)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_checkpoints_within_an_epoch(tmp_path, uninterrupted, links, monkeypatch):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    recipe = replace(RUN, checkpoint_steps=2)
    with pytest.raises(CrashError):
        train(
            recipe, CNN, splits(), tmp_path, progress=crash_at(1, 3)
        )  # step 6 of the run; 4 was saved, 6 is an epoch's end
    assert (end_state(tmp_path)["epoch"], end_state(tmp_path)["step"]) == (1, 1)
    previous = torch.load(tmp_path / "checkpoints" / "previous.pt", weights_only=True)
    assert (previous["epoch"], previous["step"]) == (1, 0)
    train(recipe, CNN, splits(), tmp_path, resume=True)
    assert_same_end(uninterrupted, tmp_path)


def test_a_newer_checkpoint_is_refused(begun):
    state = end_state(begun)
    torch.save(state | {"schema": 9}, begun / "checkpoints" / "last.pt")
    with pytest.raises(RunFolderError, match="has schema 9; this sightline reads up to 1"):
        train(RUN, CNN, splits(), begun, resume=True)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    before = {}

    def fill_the_disk(progress):
        if progress.epoch == 1 and not before:
            before.update(end_state(tmp_path))
            monkeypatch.setattr(os, "fsync", refuse)

    def refuse(_descriptor):
        raise OSError(28, os.strerror(28))

    with pytest.raises(RunFolderError, match=r"No space left on device; .* Free some space, then resume the run"):
        train(RUN, CNN, splits(), tmp_path, progress=fill_the_disk)
    monkeypatch.undo()
    assert end_state(tmp_path)["epoch"] == before["epoch"] == 1
    assert train(RUN, CNN, splits(), tmp_path, resume=True)["finished"]


@pytest.mark.parametrize("writes", [0, 1, 4])
def test_the_systems_word_is_heard_through_torch(writes):
    class Disk(io.BytesIO):
        left = writes

        def write(self, data):
            self.left -= 1
            if self.left < 0:
                raise OSError(28, os.strerror(28))
            return super().write(data)

    with pytest.raises(OSError, match="No space left on device"):
        dump({"a": torch.zeros(100)}, Disk())


def test_an_empty_folder_begins(tmp_path):
    assert train(RUN, CNN, splits(val=image_set(3, 2)), tmp_path, resume=True)["val"]["n"] == 3
