"""Google's ViT parameters (flax names and layouts) as those of `PatchTransformer`; differentiable, for the golden gradients."""

import re

import torch
from torch import Tensor

STEM = (
    (r"conv_root/kernel", r"stem.conv.weight"),
    (r"gn_root/(\w+)", r"stem.norm.\1"),
    (r"conv_proj/kernel", r"downsample.conv.weight"),
    (r"gn_proj/(\w+)", r"downsample.norm.\1"),
    (r"conv(\d)/kernel", r"conv\1.weight"),
    (r"gn(\d)/(\w+)", r"norm\1.\2"),
)
WHOLE = (
    (r"embedding", "patch_embed.proj"),
    (r"encoder_norm", "norm"),
    (r"MlpBlock_\d/Dense_0", "mlp.fc1"),
    (r"MlpBlock_\d/Dense_1", "mlp.fc2"),
    (r"LayerNorm_0", "norm1"),
    (r"LayerNorm_[12]", "norm2"),
    (r"pre_logits", "pre_logits.fc"),
    (r"head", "head"),
)


def convert(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every parameter under our name, in our layout."""
    ours = {}
    for name, value in theirs.items():
        if "MultiHeadDotProductAttention" not in name:
            ours[_rename(name)] = _layout(name, value)
    for block in {name.split("/MultiHead")[0] for name in theirs if "/MultiHead" in name}:
        attention = next(name for name in theirs if name.startswith(block + "/MultiHead")).rsplit("/", 2)[0]
        to = _rename(block)
        kernels = [theirs[f"{attention}/{part}/kernel"].flatten(1).T for part in ("query", "key", "value")]
        biases = [theirs[f"{attention}/{part}/bias"].flatten() for part in ("query", "key", "value")]
        ours[f"{to}.attn.qkv.weight"], ours[f"{to}.attn.qkv.bias"] = torch.cat(kernels), torch.cat(biases)
        ours[f"{to}.attn.proj.weight"] = theirs[f"{attention}/out/kernel"].flatten(0, 1).T
        ours[f"{to}.attn.proj.bias"] = theirs[f"{attention}/out/bias"]
    return ours


def _rename(name: str) -> str:
    if name == "cls":
        return "cls_token"
    if name.endswith("pos_embedding"):
        return "pos_embed"
    place = re.match(r"block(\d)/unit(\d)/", name)
    if place or name.startswith(("conv_root", "gn_root")):
        where = f"stages.{int(place[1]) - 1}.blocks.{int(place[2]) - 1}." if place else ""
        rest = name[place.end() :] if place else name
        for pattern, to in STEM:
            rest = re.sub(f"^{pattern}$", to, rest)
        return "patch_embed.backbone." + where + rest.replace("scale", "weight")
    name = re.sub(r"Transformer/encoderblock_(\d+)", r"blocks.\1", name).removeprefix("Transformer/")
    for pattern, to in WHOLE:
        name = re.sub(rf"(^|/){pattern}(?=/|$)", rf"\1{to}", name)
    return re.sub("kernel|scale", "weight", name).replace("/", ".")


def _layout(name: str, value: Tensor) -> Tensor:
    if name.endswith("kernel"):
        return value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T
    return value.flatten() if "gn" in name else value
