"""Train the small nets of all families on CIFAR-10 in the quick tier, and put their weights into the box.

    make evidence DATA=cifar10/                               # all that follows
    .venv/bin/python benchmarks/evidence.py train cifar10/   # what is not finished; continues what was begun
    .venv/bin/python benchmarks/evidence.py export cifar10/  # weights, cards, docs/results/cifar10.json
    .venv/bin/python benchmarks/evidence.py cards             # the cards alone, once the nets' robustness was measured

Runs lie in runs/cifar10 and runs/cifar10-scratch. The convolutional twin is trained first (recipe cifar10). From its weights go
on, with one budget (cifar10_warm), the twin itself and the nets that keep its convolutions: non-local, CCNet. The others start
from random weights, with the twin's first budget (ViT and DeiT with two epochs more): a trunk trained around convolutions does not
help what replaces them (SASA: 67.1% of the validation images after cifar10_warm). Learning rates were chosen on validation images.
The twin teaches the distilled net. `--scratch` trains all of them from random weights.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from sightline.cli.loading import load
from sightline.cli.progress import display
from sightline.data import Splits
from sightline.recipes import Recipe, get, override
from sightline.train import train

ROOT = Path(__file__).resolve().parent.parent
RUNS, SCRATCH = Path("runs/cifar10"), Path("runs/cifar10-scratch")
TWIN, FIRST = "resnet_mini", "resnet_mini_first"


@dataclass(frozen=True)
class Step:
    """A net of the quick tier: recipe, changes to it, the run whose weights it starts from, and its own run's name."""

    model: str
    recipe: str = "cifar10_warm"
    changes: tuple[str, ...] = ()
    start: str | None = FIRST
    folder: str = ""

    @property
    def run(self) -> str:
        """The run folder's name."""
        return self.folder or self.model


# Window operators: a third of the rate, chosen on validation images (sasa_resnet_mini, 20,000 images, four epochs, one run each:
# 67.4% at 7e-3, 63.4% at the convolutions' 2e-2).
WINDOWS = "lr=7e-3"

# Global attention from scratch: half the rate, and as long as 25 minutes allow; a teacher takes time too.
HALF = "lr=1e-2"
STEPS = (
    Step(TWIN, "cifar10", start=None, folder=FIRST),
    Step(TWIN),
    Step("nonlocal_resnet_mini"),
    Step("ccnet_resnet_mini"),
    Step("sasa_resnet_mini", "cifar10", (WINDOWS,), start=None),
    Step("lrnet_mini", "cifar10", (WINDOWS,), start=None),
    Step("se_resnet_mini", "cifar10", start=None),
    Step("aa_resnet_mini", "cifar10", (HALF,), start=None),
    Step("san_mini_pairwise", "cifar10", start=None),
    Step("san_mini_patchwise", "cifar10", start=None),
    Step("vit_mini_hybrid", "cifar10", (HALF, "epochs=9"), start=None),
    # with the budget that the teacher leaves DeiT, for the claims alone
    Step(
        "vit_mini_hybrid", "cifar10", (HALF, "epochs=9", "small_epochs=6"), start=None, folder="vit_mini_hybrid_as_deit"
    ),
    Step("deit_mini_hybrid_distilled", "kd_cifar10", (HALF, "epochs=9", "small_epochs=6"), start=None),
)


def recipe_of(step: Step, runs: Path, scratch: bool) -> Recipe:
    """The recipe of a step, its teacher named."""
    taught = step.model.endswith("_distilled")
    recipe = get("kd_cifar10" if taught else "cifar10") if scratch else override(get(step.recipe), step.changes)
    return replace(recipe, teacher=str(runs / TWIN)) if taught else recipe


def train_all(splits: Splits, runs: Path, scratch: bool, only: list[str]) -> None:
    """Train what is not finished, in order."""
    for step in STEPS:
        if (not only or step.model in only) and not (scratch and step.folder):
            start = None if scratch or step.start is None else runs / step.start
            with display() as shown:
                metrics = train(
                    recipe_of(step, runs, scratch),
                    step.model,
                    splits,
                    runs / step.run,
                    resume=True,
                    finetune=start,
                    progress=shown.training,
                )
            print(f"{step.run}: validation {metrics['val']['accuracy']:.2%}, test {metrics['test']['accuracy']:.2%}")


def main(arguments: list[str]) -> None:
    """`train DATA [NETS ...] [--scratch]`, `export DATA [RUNS [NETS ...]]` or `cards`."""
    scratch = "--scratch" in arguments
    if arguments == ["cards"]:
        from box import write_cards

        write_cards()
        return
    verb, data, *rest = [one for one in arguments if one != "--scratch"]
    splits = load(data, get("cifar10"))
    if verb == "train":
        train_all(splits, SCRATCH if scratch else RUNS, scratch, rest)
    elif verb == "export":
        from box import export_all

        nets = [step.model for step in STEPS if not step.folder]
        stages = [step.folder for step in STEPS if step.folder]
        export_all(Path(rest[0]) if rest else RUNS, rest[1:] or nets, nets, stages, splits)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
