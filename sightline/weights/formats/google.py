"""Google's ViT .npz (flax), with or without the hidden layer before the head, hybrids with the ResNet before the patches.

The published files number the parts of a block as an older flax did (LayerNorm_2, MlpBlock_3, MultiHeadDotProductAttention_1), the
code of today otherwise; both are known.
"""

from sightline.weights.formats.format import TRANSFORMER, Format
from sightline.weights.layouts import FOUR_AXES, HEADS_BIAS, HEADS_IN, HEADS_OUT, INPUT_FIRST, KERNEL_FIRST
from sightline.weights.rules import Rule

_STEM, _UNIT = "patch_embed.backbone.stem.", "patch_embed.backbone.stages.{s}.blocks.{u}."
_BLOCK, _PUBLISHED, _LINEN = "Transformer/encoderblock_{n}/", (2, 3, 1), (1, 0, 0)


def _norm(theirs: str, ours: str) -> list[Rule]:
    return [Rule(f"{theirs}/scale", f"{ours}.weight"), Rule(f"{theirs}/bias", f"{ours}.bias")]


def _linear(theirs: str, ours: str) -> list[Rule]:
    return [Rule(f"{theirs}/kernel", f"{ours}.weight", INPUT_FIRST), Rule(f"{theirs}/bias", f"{ours}.bias")]


def _group_norm(theirs: str, ours: str) -> list[Rule]:
    return [Rule(f"{theirs}/scale", f"{ours}.weight", FOUR_AXES), Rule(f"{theirs}/bias", f"{ours}.bias", FOUR_AXES)]


def _conv(theirs: str, ours: str) -> Rule:
    return Rule(f"{theirs}/kernel", f"{ours}.weight", KERNEL_FIRST)


def _block(numbers: tuple[int, int, int]) -> list[Rule]:
    norm, mlp, attention = numbers
    perceptron, heads = f"{_BLOCK}MlpBlock_{mlp}/", f"{_BLOCK}MultiHeadDotProductAttention_{attention}/"
    three = [f"{heads}{part}/" for part in ("query", "key", "value")]
    return [
        *_norm(f"{_BLOCK}LayerNorm_0", "blocks.{n}.norm1"),
        *_norm(f"{_BLOCK}LayerNorm_{norm}", "blocks.{n}.norm2"),
        *_linear(f"{perceptron}Dense_0", "blocks.{n}.mlp.fc1"),
        *_linear(f"{perceptron}Dense_1", "blocks.{n}.mlp.fc2"),
        Rule(tuple(part + "kernel" for part in three), "blocks.{n}.attn.qkv.weight", HEADS_OUT),
        Rule(tuple(part + "bias" for part in three), "blocks.{n}.attn.qkv.bias", HEADS_BIAS),
        Rule(f"{heads}out/kernel", "blocks.{n}.attn.proj.weight", HEADS_IN),
        Rule(f"{heads}out/bias", "blocks.{n}.attn.proj.bias"),
    ]


def _stem() -> list[Rule]:
    unit = "block{s+1}/unit{u+1}/"
    rules = [_conv("conv_root", f"{_STEM}conv"), *_group_norm("gn_root", f"{_STEM}norm")]
    rules += [_conv(f"{unit}conv_proj", f"{_UNIT}downsample.conv")]
    rules += _group_norm(f"{unit}gn_proj", f"{_UNIT}downsample.norm")
    for part in (1, 2, 3):
        rules += [
            _conv(f"{unit}conv{part}", f"{_UNIT}conv{part}"),
            *_group_norm(f"{unit}gn{part}", f"{_UNIT}norm{part}"),
        ]
    return rules


GOOGLE = Format(
    "Google's .npz",
    TRANSFORMER,
    (r"Transformer/encoderblock_0/.*query/kernel$", r"embedding/kernel$"),
    (
        Rule("cls", "cls_token"),
        Rule("Transformer/posembed_input/pos_embedding", "pos_embed"),
        _conv("embedding", "patch_embed.proj"),
        Rule("embedding/bias", "patch_embed.proj.bias"),
        *_norm("Transformer/encoder_norm", "norm"),
        *_block(_PUBLISHED),
        *_block(_LINEN),
        *_linear("pre_logits", "pre_logits.fc"),
        *_linear("head", "head"),
        *_stem(),
    ),
    prefixes=("params/", "opt/target/"),
    unused=(r"^opt/(?!target/)", r"^(step|extra)(/|$)"),
    resize="bilinear",
    gelu="tanh",
    stem="google",
    norm_eps=1e-6,
)
