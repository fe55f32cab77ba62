"""Attacks against golden numbers of foolbox and torchattacks, against optima known in closed form, and against their bounds."""

import math

import pytest
import torch
from torch import nn

from sightline.evaluate.attacks import LOSSES, Attacked, Threat, apgd, dlr, fgsm, margin, pgd, square, under_attack
from sightline.evaluate.attacks.losses import loss_for
from tests import golden_cases

CASE = golden_cases.load("attacks_small_net")
IN, OUT, SET = CASE.part("input"), CASE.part("output"), CASE.config
IMAGES, LABELS, TARGETS = IN["images"], IN["labels"], IN["targets"]
LINF, L2 = Threat("linf", SET["eps_linf"]), Threat("l2", SET["eps_l2"])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(48, 5)
        self.double().load_state_dict(CASE.part("param"))

    def forward(self, x):
        return 4 * self.fc(nn.functional.adaptive_avg_pool2d(torch.tanh(self.conv(x)), (2, 3)).flatten(1))


@pytest.fixture
def net():
    net = Net()
    with under_attack(net):
        yield net


def close(got, name):
    torch.testing.assert_close(got, OUT[name], rtol=0, atol=1e-6)


def test_golden_fgsm(net):
    close(fgsm(net, IMAGES, LABELS, LINF), "fgsm")
    close(fgsm(net, IMAGES, LABELS, L2), "fgm_l2")


def test_golden_pgd(net):
    for norm, threat in (("linf", LINF), ("l2", L2)):
        step, steps = SET["pgd"][norm]
        start = IN[f"start_{norm}"]
        close(pgd(net, IMAGES, LABELS, threat, steps=steps, step_size=step, start=start), f"pgd_{norm}")
    step, steps = SET["pgd"]["targeted"]
    close(pgd(net, IMAGES, LABELS, LINF, steps=steps, step_size=step, targets=TARGETS), "pgd_targeted")


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_golden_apgd(net, norm, loss):
    key = f"apgd_{norm}_{loss}"
    threat, start = Threat(norm, SET["apgd"][norm]), IN[f"start_{key}"]
    found = apgd(net, IMAGES, LABELS, threat, LOSSES[loss], steps=SET["apgd"]["steps"], start=start)
    stands = net(found).argmax(1) == LABELS
    expected = OUT[f"{key}.stands"].bool() & (net(start).argmax(1) == LABELS)
    assert stands.tolist() == expected.tolist()
    assert 0 < stands.sum() < len(stands)
    torch.testing.assert_close(found[stands], OUT[f"{key}.best"][stands], rtol=0, atol=1e-6)
    values = LOSSES[loss](net(found), LABELS)[stands]
    torch.testing.assert_close(values, OUT[f"{key}.loss"][stands], rtol=0, atol=1e-6)


def test_golden_square(net):
    threat, generator = Threat("linf", SET["square"]["eps"]), torch.Generator().manual_seed(SET["square"]["seed"])
    queries = SET["square"]["queries"] + 1  # ours counts the stripes
    close(square(net, IMAGES, LABELS, threat, queries=queries, generator=generator), "square")


def attacks(net, threat):
    """Every attack on the golden images, by name."""
    generators = [torch.Generator().manual_seed(i) for i in range(len(IMAGES))]
    start = threat.start(IMAGES, generators)
    yield "start", start
    yield "fgsm", fgsm(net, IMAGES, LABELS, threat)
    yield "pgd", pgd(net, IMAGES, LABELS, threat, steps=5, step_size=threat.eps, start=start)
    yield "targeted", pgd(net, IMAGES, LABELS, threat, steps=5, step_size=threat.eps, targets=TARGETS)
    for loss in LOSSES:
        yield loss, apgd(net, IMAGES, LABELS, threat, LOSSES[loss], steps=12, start=start)
    if threat.norm == "linf":
        generator = torch.Generator().manual_seed(0)
        yield "square", square(net, IMAGES, LABELS, threat, queries=30, generator=generator)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.003, 0.4, 30.0])
def test_no_attack_leaves_the_ball_or_the_range(net, norm, eps):
    for name, found in attacks(net, Threat(norm, eps)):
        change = (found - IMAGES).flatten(1)
        size = change.abs().amax(1) if norm == "linf" else change.square().sum(1).sqrt()
        assert size.max() <= eps * (1 + 1e-12), name
        assert found.min() >= 0, name
        assert found.max() <= 1, name
        Threat(norm, eps).check(found, IMAGES)
    with pytest.raises(RuntimeError, match="an attack left its bounds: distance 2 of 1 allowed"):
        Threat("linf", 1.0).check(torch.full((1, 1, 1, 1), 2.0), torch.zeros(1, 1, 1, 1))


class Line(nn.Module):
    """Two classes, logits 0 and w.x + b: the smallest change that turns an answer is known."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(3 * 4 * 5, generator=generator, dtype=torch.float64))

    def forward(self, x):
        score = (x - 0.5).flatten(1) @ self.weight + 0.4
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_line_falls_exactly_where_it_must(norm):
    """Grey images are far from the range's ends, so the smallest radius is |score| / dual norm of the weight."""
    line, images = Line(), torch.full((2, 3, 4, 5), 0.5, dtype=torch.float64)
    labels = torch.ones(2, dtype=torch.long)
    least = 0.4 / (line.weight.abs().sum() if norm == "linf" else line.weight.norm()).item()
    for factor, falls in ((0.98, False), (1.02, True)):
        threat = Threat(norm, factor * least)
        found = [
            fgsm(line, images, labels, threat),
            pgd(line, images, labels, threat, steps=10, step_size=threat.eps),
            apgd(line, images, labels, threat, margin, steps=30),
        ]
        for one in found:
            assert ((line(one).argmax(1) != labels) == falls).all()
    if norm == "linf":  # random search comes near
        for factor, falls in ((0.98, False), (1.6, True)):
            generator = torch.Generator().manual_seed(0)
            one = square(line, images, labels, Threat(norm, factor * least), queries=400, generator=generator)
            assert ((line(one).argmax(1) != labels) == falls).all()


def test_losses_by_hand():
    logits, labels = torch.tensor([[3.0, 1.0, -2.0, 0.5], [0.0, 4.0, 1.0, 2.0]]), torch.tensor([0, 2])
    assert margin(logits, labels).tolist() == [-2.0, 3.0]
    assert dlr(logits, labels).tolist() == pytest.approx([-2 / 2.5, 3 / 3])
    assert LOSSES["ce"](logits, labels)[0].item() == pytest.approx(
        math.log(math.exp(3) + math.e + math.exp(-2) + math.exp(0.5)) - 3
    )
    assert [loss_for("dlr", classes) for classes in (2, 3, 10)] == ["margin", "dlr", "dlr"]
    with pytest.raises(ValueError, match="needs 3 classes or more; got 2"):
        dlr(logits[:, :2], labels)


def test_a_sure_net_still_has_a_gradient():
    """In float32 the gradient of the cross-entropy of logits 200 apart is zero."""
    line = Line().float()
    big = lambda x: 500 * line(x)  # noqa: E731
    images, labels = torch.full((1, 3, 4, 5), 0.5), torch.ones(1, dtype=torch.long)
    found = fgsm(big, images, labels, Threat("linf", 0.01))
    assert (found != images).all()
    for factor in (1e4, 1e6):  # and in float64 too, from 745 on
        assert torch.equal(fgsm(lambda x, by=factor: by * line(x), images, labels, Threat("linf", 0.01)), found)
    answers = torch.tensor([[0.0, x] for x in (699.0, 700.0, 701.0, 7e4, 7e6)], dtype=torch.float64)
    values = LOSSES["ce"](answers, torch.ones(5, dtype=torch.long))
    assert (values.diff() < 0).all()
    assert values[0].item() == pytest.approx(math.exp(-699))


def test_the_victim_normalises_and_returns_as_it_was():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2)).train()
    model[0].eval()
    model[2].bias.requires_grad_(False)
    victim = Attacked(model, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    pixels = torch.rand(4, 3, 2, 2)
    with under_attack(victim):
        assert not any(one.training for one in victim.modules())
        assert not any(one.requires_grad for one in victim.parameters())
        by_hand = torch.stack([(pixels[:, c] - (0.1, 0.2, 0.3)[c]) / (0.5, 0.6, 0.7)[c] for c in range(3)], 1)
        torch.testing.assert_close(victim(pixels), model(by_hand))
    assert [model[0].training, model[2].training] == [False, True]
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, False]


def test_refusals():
    with pytest.raises(ValueError, match="norm must be one of linf, l2; got 'l1'"):
        Threat("l1", 1)
    with pytest.raises(ValueError, match="must be positive; got 0"):
        Threat("l2", 0)
    with pytest.raises(ValueError, match=r"the net is in torch\.bfloat16\. Call \.float\(\) first"):
        Attacked(nn.Linear(2, 2).bfloat16(), (0,), (1,))
    for attack in (
        lambda x: fgsm(Net(), x, LABELS, LINF),
        lambda x: pgd(Net(), x, LABELS, LINF, steps=1, step_size=0.1),
        lambda x: apgd(Net(), x, LABELS, LINF, LOSSES["ce"], steps=1),
        lambda x: square(Net(), x, LABELS, LINF, queries=3, generator=torch.Generator()),
    ):
        with pytest.raises(ValueError, match=r"pixels of 0 to 1; got .* Divide bytes by 255"):
            attack(255 * IMAGES)
    with pytest.raises(ValueError, match=r"start must lie in 0\.\.1 and at most"):
        apgd(Net(), IMAGES, LABELS, LINF, LOSSES["ce"], steps=1, start=(IMAGES + 0.5).clamp(0, 1))
    with pytest.raises(ValueError, match="square knows the norm linf alone; got 'l2'"):
        square(Net(), IMAGES, LABELS, L2, queries=3, generator=torch.Generator())
    with pytest.raises(ValueError, match="steps and step_size must be positive; got 0 and 1"):
        pgd(Net(), IMAGES, LABELS, L2, steps=0, step_size=1)
