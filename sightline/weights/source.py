"""Where weights come from, read and recognised: a file, a folder, `timm:NAME`, `hf-hub:ORG/NAME`, a module, a state dict, the box.

file      .safetensors, .npz, torch.save
folder    a run of sightline, `save_pretrained`, a folder of transformers or timm (config.json beside the weights)
the box   weights that come with sightline: a name like "cifar10"
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from sightline.weights.box import boxed
from sightline.weights.errors import WeightsError
from sightline.weights.facts import Facts, of_folder, of_header, of_module
from sightline.weights.formats import OWN, Format, recognise
from sightline.weights.hub import cached_hub_folder, cached_timm_folder
from sightline.weights.read import SUFFIXES, Contents, read_file
from sightline.weights.read_shards import ENDING
from sightline.weights.read_torch import without_prefix
from sightline.weights.rules import Translation, translate

FILES = ("model.safetensors", "pytorch_model.bin")
HUB, TIMM = "hf-hub:", "timm:"

Origin = str | os.PathLike[str] | nn.Module | Mapping[str, Tensor]


@dataclass(frozen=True)
class Source:
    """Weights, read and recognised.

    Args:
        label: as people named it.
        tensors: by the source's names.
        format: of those names.
        facts: what the source says beside its tensors.
        nested: the entry of the file that held them.
        others: entries that are not weights.
    """

    label: str
    tensors: Mapping[str, Tensor]
    format: Format
    facts: Facts
    nested: str = ""
    others: tuple[str, ...] = ()

    def translated(self) -> Translation:
        """In our names and layouts."""
        bare = {self.format.bare(name): name for name in self.tensors}
        done = translate({short: self.tensors[name] for short, name in bare.items()}, self.format.rules)
        done.origins = {ours: tuple(bare.get(one, one) for one in theirs) for ours, theirs in done.origins.items()}
        done.unknown = [bare[name] for name in done.unknown]
        return done

    @property
    def unused(self) -> tuple[str, ...]:
        """Names that belong to other tasks."""
        return tuple(name for name in self.tensors if self.format.is_unused(self.format.bare(name)))


def open_source(origin: Origin, model: str | None = None) -> Source:
    """Read and recognise weights.

    Args:
        origin: see the module.
        model: the net they are for, where that is known; weights in the box belong to a net.

    Raises:
        WeightsError: they can not be found or read; the message says what was looked for and what would help.
        TypeError: something else than a name, a path, a module or a mapping of tensors.
    """
    if isinstance(origin, nn.Module):
        return _from_module(origin)
    if isinstance(origin, Mapping):
        return _from_mapping(origin)
    if not isinstance(origin, str | os.PathLike):
        raise TypeError(f"weights come from a path, a name, a module or a state dict; got {type(origin).__name__}")
    text = os.fspath(origin)
    if text.startswith(HUB):
        return replace(_from_folder(cached_hub_folder(text.removeprefix(HUB))), label=text)
    if text.startswith(TIMM):
        return replace(_from_path(cached_timm_folder(text.removeprefix(TIMM))), label=text)
    path = Path(text).expanduser()
    if text and path.exists():
        return _from_path(path)
    return _from_path(_missing(text, model))


def weights_in(folder: Path) -> Path:
    """The weights file of a folder, or the index of several.

    Raises:
        WeightsError: there is none, or more than one and none has the usual name.
    """
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    found = [folder / (name + ENDING) for name in FILES if (folder / (name + ENDING)).is_file()][:1]
    found = found or sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    if len(found) == 1:
        return found[0]
    if found:
        raise WeightsError(f"{folder} holds several weights files, {', '.join(path.name for path in found)}; name one")
    raise WeightsError(
        f"{folder / FILES[0]} is missing: the run has not finished; resume it, or give the folder that holds the weights"
    )


def _missing(text: str, model: str | None) -> Path:
    known = boxed(model)
    if text in known:
        return known[text]
    if text.startswith(("http:/", "https:/")):  # pathlib makes one slash of two
        raise WeightsError(
            f"{text} is an address on the network, and nothing is fetched from there: download the file and give its path, "
            f"or give {HUB}ORG/NAME for a repository of the Hugging Face Hub"
        )
    if os.sep in text or Path(text).suffix in SUFFIXES:
        raise WeightsError(
            f"{text} is missing: give a run folder or a .safetensors file, or another weights file or folder"
        )
    box = f"sightline brings {', '.join(known)} for it" if known else "sightline brings none for it"
    raise WeightsError(
        f"{text or repr(text)} is neither a file nor a folder, nor weights that come with the net ({box}). Weights come from "
        f"a file ({', '.join(SUFFIXES[:5])}), a run folder or another folder, {TIMM}NAME or {HUB}ORG/NAME"
    )


def _from_path(path: Path) -> Source:
    return _from_folder(path) if path.is_dir() else _from_file(path)


def _from_file(file: Path) -> Source:
    contents = read_file(file)
    return _recognised(str(file), contents, of_header(contents.header, file))


def _from_folder(folder: Path) -> Source:
    file = weights_in(folder)
    contents = read_file(file)
    facts = of_header(contents.header, file)
    return _recognised(str(folder), contents, facts if facts.meta is not None else of_folder(folder))


def _recognised(label: str, contents: Contents, facts: Facts) -> Source:
    own = facts.meta is not None or _made_here(contents.modules)
    found = OWN if own else recognise(contents.tensors, contents.nested)
    return Source(label, contents.tensors, found, facts, contents.nested, contents.others)


def _from_module(module: nn.Module) -> Source:
    facts = of_module(module)
    state = {name: tensor.detach() for name, tensor in module.state_dict().items()}
    found = OWN if facts.own else recognise(state)
    return Source(type(module).__name__, state, found, facts)


def _from_mapping(state: Mapping[str, Tensor]) -> Source:
    strange = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if strange or not state:
        raise WeightsError(f"a state dict holds tensors by name; {', '.join(strange[:3]) or 'this one'} holds none")
    own = _made_here(frozenset(getattr(state, "_metadata", None) or ()))
    tensors = without_prefix({name: tensor.detach() for name, tensor in state.items()})
    return Source("the state dict given", tensors, OWN if own else recognise(tensors), Facts())


def _made_here(modules: frozenset[str]) -> bool:
    """Whether a state dict was made from a net of ours: its attention has a tap, which has no tensors but a name."""
    return any(name.endswith(".attend") for name in modules)
