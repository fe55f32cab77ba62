"""Nets of the sizes of golden cases."""

from sightline.backbones.san_net import SAN, SANConfig
from sightline.backbones.transformer_config import GOOGLE, TransformerConfig
from sightline.backbones.transformer_net import PatchTransformer
from sightline.layers import PairwiseSelfAttention2d, PatchwiseSelfAttention2d
from tests import golden_cases


def google_net(name: str) -> PatchTransformer:
    """The net of a ViT case, without its hidden layer before the head: weights bring that with them."""
    c = golden_cases.load(name).config
    stem = c["resnet"] or {"num_layers": (), "width_factor": 1}
    config = TransformerConfig(
        c["hidden_size"],
        c["num_layers"],
        c["num_heads"],
        c["patch"],
        hidden=c["mlp_dim"],
        class_token=c["classifier"] == "token",
        stem=tuple(stem["num_layers"]),
        stem_width=int(64 * stem["width_factor"]),
        **(GOOGLE | {"border": "drop"}),
    )
    return PatchTransformer(config, c["num_classes"], img_size=(c["height"], c["width"])).double().eval()


def san_net(kind: str) -> SAN:
    """The net of a SAN case, "pairwise" or "patchwise"."""
    c = golden_cases.load(f"san_network_{kind}").config
    attention = PairwiseSelfAttention2d if kind == "pairwise" else PatchwiseSelfAttention2d
    config = SANConfig(tuple(c["layers"]), attention, tuple(c["widths"]), tuple(c["kernels"]))
    return SAN(config, c["num_classes"]).double().eval()
