"""The whole of `robustness` on a net of a few hundred parameters: gates, bounds, bookkeeping, JSON."""

import copy
import json
import math
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch import nn

from sightline.data import JoinedSet, MemorySet
from sightline.evaluate import NonFiniteLogitsError, Settings, calibration_error, evaluate, reliability, robustness
from sightline.evaluate.adversarial import check_gate, make_target
from sightline.evaluate.attacks import Threat
from sightline.evaluate.corruptions import CORRUPTIONS, corrupt
from tests.train.tiny import TinyNet, image_set

MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.3, 0.25)
QUICK = Settings(
    attack_limit=20, eps=(40.0, 4.0), eps_l2=(900.0,), steps=4, ensemble_steps=8, queries=12, batch_size=16
)


def the_set() -> MemorySet:
    """33 images, five of them with a label that no net can learn: the clean-accuracy gate must leave them out."""
    images = image_set(33, 4)
    images.labels[::7] = (images.labels[::7] + 1) % 3
    return images


@pytest.fixture(scope="module")
def net():
    """A net that has learnt which channel is bright."""
    torch.manual_seed(0)
    net, images = TinyNet(3, 3), image_set(60, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    pixels = (images.images.float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pixels), images.labels).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def found(net):
    return robustness(net, the_set(), MEAN, STD, QUICK)


def test_clean_figures_are_those_of_evaluate(net, found):
    result = evaluate(net, the_set(), MEAN, STD)
    assert (found.n, found.accuracy, found.ece) == (33, result.accuracy, result.ece)
    assert 0.7 < found.accuracy < 0.9
    bars = found.bins
    assert sum(one.n for one in bars) == 33
    gaps = sum(one.n * abs(one.confidence - one.accuracy) for one in bars if one.n)
    assert gaps / 33 == pytest.approx(found.ece)


def test_every_shift_is_there_and_right(net, found):
    kinds = [one.kind for one in found.shifts]
    assert [kinds.count(kind) for kind in ("transform", "corruption", "resolution")] == [5, 5 * len(CORRUPTIONS), 5]
    images = the_set()
    by_hand = MemorySet(
        corrupt(images.images, "noise", 5, torch.arange(33)), images.labels, images.classes, images.names
    )
    noise = next(one for one in found.shifts if (one.name, one.severity) == ("noise", 5))
    assert noise.accuracy == evaluate(net, by_hand, MEAN, STD).accuracy
    turned = next(one for one in found.shifts if one.name == "rotated 90")
    assert turned.size == (5, 6)
    turned_set = MemorySet(images.images.rot90(1, (2, 3)), images.labels, images.classes, images.names)
    assert turned.accuracy == evaluate(net, turned_set, MEAN, STD).accuracy


def test_attacks_keep_their_books(net, found):
    clean = evaluate(net, the_set(), MEAN, STD)
    right = {i for i in found.attacked if clean.predictions[i] == clean.labels[i]}
    assert len(found.attacked) == 20
    assert len(right) < 20
    for one in found.attacks:
        assert set(one.right) <= right
        assert one.accuracy == len(one.right) / 20 == pytest.approx(one.accuracy)
        assert one.n == 20
        if one.attack == "worst case":
            assert one.attacked - len(one.right) == sum(one.fell.values())
        else:
            assert one.attacked == len(right)
        if not one.targeted:
            assert one.success == pytest.approx((one.attacked - len(one.right)) / max(one.attacked, 1))
    by = {(one.attack, one.norm, round(one.eps, 3), one.targeted): one for one in found.attacks}
    for eps in (4.0, 40.0):
        worst = by["worst case", "linf", eps, False]
        assert set(worst.right) <= set(by["PGD", "linf", eps, False].right) & set(by["FGSM", "linf", eps, False].right)
    assert set(by["worst case", "linf", 40.0, False].right) <= set(by["worst case", "linf", 4.0, False].right)
    assert len(by["worst case", "linf", 40.0, False].right) < len(right)
    assert {(one.eps, one.step_size, one.steps) for one in found.attacks if one.targeted} == {(8, 4, 2), (8, 2, 4)}
    euclidean = by["PGD", "l2", round(900 * (3 * 6 * 5 / 3072) ** 0.5, 3), False]
    assert euclidean.step_size == pytest.approx(2.5 * euclidean.eps / 4)


def test_neither_batches_nor_time_matter_but_seeds_do(net, found):
    def answers(settings):
        other = robustness(net, the_set(), MEAN, STD, settings).as_dict()
        return [(one["attack"], one["eps"], one["right"], one["fell"]) for one in other["attacks"]], other["attacked"]

    same = [(one.attack, one.eps, one.right, one.fell) for one in found.attacks], found.attacked
    assert answers(replace(QUICK, batch_size=7)) == same
    assert answers(replace(QUICK, seed=1))[1] != found.attacked


def test_the_net_returns_as_it_was_and_json_takes_it(net, found):
    net.train()
    net.conv.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    robustness(net, image_set(9, 4), MEAN, STD, replace(QUICK, attack_limit=3))
    assert [net.norm.training, net.conv.training] == [True, False]
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net.eval()
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["settings"]["queries"] == 12


def test_the_worst_case_counts_what_any_attack_brought_down(net):
    """SAN's too: within 8/255, so of that radius and of larger ones."""
    found = robustness(
        net, the_set(), MEAN, STD, replace(QUICK, eps=(4.0, 8.0, 40.0), steps=1, ensemble_steps=1, queries=1)
    )
    targeted = [one for one in found.attacks if one.targeted]
    for one in found.attacks:
        if one.attack == "worst case" and one.norm == "linf":
            for other in targeted if one.eps >= 8 else ():
                assert set(one.right) <= set(other.right)


class Moody(nn.Module):
    """Answers bytes, and nothing between them."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        pixels = (x * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
        torn = ((pixels - pixels.round()).abs() > 0.01).any()
        return self.fc(x.mean((2, 3))) * (float("nan") if torn else 1.0)


def test_what_is_not_a_number_is_no_answer():
    with pytest.raises(NonFiniteLogitsError, match="images, attacked or to be, got logits that are not finite"):
        robustness(Moody(), the_set(), MEAN, STD, QUICK)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_net_is_evaluated_in_its_own_precision(net, dtype):
    """Half precision is not attacked."""
    other, right = copy.deepcopy(net).to(dtype), evaluate(net, the_set(), MEAN, STD).accuracy
    assert evaluate(other, the_set(), MEAN, STD).accuracy == pytest.approx(right, abs=0.04)
    if dtype is torch.float64:
        assert robustness(other, the_set(), MEAN, STD, replace(QUICK, attack_limit=3)).attacks
    else:
        assert robustness(other, the_set(), MEAN, STD, replace(QUICK, attack_limit=0)).n == 33
        with pytest.raises(ValueError, match=r"Call \.float\(\) first"):
            robustness(other, the_set(), MEAN, STD, QUICK)


def test_two_classes_and_a_net_of_one_size():
    """The margin stands for the difference of logits ratio; a refused size is said, not raised."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 5, 2)).eval()
    images = image_set(8, 2)
    images = MemorySet(images.images, images.labels % 2, ("a", "b"), images.names)
    result = robustness(net, images, MEAN, STD, replace(QUICK, limit=5, eps=(200.0,), eps_l2=()))
    worst = next(one for one in result.attacks if one.attack == "worst case")
    assert list(worst.fell) == ["APGD ce", "APGD margin", "Square"]
    assert worst.loss == "cross-entropy, margin"
    assert worst.accuracy == 0
    refused = {one.name: one.refused for one in result.shifts if one.accuracy is None}
    assert set(refused) == {"0.5 x", "0.75 x", "1.25 x", "1.5 x", "2 x"}
    assert all("cannot be multiplied" in words for words in refused.values())
    assert result.n == 5


def test_the_gate_sees_another_net(net):
    images = image_set(20, 3)
    pixels = images.images.float() / 255
    predictions = evaluate(net, images, MEAN, STD).predictions
    target = make_target(net, pixels, images.labels, torch.arange(20), MEAN, STD, 8, 0)
    check_gate(target, predictions)
    with pytest.raises(RuntimeError, match="of 20 clean images otherwise than the evaluated one"):
        check_gate(
            make_target(net, pixels, images.labels, torch.arange(20), MEAN, [-one for one in STD], 8, 0), predictions
        )


def test_of_several_starts_the_first_success_stays(net):
    images = image_set(6, 3)
    pixels = images.images.float() / 255
    target = make_target(net, pixels, images.labels, torch.arange(6), MEAN, STD, 4, 0)
    asked = []

    def attack(x, y, numbers, restart):
        asked.append((restart, len(x)))
        return x.roll(1, 1) if restart == 0 else x  # another channel is bright, then nothing is changed

    answers = target.answers(attack, Threat("linf", 1.0), target.right, 2, lambda share: None)
    assert (answers != images.labels).all()
    assert asked == [(0, 4), (0, 2)]


def test_bars_are_those_of_the_calibration_error():
    torch.manual_seed(0)
    probabilities, labels = torch.randn(200, 4).softmax(1), torch.randint(0, 4, (200,))
    bars = reliability(probabilities, labels, 7)
    assert [one.low for one in bars] == [i / 7 for i in range(7)]
    error = sum(one.n / 200 * abs(one.confidence - one.accuracy) for one in bars if one.n)
    assert error == pytest.approx(calibration_error(probabilities, labels, 7))
    assert bars[0].n == 0
    assert bars[0].accuracy is None


def test_sets_in_a_row():
    first, second = image_set(4, 1), image_set(3, 2)
    both = JoinedSet((first, second))
    assert len(both) == 7
    assert torch.equal(both.batch(torch.tensor([5, 0, 3])), torch.stack([second.images[1], *first.images[[0, 3]]]))
    assert both.names[4] == second.names[0]
    assert torch.equal(both.labels, torch.cat([first.labels, second.labels]))


def test_refusals():
    for name, value, message in (
        ("steps", 0, "steps must be 1 or more; got 0"),
        ("eps", (), "give one radius or more"),
        ("eps_l2", (-1.0,), "must be positive and finite; got -1"),
        ("eps", (math.inf,), "must be positive and finite; got inf"),
        ("attack_limit", -1, "limits count images; got limit None, attack_limit -1"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(QUICK, **{name: value})


def test_the_page_says_what_its_json_says():
    docs = Path(__file__).parents[2] / "docs"
    spec = spec_from_file_location("robustness_page", docs / "robustness.py")
    page = module_from_spec(spec)
    spec.loader.exec_module(page)
    assert (docs / "robustness.md").read_text() == page.page()
