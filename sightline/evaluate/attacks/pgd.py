"""PGD, projected gradient descent: steps along the gradient's sign (or direction), each brought back into the ball.

Source: Madry et al. 2018, arXiv 1706.06083, section 2.1; targeted: Kurakin et al. 2017, arXiv 1611.01236.
Ours: the last image counts, not the best on the way.
"""

from collections.abc import Callable

from torch import Tensor

from sightline.evaluate.attacks.losses import cross_entropy
from sightline.evaluate.attacks.threat import Threat
from sightline.evaluate.attacks.victim import loss_and_gradient


def pgd(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    steps: int,
    step_size: float,
    start: Tensor | None = None,
    targets: Tensor | None = None,
) -> Tensor:
    """Steps that raise the cross-entropy of the labels, or lower that of the targets.

    Args:
        model: pixels (B, C, H, W) of 0..1 to logits (B, K).
        images: (B, C, H, W) in 0..1.
        labels: (B,) the right classes.
        threat: the ball.
        steps: how many.
        step_size: length of a step, in the ball's norm.
        start: where to begin, inside the ball; the images themselves when not given.
        targets: (B,) classes to be answered; any wrong one when not given.

    Raises:
        ValueError: steps or step_size is not positive, images outside 0..1, or a start outside the ball.
    """
    if steps < 1 or step_size <= 0:
        raise ValueError(f"steps and step_size must be positive; got {steps} and {step_size}")
    wanted, sign = (labels, 1) if targets is None else (targets, -1)
    found = threat.admit(images, start)
    for _ in range(steps):
        _, _, gradient = loss_and_gradient(model, found, wanted, cross_entropy)
        found = threat.project(found + sign * step_size * threat.uphill(gradient), images)
    return found
