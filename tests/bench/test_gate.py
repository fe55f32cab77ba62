"""The gate: right answers pass, wrong ones get no time but stay, and rivals compute what ours do."""

import pytest
import torch

from sightline.bench import masked, unfold
from sightline.bench.case import BASELINE, BOTH, FORWARD, OURS, CannotRunError, Case, Contender, Prepared
from sightline.bench.gate import Gate
from sightline.bench.measure import judge, measure
from sightline.bench.settings import Settings
from sightline.ops import criss_cross_attention, local_attention, local_relation, vector_attention

FAST = Settings(rounds=3, seconds=0.1, sample_seconds=1e-4, memory=False)


def square(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return scale * x.square()


def wrong_gradient(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    y = scale * x.square()
    return y.detach() + 0.5 * (y - y.detach())


class Poisoned(torch.autograd.Function):
    """The right answer, and a gradient that is not a number."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return square(x, scale)

    @staticmethod
    def backward(ctx, *cotangents):
        x, scale = ctx.saved_tensors
        return x * float("nan"), torch.zeros_like(scale)


def cannot(*_operands: torch.Tensor) -> torch.Tensor:
    raise CannotRunError("it has no squares")


def breaks(*_operands: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no such kernel\nand more")


def prepared(*_arguments: object) -> Prepared:
    x, scale = torch.randn(3, 4, 5), torch.randn(4, 1)
    contenders = [
        Contender("right", square, OURS),
        Contender("by multiplication", lambda x, s: s * x * x),
        Contender("wrong", lambda x, s: s * x * x * 1.001),
        Contender("wrong gradient", wrong_gradient),
        Contender("gradient not a number", Poisoned.apply),
        Contender("not a number", lambda x, s: square(x, s) * float("nan")),
        Contender("wrong shape", lambda x, s: square(x, s)[..., :1]),
        Contender("right where nobody looks", lambda x, s: torch.cat([x[:1] ** 2 * s, x[1:]])),
        Contender("cannot", cannot),
        Contender("breaks", breaks),
        Contender("too large", square, needs=10**18),
        Contender("forward alone", square, backward=False),
        Contender("another operation", lambda z: z + 1, BASELINE, (torch.randn(2),)),
    ]
    return Prepared((x, scale), (True, False), square, contenders, 60)


def test_verdicts():
    verdicts = judge(prepared(), backward=True)
    refused = {name: one.refused for name, one in verdicts.items() if one.refused}
    faults = {"wrong", "wrong gradient", "gradient not a number", "not a number", "wrong shape"}
    assert set(refused) == faults | {"cannot", "breaks", "too large"}
    assert "off by 1.0e-03" in refused["wrong"]
    assert "off by 5.0e-01" in refused["wrong gradient"]
    assert refused["cannot"] == "it has no squares"
    assert refused["breaks"] == "failed: no such kernel"
    assert "(3, 4, 1)" in refused["wrong shape"]
    assert "GB" in refused["too large"]
    assert verdicts["right"].forward is not None
    assert verdicts["right"].forward < 1e-6
    assert not judge(prepared(), backward=False)["wrong gradient"].refused


def test_refused_contenders_stay_without_times():
    case = measure(Case("squares", "3 of 4 x 5", 3, prepared), FAST)
    found = {one["name"]: one for one in case["contenders"]}
    assert len(found) == 13
    assert found["wrong"]["seconds"] == {}
    assert found["wrong"]["refused"]
    assert set(found["right"]["seconds"]) == {FORWARD, BOTH}
    assert set(found["forward alone"]["seconds"]) == {FORWARD}
    assert set(found["another operation"]["seconds"]) == {FORWARD, BOTH}
    counts = {len(one["seconds"][FORWARD]) for one in found.values() if one["seconds"]}
    assert len(counts) == 1


def exact(rival, ours, operands: tuple, batched: tuple) -> None:
    operands = tuple(one.double() for one in operands)
    gate = Gate(Prepared(operands, batched, ours, [], 0))
    verdict = gate.check(Contender("rival", rival))
    assert not verdict.refused, verdict.refused
    assert max(verdict.forward or 0.0, verdict.backward or 0.0) < 1e-12


@pytest.mark.parametrize("size", [(5, 9), (3, 3), (1, 4)])
def test_rivals_of_the_window_operators_are_exact(size):
    q, k, v = (torch.randn(2, 6, *size) for _ in range(3))
    tables = torch.randn(2, 1, 5), torch.randn(2, 2, 5)
    options = {"kernel_size": 5, "heads": 2}
    for rival in (unfold.local_attention, masked.masked_local_attention):
        exact(
            lambda *o, rival=rival: rival(*o, **options),
            lambda *o: local_attention(*o, **options, backend="reference"),
            (q, k, v, *tables),
            (True,) * 3 + (False,) * 2,
        )
    prior = torch.randn(3, 25)
    for rival in (unfold.local_relation, masked.masked_local_relation):
        exact(
            lambda *o, rival=rival: rival(*o, kernel_size=5),
            lambda *o: local_relation(*o, kernel_size=5, backend="reference"),
            (q[:, :3], k[:, :3], v, prior),
            (True, True, True, False),
        )


def test_rivals_of_the_others_are_exact():
    options = {"kernel_size": 3, "normalise": "softmax"}
    logits, value = torch.randn(2, 3, 9, 5, 4), torch.randn(2, 6, 5, 4)
    exact(
        lambda *o: unfold.vector_attention(*o, **options),
        lambda *o: vector_attention(*o, **options, backend="reference"),
        (logits, value),
        (True, True),
    )
    crossing = (torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 6, 5, 4))
    exact(unfold.criss_cross, lambda *o: criss_cross_attention(*o, backend="reference"), crossing, (True,) * 3)


def test_masks_that_are_too_large_are_not_made():
    x = torch.empty(1, 8, 112, 112, device="meta")
    with pytest.raises(CannotRunError, match=r"would take 4\.7 GB"):
        masked.masked_local_attention(x, x, x, x, x, kernel_size=7, heads=8)
