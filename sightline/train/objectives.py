"""What training minimises: cross-entropy with the labels, and the teacher's term beside it.

    L = (1 - alpha) CE(z, y) + alpha D(z', t)        z logits, y labels, t the teacher's logits on the same augmented batch
    soft:  D = tau^2 / (B K) sum_bk p_bk (log p_bk - log q_bk),   p = softmax(t / tau),  q = softmax(z' / tau)
    hard:  D = CE(z', argmax t)

Source: Touvron et al. 2021 (DeiT), arXiv 2012.12877, section 5. A model with a distillation token returns the two logits (z, z');
any other model is asked twice, z' = z. Labels come smoothed and mixed or not; the teacher's are never smoothed.
As the authors' code, not the paper: the soft term is divided by all B K numbers, not by B, so it weighs K times less than the
formula says; an alpha tuned for another code base does not carry over.
Legend: B batch, K classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Logits = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Objective:
    """The training loss of a recipe.

    Args:
        distillation: "none", "soft" or "hard".
        alpha: weight of the teacher's term, 0..1.
        tau: temperature of the soft form.
    """

    distillation: str = "none"
    alpha: float = 0.5
    tau: float = 1.0

    def __call__(self, outputs: Logits, targets: Tensor, teacher: Tensor | None = None) -> Tensor:
        """The mean loss of a batch, a scalar.

        Args:
            outputs: logits (B, K), or a pair of them: classification head, distillation head.
            targets: labels (B,) int64, or soft labels (B, K) whose rows sum to 1.
            teacher: the teacher's logits (B, K); needed unless distillation is "none".
        """
        student, imitation = outputs if isinstance(outputs, tuple) else (outputs, outputs)
        loss = cross_entropy(student, targets)
        if self.distillation == "none":
            return loss
        if teacher is None:
            raise ValueError(f"{self.distillation} distillation needs the teacher's logits")
        return (1 - self.alpha) * loss + self.alpha * self._imitate(imitation, teacher)

    def _imitate(self, logits: Tensor, teacher: Tensor) -> Tensor:
        if self.distillation == "hard":
            return cross_entropy(logits, teacher.argmax(dim=1))
        return soft_distillation(logits, teacher, self.tau)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, K), in float32 or wider, with labels (B,) or soft labels (B, K)."""
    logits = _widen(logits)
    return F.cross_entropy(logits, targets.to(logits.dtype) if targets.is_floating_point() else targets)


def soft_distillation(logits: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """tau^2 times the divergence of the tempered student from the tempered teacher, averaged over all B K numbers."""
    student = F.log_softmax(_widen(logits) / tau, dim=1)
    target = F.log_softmax(_widen(teacher) / tau, dim=1)
    return F.kl_div(student, target, reduction="sum", log_target=True) * tau**2 / logits.numel()


def _widen(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
