"""The trained net that a verb was asked for: `--run FOLDER`, or `--model NAME --weights WEIGHTS`."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from torch import nn

    from sightline.weights import ModelMeta


def trained(run: str | None, model: str | None, weights: str | None) -> "tuple[nn.Module, ModelMeta]":
    """The net and what it expects.

    Raises:
        typer.BadParameter: neither or both were given, or half of the second.
    """
    from sightline.weights import load_net, load_run

    if run is not None and model is None and weights is None:
        return load_run(run)
    if run is None and model is not None and weights is not None:
        return load_net(model, weights)
    raise typer.BadParameter(
        "say which trained net: --run FOLDER, or --model NAME --weights WEIGHTS (`sightline models` tells which nets have some)"
    )
