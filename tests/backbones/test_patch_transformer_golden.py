"""ViT, its hybrid and DeiT against the numbers of the papers' own code, forward and gradient, in float64."""

import pytest
from torch.func import functional_call

from sightline.backbones.transformer_config import GOOGLE, TransformerConfig
from sightline.backbones.transformer_net import PatchTransformer
from sightline.layers.positions import resize_positions
from sightline.weights.formats import GOOGLE as NPZ
from sightline.weights.rules import translate
from tests import golden_cases


def google(c) -> PatchTransformer:
    """The net of a ViT case."""
    stem = c["resnet"] or {"num_layers": (), "width_factor": 1}
    cfg = TransformerConfig(
        c["hidden_size"],
        c["num_layers"],
        c["num_heads"],
        c["patch"],
        hidden=c["mlp_dim"],
        class_token=c["classifier"] == "token",
        pre_logits=c["representation_size"],
        stem=tuple(stem["num_layers"]),
        stem_width=int(64 * stem["width_factor"]),
        border="drop",
        **GOOGLE,
    )
    return PatchTransformer(cfg, c["num_classes"], img_size=(c["height"], c["width"])).double().eval()


@pytest.mark.parametrize(
    "name", [*golden_cases.names("vit_token*"), *golden_cases.names("vit_gap*"), *golden_cases.names("vit_hybrid*")]
)
def test_vit_golden(name):
    case = golden_cases.load(name)
    net = google(case.config)
    leaves = {key: value.clone().requires_grad_() for key, value in case.part("param").items()}
    ours = translate(leaves, NPZ.rules).tensors
    assert {key: value.shape for key, value in ours.items()} == {key: p.shape for key, p in net.named_parameters()}
    leaves["image"] = case.tensors["input.image"].requires_grad_()
    logits = functional_call(net, ours, leaves["image"].permute(0, 3, 1, 2))
    golden_cases.check(case, {"logits": logits}, leaves)


@pytest.mark.parametrize("name", [*golden_cases.names("deit_plain*"), *golden_cases.names("deit_distilled*")])
def test_deit_golden(name):
    case = golden_cases.load(name)
    c = case.config
    cfg = TransformerConfig(
        c["embed_dim"],
        c["depth"],
        c["num_heads"],
        c["patch"],
        hidden=int(c["embed_dim"] * c["mlp_ratio"]),
        distilled=c["distilled"],
    )
    net = PatchTransformer(cfg, c["num_classes"], img_size=(c["height"], c["width"])).double()
    net.load_state_dict(case.part("param"))
    leaves = dict(net.named_parameters()) | {"image": case.tensors["input.image"].requires_grad_()}
    if c["mode"] == "train":
        net.set_distilled_training()
    y = net.train(c["mode"] == "train")(leaves["image"])
    outputs = dict(zip(("logits_cls", "logits_dist"), y, strict=True)) if c["mode"] == "train" else {"logits": y}
    golden_cases.check(case, outputs, leaves)


@pytest.mark.parametrize("name", [*golden_cases.names("vit_posembed*"), *golden_cases.names("deit_posembed*")])
def test_position_resizing_golden(name):
    case = golden_cases.load(name)
    c = case.config
    stored = "pos_embedding" if "hidden" in c else "pos_embed"
    leaf = case.tensors[f"input.{stored}"].requires_grad_()
    prefix = c.get("extra_tokens", int(c.get("class_token", False)))
    old, new = (c["old_grid"],) * 2, (c["new_grid"],) * 2
    got = resize_positions(leaf, old, new, prefix, "bilinear" if "hidden" in c else "bicubic")
    golden_cases.check(case, {stored: got}, {stored: leaf})
