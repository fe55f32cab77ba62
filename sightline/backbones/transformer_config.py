"""A ViT or DeiT as data."""

from dataclasses import dataclass

POSITIONS = ("1d", "2d", "relative", "none")
PLACES = ("stem", "layers", "shared")
STEMS = ("bit", "residual")


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
        pre_logits: width of a hidden tanh layer before the head (ViT's pre-training head), True: dim; None: no such layer.
        stem: bottlenecks a stage of a ResNet before the patches (hybrid); (): none.
        stem_kind: of that ResNet: "bit", the paper's (`BitStem`), or "residual", for small images (`ResidualStem`).
        stem_width: channels of its root.
        gelu: "erf" or "tanh".
        positions: "1d", "2d", "relative" or "none", see `sightline.backbones.transformer_positions`.
        positions_at: "stem", "layers" or "shared", where they act.
        resize: how positions go to another grid, "bicubic" or "bilinear".
        border: "pad" or "drop", for sizes the patch does not divide.
        init: "deit" or "google", see `sightline.backbones.transformer_init`.
        position_std: spread of the position embeddings at the start; 0.02 in both sources.

    Raises:
        ValueError: an option breaks the rules above.
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
    stem_kind: str = "bit"
    stem_width: int = 64
    gelu: str = "erf"
    positions: str = "1d"
    positions_at: str = "stem"
    resize: str = "bicubic"
    border: str = "pad"
    init: str = "deit"
    position_std: float = 0.02

    def __post_init__(self) -> None:
        for name in ("dim", "depth", "heads", "patch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name, known in (("positions", POSITIONS), ("positions_at", PLACES), ("stem_kind", STEMS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        if self.positions == "2d" and self.dim % 2:
            raise ValueError(f"positions '2d' are two halves of dim, which must be even; got dim={self.dim}")
        if self.distilled and not self.class_token:
            raise ValueError("a distilled net has a class token too; got distilled=True, class_token=False")
        if self.distilled and self.pre_logits:
            raise ValueError(f"a distilled net has linear heads, pre_logits=None; got {self.pre_logits!r}")

    @property
    def head_width(self) -> int:
        """Channels the classifier reads."""
        return self.dim if self.pre_logits is True else self.pre_logits or self.dim

    def patch_for(self, image_size: tuple[int, int]) -> int:
        """Side of a patch of images of this size."""
        grown = 0 if self.patches_across is None else min(image_size) // self.patches_across
        return max(self.patch_size, grown)


GOOGLE = {"gelu": "tanh", "resize": "bilinear", "init": "google"}
