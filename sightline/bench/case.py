"""What a benchmark is made of: a case with its operands, the exact answer, and contenders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

FORWARD, BOTH = "forward", "forward + backward"
DIRECTIONS = (FORWARD, BOTH)
OURS, REFERENCE, RIVAL, BASELINE = "ours", "reference", "rival", "baseline"
KIN = "kin"  # another operation, shown beside ours: its answer is not compared and it is not what ours is measured against


class CannotRunError(Exception):
    """A contender can not express the case, or not within this machine; the message says why."""


@dataclass(frozen=True)
class Contender:
    """One way to compute a case's answer.

    Args:
        name: shown in tables.
        run: operands -> answer. It raises `CannotRunError` where it can not.
        kind: "ours", "reference" (also ours: the definition), "rival" (the same answer by other means) or "baseline" (another
            operation, which ours is measured against; its answer is not compared) or "kin" (another operation, shown alone).
        operands: a baseline's own operands.
        parameters: tensors beside the operands that a backward pass gives gradients to.
        backward: has it a backward pass?
        needs: bytes it will hold beyond its operands, roughly; refused before it runs where the machine has not as much.
        note: shown beside it.
    """

    name: str
    run: Callable[..., Tensor]
    kind: str = RIVAL
    operands: tuple[Tensor, ...] | None = None
    parameters: tuple[Tensor, ...] = ()
    backward: bool = True
    needs: int = 0
    note: str = ""


@dataclass(frozen=True)
class Prepared:
    """A case's tensors and contenders, made when its turn comes.

    Args:
        operands: of all contenders but baselines; None where an op takes none.
        batched: does an operand's first axis count images?
        exact: the answer's definition; given float64 operands of one image.
        contenders: who competes.
        macs: multiply-adds of the answer in closed form.
        moved: bytes of operands and answer, each read or written once, in closed form; 0 where nobody counts them.
        pick: part of the answer that `exact` gives; gradients are compared only where it gives all (None).
    """

    operands: tuple[Tensor | None, ...]
    batched: tuple[bool, ...]
    exact: Callable[..., Tensor]
    contenders: Sequence[Contender]
    macs: int
    pick: Callable[[Tensor], Tensor] | None = None
    moved: int = 0


@dataclass(frozen=True)
class Case:
    """A benchmark by name.

    Args:
        name: unique in its section.
        about: the operands, for people.
        batch: images.
        prepare: device -> its tensors and contenders.
        quick: part of a quick run?
        directions: what is timed.
    """

    name: str
    about: str
    batch: int
    prepare: Callable[[str], Prepared]
    quick: bool = False
    directions: tuple[str, ...] = DIRECTIONS


def parameters_of(module: nn.Module) -> tuple[Tensor, ...]:
    """What a module's backward pass gives gradients to."""
    return tuple(one for one in module.parameters() if one.requires_grad)
