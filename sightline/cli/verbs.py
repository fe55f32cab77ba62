"""All verbs, in the order `sightline --help` shows them; importing one attaches it to the command."""

from sightline.cli import (  # noqa: I001 (order of the help)
    demo,
    models,
    train,
    evaluate,
    predict,
    explain,
    compare,
    report,
    explore,
    cost,
    bench,
    convert,
    doctor,
)

__all__ = [
    "bench",
    "compare",
    "convert",
    "cost",
    "demo",
    "doctor",
    "evaluate",
    "explain",
    "explore",
    "models",
    "predict",
    "report",
    "train",
]
