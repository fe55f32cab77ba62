"""The Vision Transformer and DeiT: an image as words, a pre-norm transformer, a linear classifier on the class token.

    z = [cls; (dist;) patches E] + positions;   z = block(z), depth times;   logits = head(norm(z)[cls])

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1, eq. 1 to 4; Touvron et al. 2021, arXiv 2012.12877, section 4
        (distillation token, its own head; at inference the two logits are averaged, as the authors' code does).
Ours:   any image size: positions are resized on the fly to the grid at hand, sizes the patch does not divide are padded below
        and right; `dynamic_img_size=False` refuses every size but the one the net was built for, `dynamic_img_pad=False` those
        the patch does not divide (timm's options; its defaults are False).
Ours:   parameter names and model conventions are those of timm's ViT and DeiT.
Legend: B batch, L tokens (class, distillation, then the grid row by row), C channels, H W rows and columns of the image.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sightline.backbones.bit_stem import BitStem
from sightline.backbones.recompute import recomputed
from sightline.backbones.residual_stem import ResidualStem
from sightline.backbones.transformer_block import TransformerBlock
from sightline.backbones.transformer_config import TransformerConfig
from sightline.backbones.transformer_init import initialise
from sightline.backbones.transformer_intermediates import Intermediates
from sightline.backbones.transformer_positions import Positions
from sightline.layers import PatchEmbed
from sightline.layers.positions import resize_positions

POOLS = ("token", "avg", "")


class PatchTransformer(Intermediates):
    """ViT and DeiT, with timm's model conventions. Input (B, in_chans, H, W), any H and W.

    Args:
        cfg: the net as data.
        num_classes: outputs; 0 gives pooled features.
        in_chans: image channels.
        img_size: side, or rows and columns, the position embeddings are made for.
        global_pool: "token" (class token), "avg" (mean of the patches) or "" (all tokens).
        drop_rate: dropout after the position embeddings and after every linear map but the q, k, v projection.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        dynamic_img_size: take images of any size.
        dynamic_img_pad: pad sizes the patch does not divide; False: refuse them; None: do what the config says.

    Raises:
        ValueError: an option breaks the rules above.
    """

    def __init__(
        self,
        cfg: TransformerConfig,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        global_pool: str | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        dynamic_img_size: bool = True,
        dynamic_img_pad: bool | None = None,
    ) -> None:
        super().__init__()
        self.cfg, self.num_classes, self.in_chans = cfg, num_classes, in_chans
        self.img_size = _pair(img_size)
        self.dynamic_img_size, self.distilled_training, self.grad_checkpointing = dynamic_img_size, False, False
        self.num_features = self.embed_dim = cfg.dim
        self.head_hidden_size = cfg.head_width
        self.num_prefix_tokens = int(cfg.class_token) + int(cfg.distilled)
        self._set_pool(global_pool if global_pool is not None else "token" if cfg.class_token else "avg")

        patch = cfg.patch_for(self.img_size)
        border = cfg.border if dynamic_img_pad is None else "pad" if dynamic_img_pad else "refuse"
        backbone = _stem(cfg, in_chans)
        self.patch_embed = PatchEmbed(in_chans, cfg.dim, patch, border, backbone=backbone)
        self.grid = self.patch_embed.grid_of(*self.img_size)
        self.cls_token = nn.Parameter(torch.empty(1, 1, cfg.dim)) if cfg.class_token else None
        self.dist_token = nn.Parameter(torch.empty(1, 1, cfg.dim)) if cfg.distilled else None
        self.pos_embed: nn.Parameter | None = None
        self.positions: Positions | None = None
        if (cfg.positions, cfg.positions_at) == ("1d", "stem"):
            self.pos_embed = nn.Parameter(torch.empty(1, self.num_prefix_tokens + self.grid[0] * self.grid[1], cfg.dim))
            nn.init.normal_(self.pos_embed, std=cfg.position_std)
        elif cfg.positions != "none":
            self.positions = Positions(cfg, self.num_prefix_tokens, self.grid)
        self.pos_drop = nn.Dropout(drop_rate)
        rates = torch.linspace(0, drop_path_rate, cfg.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(self._block(drop_rate, rate) for rate in rates)
        self.norm: nn.Module = nn.LayerNorm(cfg.dim, eps=1e-6)
        self.pre_logits: nn.Module = nn.Identity()
        if cfg.pre_logits:
            self.pre_logits = nn.Sequential()
            self.pre_logits.add_module("fc", nn.Linear(cfg.dim, cfg.head_width))
            self.pre_logits.add_module("act", nn.Tanh())
        self.head = self._head()
        self.head_dist = self._head() if cfg.distilled else None
        reduction = patch * (backbone.reduction if backbone is not None else 1)
        self.feature_info = [
            {"num_chs": cfg.dim, "reduction": reduction, "module": f"blocks.{index}"} for index in range(cfg.depth)
        ]
        initialise(self, cfg.init)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, num_classes); while `distilled_training` and training, those of the class and the distillation head."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Tokens (B, L, C) after the last norm; `change` is applied to the embedded patches before tokens and positions join."""
        tokens, grid = self._embed(x, change)
        for layer in range(len(self.blocks)):
            tokens = self._run(layer, tokens, grid)
        return self.norm(tokens)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits of tokens (B, L, C); the pooled features when pre_logits."""
        if self.head_dist is None:
            x = self.pre_logits(self._pool(x))
            return x if pre_logits else self.head(x)
        if pre_logits:
            return (x[:, 0] + x[:, 1]) / 2
        by_class, by_teacher = self.head(x[:, 0]), self.head_dist(x[:, 1])
        if self.distilled_training and self.training:
            return by_class, by_teacher
        return (by_class + by_teacher) / 2

    def get_classifier(self) -> Any:
        """The classifier, or both when distilled."""
        return self.head if self.head_dist is None else (self.head, self.head_dist)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head (and a hidden layer before it) by one fresh linear map, none for 0 classes; change the pooling if given.

        This is ViT's step from pre-training to fine-tuning (arXiv 2010.11929, section 3.2).
        """
        if global_pool is not None:
            self._set_pool(global_pool)
        self.num_classes, self.head_hidden_size = num_classes, self.embed_dim
        self.pre_logits = nn.Identity()
        self.head = self._head()
        self.head_dist = self._head() if self.head_dist is not None else None
        initialise(self, self.cfg.init, only="head")
        like = self.patch_embed.proj.weight
        self.to(device=like.device, dtype=like.dtype)

    def set_distilled_training(self, enable: bool = True) -> None:
        """While training, return the logits of both heads, (class, distillation), instead of their average.

        Raises:
            ValueError: the net has no distillation token.
        """
        if enable and self.head_dist is None:
            raise ValueError("distilled training needs a distillation token; this net was built with distilled=False")
        self.distilled_training = enable

    def set_input_size(self, img_size: int | tuple[int, int] | None = None, patch_size: int | None = None) -> None:
        """Make the position embeddings, and with another patch size the patch map, those of another image; for fine-tuning there.

        Args:
            img_size: side, or rows and columns; None: as before.
            patch_size: side of a patch, in pixels of the image or of the stem's features; None: as before.
        """
        if patch_size is not None:
            scale = self.feature_info[0]["reduction"] // self.patch_embed.patch_size
            self.patch_embed.set_patch_size(patch_size)
            self.feature_info = [info | {"reduction": scale * patch_size} for info in self.feature_info]
        self.img_size = self.img_size if img_size is None else _pair(img_size)
        old, self.grid = self.grid, self.patch_embed.grid_of(*self.img_size)
        if self.pos_embed is not None:
            resized = resize_positions(self.pos_embed.data, old, self.grid, self.num_prefix_tokens, self.cfg.resize)
            self.pos_embed = nn.Parameter(resized, requires_grad=self.pos_embed.requires_grad)
        if self.positions is not None:
            self.positions.resize(self.grid)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups by depth, for layer-wise learning rates (timm's format)."""
        return {
            "stem": r"^cls_token|dist_token|pos_embed|positions|patch_embed",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],
        }

    def no_weight_decay(self) -> set[str]:
        """Parameters that weight decay must spare."""
        spared = ("cls_token", "dist_token", "pos_embed", "positions.")
        return {name for name, _ in self.named_parameters() if name.startswith(spared)}

    def _embed(self, x: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Tokens (B, L, C) with their positions, and the grid of the patches."""
        if not self.dynamic_img_size and tuple(x.shape[2:]) != self.img_size:
            raise ValueError(
                f"this net takes images of {self.img_size[0]} x {self.img_size[1]} only; got {x.shape[2]} x {x.shape[3]}; "
                "build it with dynamic_img_size=True or call set_input_size"
            )
        tokens, grid = self.patch_embed(x)
        tokens = tokens if change is None else change(tokens)
        prefix = [token.expand(x.shape[0], -1, -1) for token in (self.cls_token, self.dist_token) if token is not None]
        tokens = torch.cat([*prefix, tokens], dim=1)
        if self.pos_embed is not None:
            table = resize_positions(self.pos_embed, self.grid, grid, self.num_prefix_tokens, self.cfg.resize)
            tokens = tokens + table
        elif self.positions is not None:
            tokens = self.positions.add(tokens, 0, grid)
        return self.pos_drop(tokens), grid

    def _run(self, layer: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        block, offsets = self.blocks[layer], None
        if self.positions is not None:
            offsets = self.positions.offsets(layer, grid)
            tokens = self.positions.add(tokens, layer, grid) if layer > 0 else tokens
        if self.grad_checkpointing and self.training:
            return recomputed(block, tokens, grid, offsets)
        return block(tokens, grid, offsets)

    def _pool(self, x: Tensor) -> Tensor:
        if self.global_pool == "token":
            return x[:, 0]
        return x[:, self.num_prefix_tokens :].mean(dim=1) if self.global_pool == "avg" else x

    def _set_pool(self, global_pool: str) -> None:
        if global_pool not in POOLS:
            raise ValueError(f"global_pool must be one of {', '.join(map(repr, POOLS))}; got {global_pool!r}")
        if global_pool == "token" and not self.cfg.class_token:
            raise ValueError("global_pool 'token' needs a class token; this net was built with class_token=False")
        if global_pool != "token" and self.cfg.distilled:
            raise ValueError(f"a distilled net reads its two tokens, global_pool='token'; got {global_pool!r}")
        self.global_pool = global_pool

    def _block(self, drop_rate: float, drop_path: float) -> TransformerBlock:
        cfg = self.cfg
        hidden = cfg.hidden or 4 * cfg.dim
        return TransformerBlock(
            cfg.dim,
            cfg.heads,
            hidden,
            self.num_prefix_tokens,
            cfg.gelu,
            drop_rate,
            drop_path,
            relative=cfg.positions == "relative",
        )

    def _head(self) -> nn.Module:
        return nn.Linear(self.head_hidden_size, self.num_classes) if self.num_classes > 0 else nn.Identity()


def _stem(cfg: TransformerConfig, in_chans: int) -> BitStem | ResidualStem | None:
    if not cfg.stem:
        return None
    return {"bit": BitStem, "residual": ResidualStem}[cfg.stem_kind](in_chans, cfg.stem, cfg.stem_width)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
