"""Pictures that are there from the first start. None is downloaded: they lie in packages that sightline needs, or beside the runs.

Sources: the README files beside them. scikit-learn: flower and Summer Palace, both CC BY; matplotlib: Grace Hopper, a photograph of
the US Navy, public domain; a run's own test pictures.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from sightline.data import UnreadableImage
from sightline.data.folder import pictures_below
from sightline.report.arrays import MAPS, read_maps
from sightline.web.limits import Limits
from sightline.web.pictures import Eye, Picture, picture_of

MOST_EXAMPLES = 24
_PACKAGED = (
    ("Flower", "sklearn", "datasets/images/flower.jpg"),
    ("Summer Palace", "sklearn", "datasets/images/china.jpg"),
    ("Grace Hopper", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)


@dataclass(frozen=True)
class Example:
    """A picture everybody may look at, and what it is called."""

    title: str
    picture: Picture


Read = Callable[[bytes], Picture]


def examples(
    eyes: Sequence[Eye], folders: Iterable[str] = (), runs: Iterable[str] = (), limits: Limits | None = None
) -> dict[str, Example]:
    """The example pictures by name.

    Args:
        eyes: how the nets see.
        folders: pictures or folders of pictures, which come first.
        runs: run folders or folders of them; test pictures kept beside them come next.
        limits: of pixels.

    Raises:
        UnreadableImage: one of `folders` that was named by itself can not be read.
        ValueError: one of `folders` holds no picture that can be read.
    """
    limits = limits or Limits()
    found: dict[str, Example] = {}
    for example in _all(folders, runs, lambda data: picture_of(data, eyes, limits.upload_pixels)):
        if len(found) == MOST_EXAMPLES:
            break
        found[f"example-{len(found) + 1}"] = example
    return found


def _all(folders: Iterable[str], runs: Iterable[str], read: Read) -> Iterator[Example]:
    for folder in folders:
        yield from _of_folder(Path(folder), read)
    for run in runs:
        yield from (Example(title, read(data)) for title, data in _beside(Path(run)))
    for title, package, path in _PACKAGED:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None and (file := Path(spec.origin).parent / path).is_file():
            yield Example(title, read(file.read_bytes()))


def _of_folder(path: Path, read: Read) -> Iterator[Example]:
    if not path.is_dir():
        yield _of_file(path, read)
        return
    files, readable = pictures_below(path), False
    for file in files[:: max(1, len(files) // MOST_EXAMPLES)]:
        with suppress(UnreadableImage):  # one damaged file of many
            yield _of_file(file, read)
            readable = True
    if not readable:
        raise ValueError(f"no picture that can be read lies in the folder {path}")


def _of_file(path: Path, read: Read) -> Example:
    try:
        return Example(path.stem, read(path.read_bytes()))
    except OSError as error:
        raise UnreadableImage(str(path), error.strerror or str(error)) from error
    except UnreadableImage as error:
        raise UnreadableImage(str(path), error.reason) from error


def _beside(run: Path) -> Iterator[tuple[str, bytes]]:
    """Test pictures that a run kept with its maps, called by their class."""
    folders = [run, *sorted(run.iterdir())] if run.is_dir() else []
    folder = next((one for one in folders if (one / MAPS).is_file()), None)
    if folder is None:
        return
    kept = read_maps(folder)
    for about, pixels in zip(kept.described, kept.pixels, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        yield str(about["label"]), buffer.getvalue()
