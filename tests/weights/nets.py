"""Small nets of other libraries, and their layouts written out by hand: nothing here shares a line with `sightline.weights`."""

import json
from collections import OrderedDict

import timm
import torch
from safetensors import safe_open
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torchvision.models import resnet
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT

from sightline.backbones.transformer_config import GOOGLE, TransformerConfig
from sightline.backbones.transformer_net import PatchTransformer
from tests import golden_cases

DIM, DEPTH, HEADS, SIDE, PATCH, CLASSES = 24, 2, 3, 32, 8, 5
CONFIG = TransformerConfig(
    DIM, DEPTH, HEADS, PATCH, **GOOGLE
)  # Google's, so that every trait of a source must be taken over
DISTILLED = TransformerConfig(DIM, DEPTH, HEADS, PATCH, distilled=True)


def shaken(net, seed: int = 0):
    """Every parameter and statistic at random, so that a tensor in the wrong place shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                spread = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.1
                tensor.copy_(
                    noise.abs() + 0.5 if "var" in name or ("norm" in name and "weight" in name) else spread * noise
                )
    return net.eval()


def ours(config: TransformerConfig = CONFIG, classes: int = CLASSES, img_size=SIDE) -> PatchTransformer:
    """A ViT or DeiT of sightline's."""
    return PatchTransformer(config, classes, img_size=img_size).eval()


def timm_vit(**options) -> VisionTransformer:
    """timm's ViT of the same size."""
    shape = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": DIM, "depth": DEPTH, "num_heads": HEADS}
    return shaken(VisionTransformer(**(shape | {"num_classes": CLASSES} | options)))


def timm_distilled():
    """timm's distilled DeiT of the same size."""
    shape = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": DIM, "depth": DEPTH, "num_heads": HEADS}
    return shaken(timm.create_model("deit_tiny_distilled_patch16_224", num_classes=CLASSES, **shape))


def torchvision_vit(**options) -> TorchvisionViT:
    """torchvision's ViT of the same size."""
    return shaken(TorchvisionViT(SIDE, PATCH, DEPTH, HEADS, DIM, 4 * DIM, num_classes=CLASSES, **options))


def torchvision_resnet(classes: int = CLASSES) -> resnet.ResNet:
    """torchvision's ResNet with one bottleneck a stage."""
    return shaken(resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=classes))


def as_transformers(state: dict[str, Tensor], distilled: bool = False, new: bool = False) -> dict[str, Tensor]:
    """A ViT with timm's names as transformers has it, version 4's names or version 5's."""
    home = "deit." if distilled else "vit."
    found = {
        home + "embeddings.cls_token": state["cls_token"],
        home + "embeddings.position_embeddings": state["pos_embed"],
        home + "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        home + "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        home + "layernorm.weight": state["norm.weight"],
        home + "layernorm.bias": state["norm.bias"],
    }
    head = "cls_classifier" if distilled else "classifier"
    for part in ("weight", "bias"):
        found[f"{head}.{part}"] = state[f"head.{part}"]
        if distilled:
            found[f"distillation_classifier.{part}"] = state[f"head_dist.{part}"]
    if distilled:
        found[home + "embeddings.distillation_token"] = state["dist_token"]
    names = ("attention.q_proj", "attention.k_proj", "attention.v_proj") if new else ()
    names = names or ("attention.attention.query", "attention.attention.key", "attention.attention.value")
    rest = (
        ("attention.o_proj", "mlp.fc1", "mlp.fc2")
        if new
        else ("attention.output.dense", "intermediate.dense", "output.dense")
    )
    for index in range(sum(name.endswith(".norm1.weight") for name in state)):
        here, there = f"blocks.{index}.", f"{home}{'' if new else 'encoder.'}layer{'s' if new else ''}.{index}."
        for part in ("weight", "bias"):
            width = state[f"{here}attn.qkv.{part}"].shape[0] // 3
            for number, name in enumerate(names):
                found[f"{there}{name}.{part}"] = state[f"{here}attn.qkv.{part}"][number * width : (number + 1) * width]
            for mine, name in zip(("attn.proj", "mlp.fc1", "mlp.fc2"), rest, strict=True):
                found[f"{there}{name}.{part}"] = state[f"{here}{mine}.{part}"]
            found[f"{there}layernorm_before.{part}"] = state[f"{here}norm1.{part}"]
            found[f"{there}layernorm_after.{part}"] = state[f"{here}norm2.{part}"]
    return {name: tensor.clone() for name, tensor in found.items()}


def transformers_config(distilled: bool = False, **changes) -> dict:
    """config.json of that net."""
    kind = "DeiTForImageClassificationWithTeacher" if distilled else "ViTForImageClassification"
    return {
        "architectures": [kind],
        "model_type": "deit" if distilled else "vit",
        "hidden_act": "gelu",
        "hidden_size": DIM,
        "image_size": SIDE,
        "layer_norm_eps": 1e-6,
        "num_attention_heads": HEADS,
        "id2label": {str(index): f"kind {index}" for index in range(CLASSES)},
    } | changes


def as_google(state: dict[str, Tensor], published: bool = True, heads_count: int = HEADS) -> dict[str, Tensor]:
    """A ViT with timm's names as Google's .npz has it."""
    dim = state["norm.weight"].shape[0]
    norm, mlp, attention = ("LayerNorm_2", "MlpBlock_3", 1) if published else ("LayerNorm_1", "MlpBlock_0", 0)
    found = {
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    if "cls_token" in state:
        found["cls"] = state["cls_token"]
    for index in range(sum(name.endswith(".norm1.weight") for name in state)):
        here, there = f"blocks.{index}.", f"Transformer/encoderblock_{index}/"
        heads = f"{there}MultiHeadDotProductAttention_{attention}/"
        for number, name in enumerate(("query", "key", "value")):
            rows = slice(number * dim, (number + 1) * dim)
            found[f"{heads}{name}/kernel"] = state[f"{here}attn.qkv.weight"][rows].T.reshape(dim, heads_count, -1)
            found[f"{heads}{name}/bias"] = state[f"{here}attn.qkv.bias"][rows].reshape(heads_count, -1)
        found[f"{heads}out/kernel"] = state[f"{here}attn.proj.weight"].T.reshape(heads_count, -1, dim)
        found[f"{heads}out/bias"] = state[f"{here}attn.proj.bias"]
        for mine, name in (("norm1", "LayerNorm_0"), ("norm2", norm)):
            found[f"{there}{name}/scale"], found[f"{there}{name}/bias"] = (
                state[f"{here}{mine}.weight"],
                state[f"{here}{mine}.bias"],
            )
        for mine, name in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            found[f"{there}{mlp}/{name}/kernel"] = state[f"{here}mlp.{mine}.weight"].T
            found[f"{there}{mlp}/{name}/bias"] = state[f"{here}mlp.{mine}.bias"]
    return {name: tensor.contiguous() for name, tensor in found.items()}


def san_authors(name: str) -> tuple[golden_cases.Golden, dict[str, Tensor]]:
    """A golden SAN, and its weights by the authors' names as DataParallel saves them, 1 x 1 kernels with four axes."""
    case = golden_cases.load(name)
    with safe_open(golden_cases.FOLDER / f"{name}.safetensors", "pt") as file:
        peers = json.loads(file.metadata()["peer_parameter_names"])
    state = OrderedDict()
    for key, tensor in (case.part("param") | case.part("buffer")).items():
        module, _, part = key.rpartition(".")
        pointwise = part == "weight" and tensor.ndim == 2 and module != "head"
        state[f"module.{peers[module]}.{part}"] = (tensor[:, :, None, None] if pointwise else tensor).float()
        if part == "running_var":
            state[f"module.{peers[module]}.num_batches_tracked"] = torch.tensor(7)
    return case, state


def relative(got: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected magnitude."""
    return ((got - expected).abs().max() / expected.abs().max()).item()
