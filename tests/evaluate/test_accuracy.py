"""Figures of an evaluation against loops written out by hand."""

import math

import pytest
import torch
from torch import nn

from sightline.evaluate import NonFiniteLogitsError, calibration_error, evaluate, score
from tests.train.tiny import image_set


class FromTable(nn.Module):
    """Logits looked up by the image's first pixel; notes the batches it saw."""

    def __init__(self, table: torch.Tensor):
        super().__init__()
        self.register_buffer("table", table)
        self.seen: list[tuple[int, bool]] = []

    def forward(self, x):
        self.seen.append((len(x), self.training))
        return self.table[x[:, 0, 0, 0].round().long()]


def numbered_set(count: int):
    images = image_set(count, 0)
    images.images[:, 0, 0, 0] = torch.arange(count, dtype=torch.uint8)
    return images


def logits_and_labels(count: int, classes: int):
    generator = torch.Generator().manual_seed(3)
    return 2 * torch.randn(count, classes, generator=generator), torch.randint(
        0, classes, (count,), generator=generator
    )


def test_every_figure_by_hand():
    logits, labels = logits_and_labels(23, 7)
    result = score(logits, labels)
    right = top5 = 0
    loss, confusion = 0.0, [[0] * 7 for _ in range(7)]
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        order = sorted(range(7), key=lambda k: -row[k])
        right += order[0] == label
        top5 += label in order[:5]
        confusion[label][order[0]] += 1
        loss += math.log(sum(math.exp(v) for v in row)) - row[label]
    assert result.accuracy == right / 23
    assert result.top5 == top5 / 23
    assert result.loss == pytest.approx(loss / 23)
    assert result.confusion.tolist() == confusion
    assert result.probabilities.sum(1).tolist() == pytest.approx([1.0] * 23)
    assert len(result) == result.summary()["n"] == 23


def test_calibration_error_by_hand():
    logits, labels = logits_and_labels(40, 4)
    probabilities = logits.softmax(1)
    error = 0.0
    for number in range(15):
        members = [i for i in range(40) if number / 15 < float(probabilities[i].max()) <= (number + 1) / 15]
        if members:
            confidence = sum(float(probabilities[i].max()) for i in members) / len(members)
            accuracy = sum(int(probabilities[i].argmax() == labels[i]) for i in members) / len(members)
            error += len(members) / 40 * abs(confidence - accuracy)
    assert calibration_error(probabilities, labels) == pytest.approx(error)
    assert calibration_error(torch.eye(4), torch.arange(4)) == 0


def test_batches_do_not_matter_and_the_mode_returns():
    images = numbered_set(11)
    model = FromTable(logits_and_labels(11, 3)[0]).train()
    mean, std = (0.0, 0.0, 0.0), (1 / 255,) * 3
    whole, parts = evaluate(model, images, mean, std, 11), evaluate(model, images, mean, std, 4)
    assert model.training
    assert model.seen == [(11, False), (4, False), (4, False), (3, False)]
    assert torch.equal(whole.probabilities, parts.probabilities)
    assert torch.equal(whole.probabilities, model.table.softmax(1))
    assert torch.equal(whole.labels, images.labels)
    assert parts.images_per_second > 0


def test_fewer_than_five_classes():
    logits, labels = logits_and_labels(9, 3)
    assert score(logits, labels).top5 == 1.0


def test_a_broken_answer_names_its_image():
    table = logits_and_labels(6, 3)[0]
    table[4, 1] = math.nan
    with pytest.raises(NonFiniteLogitsError, match=r"1 of 6 images got logits that are not finite, first 0-4\.png"):
        evaluate(FromTable(table), numbered_set(6), (0.0, 0.0, 0.0), (1 / 255,) * 3)


def test_refusals():
    with pytest.raises(ValueError, match="no images to evaluate"):
        evaluate(nn.Identity(), image_set(0, 0), (0, 0, 0), (1, 1, 1))
    with pytest.raises(ValueError, match="label 2 is not among the model's 2 classes"):
        evaluate(FromTable(torch.zeros(6, 2)), numbered_set(6), (0.0, 0.0, 0.0), (1 / 255,) * 3)
