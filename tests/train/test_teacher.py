"""Distillation: the teacher sees the student's images in its own normalisation, and its word reaches the right head."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from sightline.backbones import create_model
from sightline.evaluate import ModelMeta, load_run, save_weights
from sightline.runs import RunFolderError
from sightline.train import train
from sightline.train.teacher import Teacher, load_teacher
from tests.train.tiny import CNN, RECIPE, TWO_HEADS, TinyNet, splits

STUDENT = ModelMeta(CNN, {}, ("red", "green", "blue"), (6, 5), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))


def test_normalisation_is_changed_to_the_teachers():
    seen = []
    model = TinyNet(3, 3)
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    meta = replace(STUDENT, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pixels = torch.rand(2, 3, 6, 5)
    student = (pixels - torch.tensor(STUDENT.mean)[:, None, None]) / torch.tensor(STUDENT.std)[:, None, None]
    logits = Teacher(model, meta, STUDENT.mean, STUDENT.std)(student)
    expected = (pixels - torch.tensor(meta.mean)[:, None, None]) / torch.tensor(meta.std)[:, None, None]
    torch.testing.assert_close(seen[0], expected)
    assert not logits.requires_grad
    assert not model.training


def test_images_are_resized_to_the_teachers():
    seen = []
    model = TinyNet(3, 3)
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape))
    Teacher(model, replace(STUDENT, image_size=(12, 9)), STUDENT.mean, STUDENT.std)(torch.rand(2, 3, 6, 5))
    assert seen == [(2, 3, 12, 9)]


def test_a_teacher_may_be_a_model_and_a_file(tmp_path):
    model = TinyNet(3, 3)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    teacher = load_teacher(f"{CNN}:{tmp_path / 'w.safetensors'}", STUDENT)
    images = torch.rand(2, 3, 6, 5)
    torch.testing.assert_close(teacher(images), model.eval()(images))


def test_a_file_with_another_classifier_is_no_teacher(tmp_path):
    save_file(create_model("resnet_mini", num_classes=10).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(
        RunFolderError, match=r"do not fit resnet_mini with 3 classes: .*fc.weight: \(10, 256\) in the source"
    ):
        load_teacher(f"resnet_mini:{tmp_path / 'w.safetensors'}", STUDENT)


def test_other_classes_are_refused(tmp_path):
    save_weights(tmp_path / "model.safetensors", TinyNet(3, 3), replace(STUDENT, classes=("red", "blue", "green")))
    with pytest.raises(ValueError, match=r"knows the classes red, blue, green; the student learns red, green, blue"):
        load_teacher(str(tmp_path), STUDENT)


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("model", [CNN, TWO_HEADS])
def test_students_with_and_without_a_token_learn(tmp_path, kind, model):
    train(replace(RECIPE, epochs=4), CNN, splits(), tmp_path / "teacher")
    recipe = replace(RECIPE, epochs=6, distillation=kind, distillation_tau=3.0, teacher=str(tmp_path / "teacher"))
    metrics = train(recipe, model, splits(), tmp_path / "student")
    assert metrics["test"]["accuracy"] > 0.6
    if model == TWO_HEADS:
        heads, _ = load_run(tmp_path / "student")
        assert not torch.equal(heads.fc.weight, heads.fc_dist.weight)


def test_a_transformer_without_a_token_learns_both_from_one_head(tmp_path):
    train(RECIPE, CNN, splits(), tmp_path / "teacher")
    recipe = replace(RECIPE, epochs=1, distillation="hard", teacher=str(tmp_path / "teacher"))
    assert train(recipe, "vit_mini", splits(), tmp_path / "student", model_options={"depth": 1, "dim": 8, "heads": 1})


def test_the_teacher_alone_teaches_the_second_head(tmp_path):
    """With alpha 1 and hard labels, the head of the labels gets no gradient, so it keeps its start."""
    train(RECIPE, CNN, splits(), tmp_path / "teacher")
    recipe = replace(RECIPE, distillation="hard", distillation_alpha=1.0, teacher=str(tmp_path / "teacher"))
    recipe = replace(recipe, weight_decay=0.0, optimizer="sgd")
    train(recipe, TWO_HEADS, splits(), tmp_path / "one")
    train(replace(recipe, epochs=1), TWO_HEADS, splits(), tmp_path / "two")
    one, two = load_run(tmp_path / "one")[0], load_run(tmp_path / "two")[0]
    assert torch.equal(one.fc.weight, two.fc.weight)
    assert not torch.equal(one.fc_dist.weight, two.fc_dist.weight)


def test_a_teacher_may_come_with_sightline(tmp_path, monkeypatch):
    monkeypatch.setattr("sightline.weights.box.FOLDER", tmp_path)
    model, meta = (
        create_model("resnet_mini", num_classes=3, img_size=16),
        replace(STUDENT, name="resnet_mini", image_size=(16, 16)),
    )
    save_weights(tmp_path / "resnet_mini.colours.safetensors", model, meta, torch.float16)
    teacher = load_teacher("resnet_mini:colours", replace(STUDENT, image_size=(16, 16)))
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(teacher(images), model.eval()(images), rtol=2e-2, atol=2e-2)
    with pytest.raises(ValueError, match="knows the classes red, green, blue"):
        load_teacher("resnet_mini:colours", replace(STUDENT, classes=("a", "b", "c")))


def test_a_teacher_of_timm_keeps_its_eye(tmp_path, monkeypatch):
    model = timm.create_model("test_resnet", num_classes=1000)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr("sightline.weights.source.cached_timm_folder", lambda name: tmp_path / "model.safetensors")
    classes = tuple(f"n{index:08d}" for index in range(1000))
    teacher = load_teacher("timm:test_resnet.r160_in1k", replace(STUDENT, classes=classes))
    cfg = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    assert teacher.image_size == cfg.input_size[1:]
    torch.testing.assert_close(teacher.scale.flatten(), torch.tensor(STUDENT.std) / torch.tensor(cfg.std))
    with pytest.raises(ValueError, match="knows 1000 classes, the student learns 3"):
        load_teacher("timm:test_resnet.r160_in1k", STUDENT)
