"""Whole trainings: what the run folder holds, and that the batch may be cut in any way."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from sightline.evaluate import NonFiniteLogitsError, evaluate, load_run
from sightline.recipes import Recipe
from sightline.runs import RunFolder, RunFolderError
from sightline.train import NonFiniteLossError, TrainingProgress, train
from tests.train.tiny import CNN, RECIPE, STEPS, splits


def weights(folder) -> dict[str, torch.Tensor]:
    return load_run(folder)[0].state_dict()


def test_the_run_folder_is_whole(tmp_path):
    seen: list[TrainingProgress] = []
    data = splits()
    recipe = replace(RECIPE, epochs=6, ema=0.9)
    metrics = train(recipe, CNN, data, tmp_path, progress=seen.append)
    run = RunFolder(tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "recipe.json",
        "env.json",
        "log.jsonl",
        "metrics.json",
        "predictions.npz",
        "model.safetensors",
        "checkpoints/last.pt",
        "checkpoints/previous.pt",
    }
    assert run.finished()
    assert run.read("metrics") == {"schema": 1} | metrics
    assert metrics["test"]["accuracy"] == 1.0, "three flat colours are learnt"
    assert metrics["test"]["n"] == 12
    assert metrics["epochs"] == 6
    assert metrics["peak_memory_bytes"] > 1e6
    recorded = run.read("recipe")
    assert Recipe(**recorded["recipe"] | {"betas": tuple(recorded["recipe"]["betas"])}) == recipe
    assert recorded["batch"] == {"global": 8, "per_process": 8, "processes": 1, "accumulate": 1}
    assert recorded["model"] == {
        "name": CNN,
        "num_classes": 3,
        "image_size": [6, 5],
        "in_chans": 3,
        "options": {},
    }
    assert recorded["data"]["sizes"] == {"train": 26, "val": 9, "test": 12}
    log = run.log()
    assert [line["epoch"] for line in log] == list(range(6))
    assert [line["step"] for line in log] == [STEPS * (epoch + 1) for epoch in range(6)]
    assert all(0 <= line["loader_wait"] <= 1 for line in log)
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    assert sum(line["seconds"] for line in log) == pytest.approx(metrics["train_seconds"])
    assert len(seen) == 6 * (STEPS + 1), "after each step and each validation"
    assert [p.step for p in seen[: STEPS + 1]] == [1, 2, 3, 3]
    assert seen[0].val_accuracy is None
    assert seen[-1].val_accuracy == log[-1]["val_accuracy"]


def test_the_kept_weights_are_those_that_were_evaluated(tmp_path):
    data = splits()
    metrics = train(replace(RECIPE, ema=0.5), CNN, data, tmp_path)
    model, meta = load_run(tmp_path)
    assert meta.source == "tiny"
    result = evaluate(model, data.test, meta.mean, meta.std)
    assert result.summary() == metrics["test"]
    with np.load(tmp_path / "predictions.npz") as stored:
        assert stored["label"].tolist() == data.test.labels.tolist()
        assert stored["predicted"].tolist() == result.predictions.tolist()
        assert stored["index"].tolist() == list(range(12))
        assert stored["probability"].dtype == np.float16
        np.testing.assert_allclose(stored["probability"], result.probabilities, atol=1e-3)


class NoPeeking:
    """A set whose pictures may be asked for only after the last epoch."""

    def __init__(self, images, allowed):
        self.images, self.allowed, self.asked = images, allowed, 0
        self.labels, self.classes, self.names = images.labels, images.classes, images.names

    def __len__(self):
        return len(self.images)

    def batch(self, indices):
        if not self.allowed():
            raise AssertionError("test images were touched during training")
        self.asked += len(indices)
        return self.images.batch(indices)


def test_test_images_are_touched_once_at_the_end(tmp_path):
    run, data = RunFolder(tmp_path), splits()
    test = NoPeeking(data.test, lambda: len(run.log()) == RECIPE.epochs)
    train(RECIPE, CNN, replace(data, test=test), tmp_path)
    assert test.asked == len(test)


def test_the_seed_decides_and_nothing_else_does(tmp_path):
    def noisy(_progress):
        torch.rand(3)
        np.random.rand(2)

    train(RECIPE, CNN, splits(), tmp_path / "a")
    torch.manual_seed(123)
    train(RECIPE, CNN, splits(), tmp_path / "b", progress=noisy)
    train(replace(RECIPE, seed=1), CNN, splits(), tmp_path / "c")
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["fc.weight"], c["fc.weight"])


def without_norm(model: nn.Module) -> nn.Module:
    model.norm = nn.Identity()
    return model


def test_accumulation_leaves_the_global_batch_as_it_is(tmp_path, monkeypatch):
    """Without batch statistics the parts of a batch add up to the batch."""
    from tests.train import tiny

    build = tiny._build
    monkeypatch.setattr(tiny, "_build", lambda heads, options: without_norm(build(heads, options)))
    recipe = replace(RECIPE, optimizer="sgd")
    train(recipe, CNN, splits(), tmp_path / "whole")
    train(replace(recipe, accumulate=4), CNN, splits(), tmp_path / "parts")
    assert RunFolder(tmp_path / "parts").read("recipe")["batch"] == {
        "global": 8,
        "per_process": 2,
        "processes": 1,
        "accumulate": 4,
    }
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for key in whole:
        torch.testing.assert_close(whole[key], parts[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"optimizer": "sgd", "clip_grad": None},
        {"mixup": 0.8, "cutmix": 1.0, "erasing": 0.5, "randaugment_ops": 2, "drop_path": 0.2},
        {"repeats": 3, "workers": 1, "eval_every": 5, "checkpoint_every": 3},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_switch_runs(tmp_path, changes):
    metrics = train(replace(RECIPE, **changes), CNN, splits(), tmp_path, threads=1)
    assert metrics["finished"]
    options = RunFolder(tmp_path).read("recipe")["model"]["options"]
    assert options == ({"drop_path_rate": 0.2} if "drop_path" in changes else {})
    log = RunFolder(tmp_path).log()
    assert (log[0]["val_accuracy"] is None) == ("eval_every" in changes)
    assert log[-1]["val_accuracy"] is not None


def test_an_existing_run_is_not_trampled_on(tmp_path):
    metrics = train(RECIPE, CNN, splits(), tmp_path)
    with pytest.raises(RunFolderError, match="holds a run already; resume it, or choose another folder"):
        train(RECIPE, CNN, splits(), tmp_path)
    assert train(RECIPE, CNN, splits(), tmp_path, resume=True) == {"schema": 1} | metrics


def test_two_trainings_do_not_share_a_folder(tmp_path):
    with RunFolder(tmp_path).held(), pytest.raises(RunFolderError, match="another process trains into"):
        train(RECIPE, CNN, splits(), tmp_path)
    assert not tmp_path.exists()
    assert train(RECIPE, CNN, splits(), tmp_path)["finished"]


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (
            {"batch_size": 27, "accumulate": 3},
            {},
            "26 training images do not fill one batch of 27; set batch_size=16 or less",
        ),
        ({"accumulate": 3}, {}, r"batch_size=8, processes=1, accumulate=3\. Try batch_size=6"),
        ({"image_size": 8}, {}, r"image_size=8, the data were loaded at \(6, 5\); load them with load_splits"),
        ({"train_limit": 20}, {}, r"train_limit=20, 26 images were loaded"),
        ({"distillation": "hard"}, {}, "hard distillation needs a teacher"),
        ({}, {"model_name": "resnet_minni"}, r"there is no model 'resnet_minni'; did you mean resnet_mini"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, recipe, options, message):
    with pytest.raises(ValueError, match=message):
        train(replace(RECIPE, **recipe), options.get("model_name", CNN), splits(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_came_with_fewer_images_trains_on_them(tmp_path):
    recipe = replace(RECIPE, train_limit=26, test_limit=12)
    train(recipe, CNN, splits(), tmp_path)
    assert asdict(recipe)["train_limit"] == RunFolder(tmp_path).read("recipe")["recipe"]["train_limit"]


def test_a_diverging_run_names_epoch_step_and_layer(tmp_path):
    data = splits()

    def break_a_layer(progress):
        if (progress.epoch, progress.step) == (1, 2):
            for layer in norms:
                layer.register_forward_hook(lambda _m, _x, y: y * float("nan"))

    from tests.train import tiny

    norms, build = [], tiny._build

    def watched(heads, options):
        model = build(heads, options)
        norms.append(model.norm)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "_build", watched)
        with pytest.raises(NonFiniteLossError, match=r"epoch 1, step 2 .*layer norm \(BatchNorm2d\) is the first"):
            train(RECIPE, CNN, data, tmp_path, progress=break_a_layer)
    assert not RunFolder(tmp_path).finished()
    metrics = train(RECIPE, CNN, data, tmp_path, resume=True)  # from the checkpoint of epoch 0
    assert [line["epoch"] for line in RunFolder(tmp_path).log()] == [0, 1]
    assert metrics["finished"]


def test_a_net_that_breaks_in_the_last_step_is_named_with_the_remedy(tmp_path):
    recipe = replace(RECIPE, epochs=1, batch_size=24, optimizer="sgd", lr=1e38, clip_grad=None, warmup_epochs=0.0)
    with pytest.raises(NonFiniteLogitsError, match=r"stopped after epoch 0 .*not finite.*try a smaller lr"):
        train(recipe, CNN, splits(), tmp_path)


def test_a_net_that_does_not_take_what_the_recipe_asks_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"resnet_mini can not be built with hidden_head \(pre_logits=True\)"):
        train(replace(RECIPE, hidden_head=True), "resnet_mini", splits(), tmp_path)


def test_the_log_tells_the_rate_in_use(tmp_path, caplog):
    caplog.set_level("INFO", "sightline.train")
    train(replace(RECIPE, epochs=1, lr_batch=32), CNN, splits(), tmp_path)
    assert "learning rate 0.005, 0.02 x 8 / 32, as the recipe says for this batch" in caplog.text


def test_threads_are_put_back(tmp_path):
    before, inside = torch.get_num_threads(), []
    train(
        replace(RECIPE, epochs=1),
        CNN,
        splits(),
        tmp_path,
        threads=2,
        progress=lambda _p: inside.append(torch.get_num_threads()),
    )
    assert set(inside) == {2}
    assert torch.get_num_threads() == before
