"""What a trained model is and what it expects: the header of its weights file, and part of the config.json of its folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from sightline.backbones import create_model
from sightline.runs import SCHEMA, RunFolderError
from sightline.weights.errors import WeightsError
from sightline.weights.traits import apply_traits

LOADERS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
CROPS = ("center", "squash")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the model's input.

    Args:
        image_size: rows and columns.
        mean: per channel, pixels in 0..1.
        std: likewise.
        crop: side of the part that is seen over the largest centred part, 0..1; 0.875 is "resize to 256, cut 224".
        crop_mode: "center" keeps proportions; "squash" takes the whole picture and changes them.
        interpolation: how it is resampled.
    """

    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.crop_mode not in CROPS:
            raise ValueError(f"crop_mode must be one of {', '.join(CROPS)}; got {self.crop_mode!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}; got {self.interpolation!r}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be above 0 and at most 1; got {self.crop}")


def preprocessing_of(cfg: Mapping[str, Any], img_size: tuple[int, int] | None = None) -> Preprocessing:
    """Pre-processing as timm's `pretrained_cfg` states it, for a size if one is given; the unknown by default."""
    size = img_size or tuple(cfg["input_size"][1:])
    crop, interpolation = cfg.get("crop_pct") or 1.0, cfg.get("interpolation")
    return Preprocessing(
        (size[0], size[1]),
        tuple(cfg["mean"]),
        tuple(cfg["std"]),
        min(crop, 1.0),
        "squash" if cfg.get("crop_mode") == "squash" else "center",
        interpolation if interpolation in INTERPOLATIONS else "bicubic",
    )


@dataclass(frozen=True)
class ModelMeta:
    """What a trained model is and what it expects.

    Args:
        name: model name, see `sightline.list_models`.
        options: further options it was built with.
        classes: class names, in the order of the logits.
        image_size: rows and columns of the images.
        mean: of the training images, per channel, pixels in 0..1.
        std: likewise.
        in_chans: channels of the images.
        source: the data it was trained on, as they were named; None when unknown.
        crop: see `Preprocessing`; likewise the next two.
        crop_mode: likewise.
        interpolation: likewise.
        traits: what its net computes otherwise than the name says, see `sightline.weights.traits`.
    """

    name: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    in_chans: int = 3
    source: str | None = None
    crop: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    traits: dict[str, Any] = field(default_factory=dict)

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures become its input."""
        return Preprocessing(self.image_size, self.mean, self.std, self.crop, self.crop_mode, self.interpolation)

    def with_preprocessing(self, eye: Preprocessing) -> "ModelMeta":
        """The same model with other pre-processing."""
        return replace(self, **asdict(eye))

    def build(self) -> nn.Module:
        """The model with random weights."""
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in self.options.items()}
        model = create_model(
            self.name, num_classes=len(self.classes), in_chans=self.in_chans, **{"img_size": self.image_size} | options
        )
        apply_traits(model, self.traits)
        return model

    def describe(self) -> dict[str, Any]:
        """The "model" entry of recipe.json."""
        return {
            "name": self.name,
            "num_classes": len(self.classes),
            "image_size": list(self.image_size),
            "in_chans": self.in_chans,
            "options": self.options,
        }

    def as_dict(self) -> dict[str, Any]:
        """As JSON, with the schema."""
        return {"schema": SCHEMA} | asdict(self)


def meta_from(fields: Mapping[str, Any], where: str) -> ModelMeta:
    """Read `ModelMeta.as_dict` again; what older files do not have keeps its default.

    Raises:
        RunFolderError: a newer schema, or damaged.
    """
    try:
        if fields["schema"] > SCHEMA:
            raise RunFolderError(
                f"{where} has schema {fields['schema']}; this sightline reads up to {SCHEMA}. Update it"
            )
        _check_options(fields["options"], where)
        meta = ModelMeta(
            name=fields["name"],
            options=dict(fields["options"]),
            classes=tuple(fields["classes"]),
            image_size=(fields["image_size"][0], fields["image_size"][1]),
            mean=tuple(fields["mean"]),
            std=tuple(fields["std"]),
            in_chans=fields["in_chans"],
            source=fields["source"],
            **{key: fields[key] for key in ("crop", "crop_mode", "interpolation", "traits") if key in fields},
        )
        _ = meta.preprocessing  # checks the values
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{where} has a damaged header: {error!r}") from error
    return meta


def _check_options(options: Mapping[str, Any], where: str) -> None:
    """A header may say how a net is built, not what else is to be loaded or fetched."""
    forbidden = sorted(set(options) & set(LOADERS))
    if forbidden:
        raise WeightsError(
            f"{where} is refused: its header asks for {', '.join(forbidden)}, which would load something else"
        )
