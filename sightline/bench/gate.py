"""Correctness first: a contender that gives a wrong answer gets no time.

Every contender runs on the whole batch; its first image is compared with the definition in float64, output and gradients of the
operands. The cotangent is zero for the other images, so gradients of shared operands are those of the first image alone.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.bench.case import CannotRunError, Contender, Prepared

TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True)
class Verdict:
    """How far a contender is from the exact answer.

    Args:
        forward, backward: largest difference over the largest exact value; None where it was not compared.
        refused: why it gets no time; "" when it does.
        seconds: what the contender took for it, forward and, where gradients were compared, backward.
    """

    forward: float | None = None
    backward: float | None = None
    refused: str = ""
    seconds: float = 0.0


class Gate:
    """The exact answer of a prepared case, computed once.

    Args:
        prepared: the case's tensors.
        backward: compare gradients too.
    """

    def __init__(self, prepared: Prepared, backward: bool = True) -> None:
        self.prepared = prepared
        self.backward = backward and prepared.pick is None
        exact = tuple(_first(one, many) for one, many in zip(prepared.operands, prepared.batched, strict=True))
        exact = tuple(None if one is None else one.detach().double().requires_grad_(self.backward) for one in exact)
        with torch.set_grad_enabled(self.backward):
            answer = prepared.exact(*exact)
        self.answer = answer.detach()
        self.cotangent: Tensor | None = None
        self.gradients: Sequence[Tensor] = ()
        if self.backward:
            self.cotangent = torch.randn(answer.shape, dtype=torch.float64, device=answer.device)
            self.gradients = torch.autograd.grad(answer, [one for one in exact if one is not None], self.cotangent)

    def check(self, contender: Contender) -> Verdict:
        """Run a contender and compare it; errors it raises become a refusal that quotes them."""
        try:
            return self._check(contender)
        except CannotRunError as error:
            return Verdict(refused=str(error))
        except NotImplementedError as error:  # a named backend's objection
            return Verdict(refused=str(error).partition(": ")[2] or str(error))
        except (RuntimeError, ValueError, TypeError) as error:
            return Verdict(
                refused=f"failed: {str(error).splitlines()[0][:160]}" if str(error) else type(error).__name__
            )

    def _check(self, contender: Contender) -> Verdict:
        compare = self.backward and contender.backward
        operands = [None if one is None else one.detach().requires_grad_(compare) for one in self.prepared.operands]
        start = time.perf_counter()
        with torch.set_grad_enabled(compare):
            answer = contender.run(*operands)
        tolerance = TOLERANCE.get(answer.dtype, 2e-4)
        many = self.prepared.batched[0]
        part = answer if self.prepared.pick is None else self.prepared.pick(answer)
        if part.shape[1:] != self.answer.shape[1:]:
            return Verdict(refused=f"wrong: shape {tuple(part.shape)} where {tuple(self.answer.shape)} is exact")
        forward = difference(part[:1] if many else part, self.answer)
        backward = self._gradients(answer, operands) if compare else None
        seconds = time.perf_counter() - start
        found = [one for one in (forward, backward) if one is not None]
        if not all(one <= tolerance for one in found):  # not-a-number is refused too
            worst = next((one for one in found if math.isnan(one)), max(found))
            return Verdict(
                forward, backward, f"wrong: off by {worst:.1e} of the largest value, {tolerance:.0e} is allowed"
            )
        return Verdict(forward, backward, seconds=seconds)

    def _gradients(self, answer: Tensor, operands: Sequence[Tensor | None]) -> float:
        if self.cotangent is None:
            return 0.0
        cotangent = torch.zeros_like(answer)
        cotangent[: self.cotangent.shape[0]] = self.cotangent.to(answer.dtype)
        leaves = [one for one in operands if one is not None]
        found = torch.autograd.grad(answer, leaves, cotangent)
        many = [flag for one, flag in zip(operands, self.prepared.batched, strict=True) if one is not None]
        firsts = [_first(one, flag) for one, flag in zip(found, many, strict=True)]
        # a gradient that is zero in theory is rounding alone, so it is held to the size of the others
        least = 0.01 * max(float(one.abs().max()) for one in self.gradients)
        pairs = zip(firsts, self.gradients, strict=True)
        return max(difference(one, exact, least) for one, exact in pairs if one is not None)


def difference(found: Tensor, exact: Tensor, least: float = 1e-30) -> float:
    """The largest difference over the largest exact value, which counts as `least` at least."""
    scale = exact.abs().max().clamp(min=least)
    return float((found.detach().double() - exact).abs().max() / scale)


def _first(operand: Tensor | None, many: bool) -> Tensor | None:
    return operand[:1] if many and operand is not None else operand


def refusing(reason: str) -> Callable[..., Tensor]:
    """A `run` that always refuses, for what can not express a case at all."""

    def run(*_operands: Tensor | None) -> Tensor:
        raise CannotRunError(reason)

    return run
