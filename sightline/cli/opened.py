"""The net and the images a verb is asked to look at: a run, or a net by name with weights; all images, or a split of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from torch import nn

    from sightline.data import ImageSet
    from sightline.weights import ModelMeta

SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class OpenNet:
    """A net in evaluation mode, what it expects, and what to call it.

    Args:
        model: the net.
        meta: what it expects.
        label: for people.
        recipe: of its run; empty where there is none.
    """

    model: "nn.Module"
    meta: "ModelMeta"
    label: str
    recipe: dict[str, Any]


def open_net(run: Path | None, model: str | None, weights: str | None) -> OpenNet:
    """Load a run, or a net by name with weights.

    Raises:
        BadParameter: neither, both, or a half of the second.
        WeightsError: as `load_run` and `create_model`.
    """
    from sightline.runs import RunFolder
    from sightline.weights import load_net, load_run

    if (run is None) == (model is None) or (weights is not None) != (model is not None):
        raise typer.BadParameter(
            "give a run folder, or --model NAME with --weights: a file, a folder or a name that `sightline models` lists"
        )
    if run is not None:
        net, meta = load_run(run)
        check_channels(meta, str(run))
        folder = RunFolder(run)
        return OpenNet(net, meta, str(run), folder.read("recipe") if folder.exists() else {})
    net, meta = load_net(str(model), str(weights))
    check_channels(meta, str(weights))
    return OpenNet(net, meta, f"{model} ({weights})", {})


def check_channels(meta: "ModelMeta", source: str) -> None:
    """Refuse a net of other images than those that are read from files. Raises ValueError."""
    if meta.in_chans != 3:
        raise ValueError(
            f"{source} takes images of {meta.in_chans} channels; pictures are read as RGB, 3, here. Call the net from "
            "Python, with images of as many channels"
        )


@dataclass(frozen=True)
class OpenImages:
    """Images to look at.

    Args:
        images: the set.
        source: what they were loaded from.
        split: which part of it they are.
        own: whether the net was trained on this very source.
    """

    images: "ImageSet"
    source: str
    split: str
    own: bool


def open_images(net: OpenNet, data: str | None, split: str | None, max_unreadable: float = 0.01) -> OpenImages:
    """The images of the data, or of one of its splits.

    Ours: without `split`, the test images of a source that has some, or that the net was trained on; else all, since no part of a
    strange source was ever shown to the net. All may be as few as one, and of some of the net's classes.

    Raises:
        BadParameter: no such split, or no data named and none known.
        ValueError: the data have other classes than the net.
    """
    from sightline.cli.loading import report_unreadable
    from sightline.data import JoinedSet, load_splits, load_whole
    from sightline.data.errors import EmptyClassError, SingleClassError, TooFewImagesError

    if split is not None and split not in SPLITS:
        raise typer.BadParameter(f"--split is train, val, test or all; got {split!r}")
    trained_on = net.recipe.get("data", {})
    own = trained_on.get("source") or net.meta.source
    if data is None and own is None:
        raise typer.BadParameter("say which images with --data; the weights do not know what they were trained on")
    source, known = data if data is not None else str(own), net.meta.classes
    try:
        splits = load_splits(source, image_size=net.meta.image_size, max_unreadable=max_unreadable)
    except (EmptyClassError, SingleClassError, TooFewImagesError):
        splits = None
        if split not in (None, "all"):
            raise
    if splits is None or (set(splits.classes) < set(known) and split in (None, "all")):
        whole = load_whole(
            source,
            known,
            image_size=net.meta.image_size,
            max_unreadable=max_unreadable,
            left_out=report_unreadable,
        )
        return OpenImages(whole, source, "all", own=False)
    _check_classes(known, splits.classes)
    report_unreadable(splits.unreadable)
    same = splits.fingerprint == trained_on.get("fingerprint") or _same_place(source, own)
    chosen = split or ("test" if same or "test" in splits.given else "all")
    images = JoinedSet((splits.train, splits.val, splits.test)) if chosen == "all" else getattr(splits, chosen)
    return OpenImages(images, source, chosen, own=same)


def _same_place(source: str, own: object) -> bool:
    return own is not None and (source == own or Path(source).resolve() == Path(str(own)).resolve())


def _check_classes(known: tuple[str, ...], found: tuple[str, ...]) -> None:
    nameless = known == tuple(f"class {index}" for index in range(len(known)))
    if found != known and not (nameless and len(known) == len(found)):
        raise ValueError(
            f"the run knows the classes {', '.join(known)}; the images have {', '.join(found)}. "
            "Evaluate on images of the same classes, or train on these"
        )
