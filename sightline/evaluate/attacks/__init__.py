"""Attacks on classifiers of pixels in 0..1: FGSM, PGD, APGD and Square, inside a ball around each image.

    victim = Attacked(model, mean, std)             # normalisation inside: attacks speak of pixels
    with under_attack(victim):
        found = pgd(victim, pixels, labels, Threat("linf", 8 / 255), steps=20, step_size=2 / 255)

Every attack returns images, as near to a wrong answer as it got; whether they are answered wrongly is for the caller to see.
"""

from sightline.evaluate.attacks.apgd import apgd
from sightline.evaluate.attacks.fgsm import fgsm
from sightline.evaluate.attacks.losses import LOSSES, cross_entropy, dlr, margin
from sightline.evaluate.attacks.pgd import pgd
from sightline.evaluate.attacks.square import square
from sightline.evaluate.attacks.threat import Threat
from sightline.evaluate.attacks.victim import Attacked, check_precision, under_attack

__all__ = [
    "LOSSES",
    "Attacked",
    "Threat",
    "apgd",
    "check_precision",
    "cross_entropy",
    "dlr",
    "fgsm",
    "margin",
    "pgd",
    "square",
    "under_attack",
]
