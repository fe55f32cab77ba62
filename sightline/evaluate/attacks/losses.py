"""What an attack drives up: losses of logits (B, K) and labels (B,), one value an image, larger is worse for the net.

Sources: difference of logits ratio, Croce and Hein 2020, arXiv 2003.01690, section 4, equation 6.
Ours: in float64; with two classes, where the ratio is not defined (it divides by the gap between the first and the third logit),
`loss_for` gives the plain margin instead.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
LEAST_CLASSES = 3
"""Of the difference of logits ratio."""
_TINY = 1e-12
SUREST = -700.0  # exp of less is near the end of float64


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) in nats; written as log(1 + exp(x)), x the others' log-sum less the right logit, exact where the net is all but certain.

    Ours: below x = -700, where it would underflow, it goes on falling ever slower, so that it keeps a direction.
    """
    wide = logits.double()
    others = wide.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    x = others - wide.gather(1, labels[:, None]).squeeze(1)
    beyond = math.exp(SUREST) / (1 + SUREST - x.clamp_max(SUREST))
    return torch.where(x < SUREST, beyond, F.softplus(x.clamp_min(SUREST)))


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) the best wrong logit minus the right one: positive where the answer is wrong."""
    right = logits.gather(1, labels[:, None]).squeeze(1)
    return _best_wrong(logits, labels).double() - right.double()


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) the margin over the gap between the first and the third logit, so that neither scale nor shift of the logits matters.

    Raises:
        ValueError: fewer than three classes.
    """
    if logits.shape[1] < LEAST_CLASSES:
        raise ValueError(
            f"the difference of logits ratio needs {LEAST_CLASSES} classes or more; got {logits.shape[1]}. "
            "Use the margin instead"
        )
    ranked = logits.double().topk(LEAST_CLASSES, dim=1).values
    return margin(logits, labels) / (ranked[:, 0] - ranked[:, 2] + _TINY)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "dlr": dlr, "margin": margin}


def loss_for(name: str, classes: int) -> str:
    """The name of the loss that stands for `name` with so many classes."""
    return "margin" if name == "dlr" and classes < LEAST_CLASSES else name


def _best_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1)
