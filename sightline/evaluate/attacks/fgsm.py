"""FGSM, the fast gradient sign method: one step of the ball's radius along the sign of the gradient.

Source: Goodfellow et al. 2015, arXiv 1412.6572, section 4. In the Euclidean ball, along the gradient (fast gradient method).
"""

from collections.abc import Callable

from torch import Tensor

from sightline.evaluate.attacks.losses import cross_entropy
from sightline.evaluate.attacks.threat import Threat
from sightline.evaluate.attacks.victim import loss_and_gradient


def fgsm(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """One step that raises the cross-entropy of the labels.

    Args:
        model: pixels (B, C, H, W) of 0..1 to logits (B, K).
        images: (B, C, H, W) in 0..1.
        labels: (B,) the right classes.
        threat: the ball.

    Raises:
        ValueError: images outside 0..1.
    """
    threat.admit(images)
    _, _, gradient = loss_and_gradient(model, images, labels, cross_entropy)
    return threat.project(images + threat.eps * threat.uphill(gradient), images)
