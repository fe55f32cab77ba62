"""G1, G2: reach and adaptivity of every layer, read off its gradients."""

import torch

from benchmarks.claims.claim import FAILS, HOLDS, PARTLY, Number, Outcome, decide, experiment
from benchmarks.claims.layers import MAKERS, SIDE, WINDOW, C, make, reach, row

PLACES = ((0, 0), (7, 7), (14, 3), (2, 11))
DRAWS = 3


@experiment("G1")
def window_or_everything() -> Outcome:
    """The gradient of an output position reaches which inputs?"""
    numbers, inside = [], {}
    for name in MAKERS:
        found = []
        for draw in range(DRAWS):
            torch.manual_seed(draw)
            x, layer = torch.randn(1, C, SIDE, SIDE, dtype=torch.float64), make(name, draw)
            found += [reach(layer, x, place) for place in PLACES]
        farthest = max(_farthest(one, place) for one, place in zip(found, PLACES * DRAWS, strict=True))
        shares = [one.double().mean().item() for one in found]
        inside[name] = farthest <= WINDOW // 2  # SAN reflects at the border, which stays inside
        numbers.append(
            Number(
                f"{name}: positions that an output depends on, of {SIDE * SIDE}",
                f"{sum(shares) / len(shares):.1%}",
                f"{len(found)} outputs",
                f"{min(shares):.1%} .. {max(shares):.1%}, at most {farthest} rows or columns away",
            )
        )
    attention = [name for name in MAKERS if name != "convolution"]
    wide, local = ([name for name in attention if inside[name] is near] for near in (False, True))
    return Outcome(
        f"One layer each on a map of {SIDE} x {SIDE} with {C} channels, windows {WINDOW} x {WINDOW}, random parameters, float64: "
        "which inputs have a gradient other than zero in one output.",
        numbers,
        (HOLDS if not local else PARTLY) if inside["convolution"] else FAILS,
        f"Beyond the window depend: {'; '.join(wide)}. Not: {'; '.join(local)}; they have windows of their "
        "own, as convolution has.",
    )


def _farthest(reached: torch.Tensor, place: tuple[int, int]) -> int:
    rows, cols = reached.nonzero(as_tuple=True)
    return int(torch.maximum((rows - place[0]).abs(), (cols - place[1]).abs()).max())


@experiment("G2")
def weights_follow_the_input() -> Outcome:
    """Does the linear map that a layer applies change with its input?"""
    numbers, changes = [], {}
    for name in MAKERS:
        found = []
        for draw in range(8):
            torch.manual_seed(100 + draw)
            first, second = torch.randn(2, 1, C, SIDE, SIDE, dtype=torch.float64)
            layer = make(name, draw)
            one, two = row(layer, first, (7, 7)), row(layer, second, (7, 7))
            found.append(((one - two).norm() / one.norm()).item())
        changes[name] = sum(found) / len(found)
        numbers.append(
            Number(
                f"{name}: change of the gradient between two inputs, over its size",
                f"{sum(found) / len(found):.3f}",
                "8 pairs of inputs",
                f"{min(found):.3f} .. {max(found):.3f}",
            )
        )
    parts = {f"{name} adapts": change > 1e-3 for name, change in changes.items() if name != "convolution"}
    parts["convolution does not"] = changes["convolution"] == 0
    return Outcome(
        "The gradient of one output position with respect to the input, at two random inputs: for a fixed "
        "linear map it is the same.",
        numbers,
        *decide(parts),
    )
