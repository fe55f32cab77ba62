"""How true a map is: does the class go when what the map names is taken away, and does it come when that alone is shown?

    deletion    pixels are taken away, the highest of the map first; the probability of the class over the share taken away
    insertion   pixels are put into a blank picture, the highest first; the probability over the share shown
    area        under the curve, 0 to 1: small is good for deletion, large for insertion

Source: Petsiuk et al. 2018, "RISE", arXiv 1806.07421, section 4.1.
Ours:   taken away is: set to the mean colour (0 after normalisation), in both games; `fill` is another value.
Ours:   the class is the one explained; for a map that explains none, the class predicted.
Ours:   beside every map goes a random one on the same grid of cells, for coarse cells delete otherwise than single pixels whatever
        they say: only the difference to it tells that a map knows something. Equal values are ordered at random.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.backbones.mode import as_the_net_wants, evaluating
from sightline.explain.explanation import Explanation
from sightline.explain.geometry import Geometry


@dataclass(frozen=True)
class Curves:
    """Probabilities (B, steps + 1) of the class after each equal share of pixels, and the areas (B,) under them."""

    deletion: Tensor
    insertion: Tensor

    @property
    def deletion_area(self) -> Tensor:
        """Smaller is better."""
        return area(self.deletion)

    @property
    def insertion_area(self) -> Tensor:
        """Larger is better."""
        return area(self.insertion)


@dataclass(frozen=True)
class Faithfulness:
    """The games of an explanation, and of random maps on its grid, on the same pictures."""

    found: Curves
    random: Curves

    def __len__(self) -> int:
        return len(self.found.deletion)

    def summary(self) -> dict[str, float | int]:
        """Means over pictures, and how much better than random with the half width of the 95% interval of that difference.

        `deletion_gain` is random minus found, `insertion_gain` found minus random: positive is better than random in both.
        """
        deletion = self.random.deletion_area - self.found.deletion_area
        insertion = self.found.insertion_area - self.random.insertion_area
        return {
            "n": len(self),
            "deletion": float(self.found.deletion_area.mean()),
            "insertion": float(self.found.insertion_area.mean()),
            "random_deletion": float(self.random.deletion_area.mean()),
            "random_insertion": float(self.random.insertion_area.mean()),
            "deletion_gain": float(deletion.mean()),
            "deletion_gain_half": half_width(deletion),
            "insertion_gain": float(insertion.mean()),
            "insertion_gain_half": half_width(insertion),
        }


def faithfulness(
    model: nn.Module, images: Tensor, explanation: Explanation, *, steps: int = 16, fill: float = 0.0, seed: int = 0
) -> Faithfulness:
    """Play deletion and insertion with an explanation and with a random one.

    Args:
        model: the net that was explained.
        images: the pictures that were explained, normalised (B, C, H, W).
        explanation: of any method.
        steps: equal shares of the pixels; at most as many as there are pixels.
        fill: normalised value of what is taken away.
        seed: of the random maps and of the order of equal values.

    Raises:
        ValueError: pictures and explanation do not belong to each other, or steps is below one.
    """
    if len(images) != len(explanation) or tuple(images.shape[2:]) != explanation.geometry.size:
        raise ValueError(
            f"the explanation is of {len(explanation)} pictures of {explanation.geometry.size}; "
            f"got {len(images)} of {tuple(images.shape[2:])}"
        )
    if steps < 1:
        raise ValueError(f"the curves need at least one step; got {steps}")
    generator = torch.Generator().manual_seed(seed)
    target, images = explanation.target or None, as_the_net_wants(model, images)
    found = play(model, images, ranks(explanation.over_image(), generator), target, steps, fill)
    chance = random_map(explanation.geometry, len(images), generator)
    return Faithfulness(found, play(model, images, ranks(chance, generator), target, steps, fill))


@torch.no_grad()
def play(
    model: nn.Module, images: Tensor, rank: Tensor, target: tuple[int, ...] | None, steps: int, fill: float
) -> Curves:
    """Both games with pixels in the order of their rank (B, H, W), 0 first."""
    with evaluating(model):
        wanted = torch.as_tensor(target or model(images).argmax(1).tolist())
        pixels = rank[0].numel()
        deletion, insertion = [], []
        for step in range(steps + 1):
            taken = (rank < round(pixels * step / steps))[:, None].to(images.device)  # B, 1, H, W
            deletion.append(_probability(model, images.masked_fill(taken, fill), wanted))
            insertion.append(_probability(model, images.masked_fill(~taken, fill), wanted))
    return Curves(torch.stack(deletion, 1), torch.stack(insertion, 1))


def _probability(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    return model(images).float().cpu().softmax(1).gather(1, target[:, None])[:, 0]


def ranks(maps: Tensor, generator: torch.Generator) -> Tensor:
    """The place of every pixel of maps (B, H, W) when sorted from the highest down, equal values in random order."""
    flat = maps.flatten(1)
    shuffled = torch.rand(flat.shape, generator=generator).argsort(1)
    order = flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    order = shuffled.gather(1, order)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(flat.shape[1]).expand_as(order))
    return rank.view(maps.shape)


def random_map(where: Geometry, pictures: int, generator: torch.Generator) -> Tensor:
    """Random maps (B, H, W) on a grid of cells."""
    return where.over_image(torch.rand(pictures, where.rows, where.cols, generator=generator))


def area(curve: Tensor) -> Tensor:
    """Area (B,) under curves (B, points) over equal parts of 0 .. 1, by trapezoids."""
    return (curve[:, 1:] + curve[:, :-1]).mean(1) / 2


def half_width(values: Tensor) -> float:
    """Half the 95% interval of a mean over pictures (Student's t); not a number for fewer than two."""
    if len(values) < 2:
        return float("nan")
    from scipy import stats

    return float(stats.t.ppf(0.975, len(values) - 1) * values.double().std() / len(values) ** 0.5)
