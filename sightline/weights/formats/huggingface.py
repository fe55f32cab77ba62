"""Hugging Face transformers' ViT and DeiT: q, k and v apart, two classifiers "WithTeacher".

Files have the names of transformers 4; a model's `state_dict()` of transformers 5 has shorter ones, known here too. A base model
without classifier has no prefix, and a pooler that is ViT's hidden layer before the head.
"""

from sightline.weights.formats.format import TRANSFORMER, Format
from sightline.weights.rules import Rule

_AROUND = (
    ("embeddings.patch_embeddings.projection.{}", "patch_embed.proj.{}"),
    ("layernorm.{}", "norm.{}"),
    ("pooler.dense.{}", "pre_logits.fc.{}"),
    ("classifier.{}", "head.{}"),
    ("cls_classifier.{}", "head.{}"),
    ("distillation_classifier.{}", "head_dist.{}"),
)
_OLD, _NEW = "encoder.layer.{n}.", "layers.{n}."
_BLOCK = (
    ((_OLD + "layernorm_before.{}",), "norm1.{}"),
    ((_OLD + "layernorm_after.{}",), "norm2.{}"),
    (tuple(f"{_OLD}attention.attention.{part}.{{}}" for part in ("query", "key", "value")), "attn.qkv.{}"),
    ((_OLD + "attention.output.dense.{}",), "attn.proj.{}"),
    ((_OLD + "intermediate.dense.{}",), "mlp.fc1.{}"),
    ((_OLD + "output.dense.{}",), "mlp.fc2.{}"),
    ((_NEW + "layernorm_before.{}",), "norm1.{}"),
    ((_NEW + "layernorm_after.{}",), "norm2.{}"),
    (tuple(f"{_NEW}attention.{part}_proj.{{}}" for part in "qkv"), "attn.qkv.{}"),
    ((_NEW + "attention.o_proj.{}",), "attn.proj.{}"),
    ((_NEW + "mlp.fc1.{}",), "mlp.fc1.{}"),
    ((_NEW + "mlp.fc2.{}",), "mlp.fc2.{}"),
)


def _rules() -> tuple[Rule, ...]:
    rules = [
        Rule("embeddings.cls_token", "cls_token"),
        Rule("embeddings.distillation_token", "dist_token"),
        Rule("embeddings.position_embeddings", "pos_embed"),
    ]
    for kind in ("weight", "bias"):
        rules += [Rule(theirs.replace("{}", kind), ours.replace("{}", kind)) for theirs, ours in _AROUND]
        rules += [
            Rule(tuple(name.replace("{}", kind) for name in theirs), "blocks.{n}." + ours.replace("{}", kind))
            for theirs, ours in _BLOCK
        ]
    return tuple(rules)


HUGGINGFACE = Format(
    "Hugging Face ViT",
    TRANSFORMER,
    (r"(^|\.)embeddings\.patch_embeddings\.projection\.weight$", r"(^|\.)embeddings\.cls_token$"),
    _rules(),
    prefixes=("vit.", "deit."),
    unused=(r"embeddings\.mask_token$", r"^decoder\."),
    resize="bicubic",
    gelu="erf",
    norm_eps=1e-12,
)
