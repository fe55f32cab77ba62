"""A ViT or DeiT as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TransformerConfig:
    """A ViT or DeiT as data. The defaults are DeiT's; `GOOGLE` names what ViT's code does otherwise.

    Args:
        dim: token channels C.
        depth: blocks.
        heads: attention heads a block.
        patch_size: side of a patch, in pixels of the image or of the stem's features.
        patches_across: for nets of several image sizes: the patch grows to the shorter image side over this; None: it does not.
        hidden: inner width of the perceptrons; None: 4 * dim.
        class_token: prepend a class token; without one the classifier reads the mean of the patches.
        distilled: append a distillation token with its own head.
        pre_logits: width of a hidden tanh layer before the head (ViT's pre-training head); None: no such layer.
        stem: bottlenecks a stage of a BiT ResNet before the patches (hybrid); (): none.
        stem_width: channels of its root.
        gelu: "erf" or "tanh".
        resize: how positions go to another grid, "bicubic" or "bilinear".
        border: "pad" or "drop", for sizes the patch does not divide.
        init: "deit" or "google", see `sightline.backbones.transformer_init`.
        position_std: spread of the position embeddings at the start; 0.02 in both sources.
    """

    dim: int
    depth: int
    heads: int
    patch_size: int = 16
    patches_across: int | None = None
    hidden: int | None = None
    class_token: bool = True
    distilled: bool = False
    pre_logits: int | None = None
    stem: tuple[int, ...] = ()
    stem_width: int = 64
    gelu: str = "erf"
    resize: str = "bicubic"
    border: str = "pad"
    init: str = "deit"
    position_std: float = 0.02

    def patch_for(self, image_size: tuple[int, int]) -> int:
        """Side of a patch of images of this size."""
        grown = 0 if self.patches_across is None else min(image_size) // self.patches_across
        return max(self.patch_size, grown)


GOOGLE = {"gelu": "tanh", "resize": "bilinear", "border": "drop", "init": "google"}
