"""torchvision's VisionTransformer. Its perceptrons were called linear_1 and linear_2 before version 0.12."""

from sightline.weights.formats.format import TRANSFORMER, Format
from sightline.weights.rules import Rule

_LAYER = "encoder.layers.encoder_layer_{n}."
_PLAIN = (
    ("ln_1.{}", "norm1.{}"),
    ("self_attention.in_proj_{}", "attn.qkv.{}"),
    ("self_attention.out_proj.{}", "attn.proj.{}"),
    ("ln_2.{}", "norm2.{}"),
    ("mlp.0.{}", "mlp.fc1.{}"),
    ("mlp.3.{}", "mlp.fc2.{}"),
    ("mlp.linear_1.{}", "mlp.fc1.{}"),
    ("mlp.linear_2.{}", "mlp.fc2.{}"),
)
_AROUND = (
    ("conv_proj.{}", "patch_embed.proj.{}"),
    ("encoder.ln.{}", "norm.{}"),
    ("heads.pre_logits.{}", "pre_logits.fc.{}"),
    ("heads.head.{}", "head.{}"),
)


def _rules() -> tuple[Rule, ...]:
    rules = [Rule("class_token", "cls_token"), Rule("encoder.pos_embedding", "pos_embed")]
    for kind in ("weight", "bias"):
        # str.format would read {n} too, so only the last braces are filled
        rules += [Rule(theirs.replace("{}", kind), ours.replace("{}", kind)) for theirs, ours in _AROUND]
        rules += [
            Rule(_LAYER + theirs.replace("{}", kind), "blocks.{n}." + ours.replace("{}", kind))
            for theirs, ours in _PLAIN
        ]
    return tuple(rules)


TORCHVISION_VIT = Format(
    "torchvision ViT",
    TRANSFORMER,
    (r"^encoder\.layers\.encoder_layer_0\.ln_1\.weight$", r"^conv_proj\.weight$"),
    _rules(),
    resize="bicubic_aligned",
    gelu="erf",
    norm_eps=1e-6,
)
