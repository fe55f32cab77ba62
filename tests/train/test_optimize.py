"""Parameter groups, learning rates and averaged weights against the formulas."""

import math
from dataclasses import replace

import pytest
import torch

from sightline.train.average import WeightAverage
from sightline.train.optimize import build_optimizer, learning_rate, set_learning_rate
from tests.train.tiny import RECIPE, TinyNet

RUN = replace(RECIPE, epochs=4, warmup_epochs=1.0, lr=0.1, min_lr=0.01)


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_decay_spares_norms_biases_and_what_the_model_exempts(name):
    model = TinyNet(3, 3)
    optimizer = build_optimizer(model, replace(RUN, optimizer=name, weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {n: decay[id(p)] for n, p in model.named_parameters()} == {
        "conv.weight": 0.0,
        "conv.bias": 0.0,
        "norm.weight": 0.0,
        "norm.bias": 0.0,
        "fc.weight": 0.3,
        "fc.bias": 0.0,
    }
    set_learning_rate(optimizer, 0.7)
    assert {group["lr"] for group in optimizer.param_groups} == {0.7}


def test_learning_rate_rises_falls_and_ends_at_min_lr():
    rates = [learning_rate(RUN, step, 5) for step in range(20)]
    assert rates[:5] == pytest.approx([0.1 * (k + 1) / 6 for k in range(5)])
    assert rates[5] == pytest.approx(0.1)
    for step in range(5, 20):
        assert rates[step] == pytest.approx(0.01 + 0.09 * (1 + math.cos(math.pi * (step - 5) / 14)) / 2)
    assert rates[-1] == pytest.approx(0.01)


def test_a_line_and_steps():
    line = replace(RUN, schedule="linear")
    assert [learning_rate(line, step, 5) for step in range(5, 20)] == pytest.approx(
        [0.1 - 0.09 * k / 14 for k in range(15)]
    )
    steps = replace(RUN, schedule="step", step_epochs=1.5, step_factor=0.5, warmup_epochs=0.0)
    rates = [learning_rate(steps, step, 4) for step in range(16)]
    assert rates == pytest.approx([0.1] * 6 + [0.05] * 6 + [0.025] * 4)


def test_the_rate_follows_the_batch_where_the_recipe_says_so():
    run = replace(RUN, lr=0.1, lr_batch=4, batch_size=8, warmup_epochs=0.0)
    assert learning_rate(run, 0, 5) == pytest.approx(0.2)
    assert build_optimizer(TinyNet(3, 3), replace(run, optimizer="sgd")).param_groups[0]["lr"] == pytest.approx(0.2)


@pytest.mark.parametrize("nesterov", [True, False])
def test_momentum_has_the_form_asked_for(nesterov):
    optimizer = build_optimizer(TinyNet(3, 3), replace(RUN, optimizer="sgd", nesterov=nesterov))
    assert {group["nesterov"] for group in optimizer.param_groups} == {nesterov}


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_muon_moves_matrices_by_orthogonal_steps_and_leaves_the_rest_to_adamw(decay):
    """Singular values of an update are near lr * 0.2 * sqrt(larger side) (arXiv 2502.16982, eq. 4), AdamW's is lr."""
    torch.manual_seed(0)
    model = TinyNet(5, 3)
    run = replace(RUN, optimizer="muon", momentum=0.95, nesterov=False, weight_decay=decay)
    optimizer = build_optimizer(model, run)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    moved = {name: before[name] - p.detach() for name, p in model.named_parameters()}
    update = moved["fc.weight"] - run.lr * decay * before["fc.weight"]
    values = torch.linalg.svdvals(update) / (run.lr * 0.2 * 8**0.5)
    assert ((values > 0.6) & (values < 1.3)).all()
    for name in ("conv.weight", "fc.bias", "norm.bias"):  # the model exempts conv.weight: AdamW's
        torch.testing.assert_close(moved[name].abs(), torch.full_like(moved[name], run.lr), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0.0), (1, 5.0), (2, 2.0)])
def test_short_runs_have_finite_positive_rates(epochs, warmup):
    run = replace(RUN, epochs=epochs, warmup_epochs=warmup)
    assert all(0 < learning_rate(run, step, 1) <= 0.1 for step in range(epochs))


def test_average_follows_the_formula_in_weights_and_buffers():
    torch.manual_seed(0)
    model = TinyNet(3, 3)
    average = WeightAverage(model, decay=0.3)
    weight, mean = model.fc.weight.detach().clone(), model.norm.running_mean.clone()
    for t in range(5):
        with torch.no_grad():
            model.fc.weight.add_(1.0)
            model.norm.running_mean.add_(2.0)
            model.norm.num_batches_tracked.add_(1)
        average.update()
        decay = min(0.3, (1 + t) / (10 + t))
        weight = decay * weight + (1 - decay) * model.fc.weight.detach()
        mean = decay * mean + (1 - decay) * model.norm.running_mean
    torch.testing.assert_close(average.module.fc.weight.detach(), weight)
    torch.testing.assert_close(average.module.norm.running_mean, mean)
    assert average.module.norm.num_batches_tracked == 5
    assert not any(p.requires_grad for p in average.module.parameters())
    fresh = WeightAverage(model, decay=0.3)
    fresh.load_state_dict(average.state_dict())
    assert fresh.updates == 5
    torch.testing.assert_close(fresh.module.fc.weight.detach(), weight)


def test_average_follows_a_model_whose_data_were_moved():
    """As DistributedDataParallel moves them into its own memory."""
    model = TinyNet(3, 3)
    average = WeightAverage(model, decay=0.0)
    model.fc.weight.data = torch.full_like(model.fc.weight, 7.0)
    average.update()
    assert (average.module.fc.weight == 7).all()
