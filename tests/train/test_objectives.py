"""Losses: golden numbers of DeiT's own code, forward and gradient, and sums written out by hand."""

import math

import pytest
import torch

from sightline.data import soft_targets
from sightline.train.objectives import Objective, cross_entropy, soft_distillation
from tests import golden_cases


@pytest.mark.parametrize("name", golden_cases.names("deit_loss_*"))
def test_golden(name):
    case = golden_cases.load(name)
    leaves = {key: tensor.requires_grad_() for key, tensor in case.part("input").items()}
    const, kind = case.part("const"), case.config["base_criterion"]
    targets = const["targets"] if kind == "soft_target" else const["labels"]
    if kind == "label_smoothing_0.1":
        targets = soft_targets(targets, case.config["classes"], 0.1)
    objective = Objective(case.config["distillation_type"], case.config["alpha"], case.config["tau"])
    loss = objective((leaves["logits_cls"], leaves["logits_dist"]), targets, const.get("teacher_logits"))
    if case.config["distillation_type"] == "none":  # a head that is not asked has gradient zero
        loss = loss + 0 * leaves["logits_dist"].sum()
    golden_cases.check(case, {"loss": loss.reshape(1)}, leaves)


def numbers(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64, generator=generator)
    return student, teacher, torch.tensor([0, 2, 1, 1])


def softmax(row, tau):
    powers = [math.exp(value / tau) for value in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_soft_by_hand(tau):
    student, teacher, _ = numbers()
    total = 0.0
    for row, wise in zip(student.tolist(), teacher.tolist(), strict=True):
        for q, p in zip(softmax(row, tau), softmax(wise, tau), strict=True):
            total += p * (math.log(p) - math.log(q))
    assert soft_distillation(student, teacher, tau).item() == pytest.approx(tau**2 * total / (4 * 3))


def test_hard_by_hand_with_one_head_and_with_two():
    student, teacher, labels = numbers()
    other = student.flip(1)

    def nll(logits, targets):
        return -sum(math.log(softmax(row, 1.0)[k]) for row, k in zip(logits.tolist(), targets, strict=True)) / 4

    taught = teacher.argmax(1).tolist()
    objective = Objective("hard", alpha=0.3)
    expected = 0.7 * nll(student, labels.tolist()) + 0.3 * nll(student, taught)
    assert objective(student, labels, teacher).item() == pytest.approx(expected)
    expected = 0.7 * nll(student, labels.tolist()) + 0.3 * nll(other, taught)
    assert objective((student, other), labels, teacher).item() == pytest.approx(expected)


def test_low_precision_logits_are_widened():
    student, _, labels = numbers()
    assert cross_entropy(student.bfloat16(), labels).dtype == torch.float32
    assert cross_entropy(student, soft_targets(labels, 3)).dtype == torch.float64


def test_a_teacher_is_needed():
    student, _, labels = numbers()
    with pytest.raises(ValueError, match="soft distillation needs the teacher's logits"):
        Objective("soft")(student, labels)
