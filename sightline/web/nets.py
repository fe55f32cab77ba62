"""The nets of the house: runs and names given on the command line, else those that come with sightline, trained."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import torch
from torch import nn

from sightline.backbones import FAMILIES, MODELS, own_classes
from sightline.data import View
from sightline.report.families import Family, family_of, labels
from sightline.runs import WEIGHTS, RunFolder
from sightline.web.layers import Layer, layers_of
from sightline.web.pictures import Eye
from sightline.weights import ModelMeta, create_model, load_run, meta_of
from sightline.weights.box import FOLDER, boxed

DEMO = Path("runs/demo")
MOST_NETS = 32


@dataclass
class Net:
    """One net of the house.

    Args:
        name: what requests call it; each once.
        label: what the page calls it.
        origin: where its weights come from, in words.
        trained: whether its answers mean anything.
        model: in evaluation mode.
        meta: classes and pre-processing.
        layers: what can be looked at; empty for a net without attention.
        lock: held while the model runs, since whoever watches it hooks into it.
    """

    name: str
    label: str
    origin: str
    trained: bool
    model: nn.Module
    meta: ModelMeta
    layers: tuple[Layer, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def family(self) -> Family:
        """Its family, with colour and marker."""
        return family_of(self.meta.name)

    @property
    def eye(self) -> Eye:
        """How it sees a picture."""
        meta = self.meta
        return Eye(meta.image_size, View(meta.crop, meta.crop_mode == "squash", meta.interpolation))


def load_nets(runs: Sequence[str] = (), models: Sequence[str] = ()) -> dict[str, Net]:
    """The nets by name, in the order given.

    Args:
        runs: run folders, folders of run folders, weights files, or whatever `sightline predict --run` takes.
        models: names; weights that come with sightline are taken where there are any.

    Raises:
        ValueError: more than MOST_NETS, or a name that nobody knows.
        RunFolderError: a run can not be loaded.
    """
    nets = [net for run in runs for net in _of_run(run)] + [net for name in models for net in _of_name(name)]
    if len(nets) > MOST_NETS:
        raise ValueError(
            f"{len(nets)} nets are more than the {MOST_NETS} that a page can offer; name fewer runs or models"
        )
    return _named(nets)


def first_choice() -> tuple[list[str], list[str]]:
    """Runs and models when none is named: what comes with sightline, else the demonstration's runs, else small untrained nets."""
    names = sorted({file.name.split(".")[0] for file in FOLDER.glob("*.safetensors")}, key=_order)
    if names:
        return [], names
    if DEMO.is_dir():
        return [str(DEMO)], []
    return [], list(_small())


def _small() -> list[str]:
    from sightline.backbones.mini import NETS

    return list(NETS)


def _order(name: str) -> tuple[int, str]:
    """By family in the papers' order, then by name."""
    families = list(FAMILIES)
    return families.index(MODELS[name]) if name in MODELS else len(families), name


def _of_run(run: str) -> list[Net]:
    """The nets of a run folder, or of the finished runs in a folder of them (a comparison)."""
    folder = Path(run)
    if folder.is_dir() and not (folder / WEIGHTS).exists() and not (folder / "config.json").exists():
        inside = sorted(path for path in folder.iterdir() if RunFolder(path).exists() and (path / WEIGHTS).is_file())
        if not inside:
            raise ValueError(f"no trained run lies in the folder {run}")
        return sorted((net for path in inside for net in _of_run(str(path))), key=lambda net: _order(net.meta.name))
    model, meta = load_run(run)
    data = f", trained on {Path(meta.source).name}" if meta.source else ""
    return [Net(meta.name, "", f"{folder.name or run}{data}", True, model, meta)]


def _of_name(name: str) -> list[Net]:
    found = boxed(name)
    if not found:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same maps at every start
            model = create_model(name, num_classes=own_classes(name)).eval()
        return [Net(name, "", "untrained", False, model, meta_of(model))]
    return [_boxed(name, data) for data in found]


def _boxed(name: str, data: str) -> Net:
    model, meta = load_run(boxed(name)[data])
    return Net(name, "", f"comes with sightline, trained on {data}", True, model, meta)


def _named(nets: list[Net]) -> dict[str, Net]:
    """Give every net a name and a label of its own, and look at its layers."""
    often, short = Counter(net.name for net in nets), labels(list(dict.fromkeys(net.name for net in nets)))
    named: dict[str, Net] = {}
    for net in nets:
        alone = often[net.name] == 1
        net.label = short[net.name] if alone else f"{short[net.name]}, {net.origin.split(',')[0]}"
        numbered = (f"{net.name}-{number}" for number in count(2))
        net.name = next(name for name in chain([net.name], numbered) if name not in named)
        net.layers = layers_of(net.model, net.meta.image_size, net.meta.in_chans)
        named[net.name] = net
    return named
