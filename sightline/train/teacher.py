"""The teacher of a distillation: a trained model that answers the student's own augmented batch.

Source: DeiT, arXiv 2012.12877, section 5: the teacher sees the image the student sees, augmented and mixed alike, and never learns.
Ours: the student's normalisation is undone and the teacher's applied; images of another size are resized to the teacher's.
Legend: B batch, K classes, H W rows and columns.
"""

from collections.abc import Sequence
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.evaluate import ModelMeta, load_net, load_run
from sightline.runs import RunFolderError
from sightline.weights import load_weights
from sightline.weights.box import boxed


class Teacher(nn.Module):
    """Images normalised for the student (B, 3, H, W) to the teacher's logits (B, K), without gradient.

    Args:
        model: the teacher.
        meta: what it expects.
        mean: of the student's normalisation.
        std: likewise.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, model: nn.Module, meta: ModelMeta, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.image_size = meta.image_size
        student_mean, student_std = torch.tensor(mean), torch.tensor(std)
        teacher_mean, teacher_std = torch.tensor(meta.mean), torch.tensor(meta.std)
        self.register_buffer("scale", (student_std / teacher_std)[:, None, None])
        self.register_buffer("offset", ((student_mean - teacher_mean) / teacher_std)[:, None, None])

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        images = images * self.scale + self.offset
        if tuple(images.shape[2:]) != self.image_size:
            images = F.interpolate(images, self.image_size, mode="bilinear", antialias=True)
        return self.model(images)


def load_teacher(source: str, student: ModelMeta) -> Teacher:
    """The teacher named by a recipe: a run folder, a weights file, MODEL:FILE, MODEL:NAME, `timm:NAME`, `hf-hub:ORG/NAME`.

    Args:
        source: MODEL:FILE takes a model name that timm or sightline knows and a safetensors file of its tensors; such a
            teacher is taken to have the student's classes, image size and normalisation. MODEL:NAME takes weights that
            come with sightline ("resnet_mini:cifar10"). `timm:NAME` takes timm's weights, from its cache or the Hub, and their
            image size and normalisation; its classes are taken to be the student's in the same order (folders of ImageNet sorted
            by name are in timm's order), so only their number is compared.
        student: what the student is.

    Raises:
        RunFolderError: the weights can not be read or do not fit.
        ValueError: the teacher knows other classes, or the same in another order.
    """
    name, colon, file = source.partition(":")
    if name == "timm":
        return _of_timm(source, file, student)
    if file in boxed(name):
        return _known(source, *load_net(name, file), student)
    if colon and not Path(source).exists() and timm.is_model(name):
        meta = ModelMeta(name, {}, student.classes, student.image_size, student.mean, student.std)
        return Teacher(_named(meta, file), meta, student.mean, student.std)
    return _known(source, *load_run(source), student)


def _known(source: str, model: nn.Module, meta: ModelMeta, student: ModelMeta) -> Teacher:
    if meta.classes != student.classes:
        raise ValueError(
            f"the teacher {source} knows the classes {', '.join(meta.classes)}; the student learns "
            f"{', '.join(student.classes)}. Distillation needs the same classes in the same order"
        )
    return Teacher(model, meta, student.mean, student.std)


def _of_timm(source: str, name: str, student: ModelMeta) -> Teacher:
    model, meta = load_net(name, source)
    if len(meta.classes) != len(student.classes):
        raise ValueError(
            f"the teacher {source} knows {len(meta.classes)} classes, the student learns {len(student.classes)}; "
            "distillation needs the same classes in the same order"
        )
    return Teacher(model, meta, student.mean, student.std)


def _named(meta: ModelMeta, file: str) -> nn.Module:
    model = meta.build()
    try:
        load_weights(model, file)
    except RunFolderError as error:
        raise RunFolderError(
            f"the teacher's weights {file} do not fit {meta.name} with {len(meta.classes)} classes: {error}"
        ) from error
    return model
