"""ViT and DeiT by name: the papers' counts, heads for pre-training and fine-tuning, image sizes as timm takes them, positions."""

import pytest
import timm
import torch
from timm.layers.patch_embed import resample_patch_embed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import sightline
from sightline.backbones import NETS
from sightline.cost import count
from sightline.layers.patch_embed import resize_patches
from sightline.ops.global_attention import sequence

TINY = {"dim": 16, "depth": 2, "heads": 2, "patch_size": 4, "num_classes": 3}
KINDS = ["vit_b16", "vit_b16_1d_layers", "vit_b16_1d_shared", "vit_b16_2d", "vit_b16_2d_layers", "vit_b16_2d_shared"]
KINDS += ["vit_b16_relative", "vit_b16_no_position"]


def tiny(name: str = "vit_b16", img_size=(8, 12), **options) -> nn.Module:
    torch.manual_seed(0)
    net = sightline.create_model(name, img_size=img_size, **TINY | options).double().eval()
    if net.num_classes:
        nn.init.normal_(net.head.weight)
    return net


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        *(("vit_b16", 86.57), ("vit_b32", 88.22), ("vit_l16", 304.33), ("vit_l32", 306.54), ("vit_h14", 632.05)),
        *(("deit_ti16", 5.717), ("deit_s16", 22.05), ("deit_b16", 86.57), ("deit_b16_384", 86.86)),
        *(("deit_ti16_distilled", 5.91), ("deit_s16_distilled", 22.44), ("deit_b16_distilled", 87.34)),
        *(("deit_b16_distilled_384", 87.63), ("vit_l32_r50", 329.0), ("vit_b16_r50", 98.66)),
    ],
)
def test_parameters_of_the_papers_nets(name, millions):
    with torch.device("meta"):
        net = sightline.create_model(name)
    digits = len(str(millions).split(".")[1])
    assert round(sum(one.numel() for one in net.parameters()) / 1e6, digits) == millions
    if name == "vit_b16_r50":  # 97.9 million without the classifier
        assert round(sum(one.numel() for one in net.parameters()) / 1e6 - 0.769, 1) == 97.9


@pytest.mark.parametrize(
    ("name", "epochs", "exaflops"),
    [
        *(("vit_b32", 7, 55), ("vit_b16", 7, 224), ("vit_l32", 7, 196), ("vit_l16", 7, 783), ("vit_l16", 14, 1567)),
        *(("vit_h14", 14, 4262), ("vit_b32_r50", 7, 106), ("vit_b16_r50", 7, 274), ("vit_l32_r50", 7, 246)),
        *(("vit_l16_r50", 7, 859), ("vit_l16_r50", 14, 1668)),
    ],
)
def test_the_papers_costs_of_pretraining(name, epochs, exaflops):
    """Table 6: 303 million images an epoch, 2 FLOPs a multiply-add, the backward pass twice the forward."""
    with torch.device("meta"):
        macs = count(sightline.create_model(name), (224, 224)).macs
    assert 303e6 * epochs * macs * 2 * 3 / 1e18 == pytest.approx(exaflops, rel=0.03)


def test_head_for_pretraining_and_head_for_finetuning():
    net = sightline.create_model("vit_b16", img_size=8, **TINY, pre_logits=True)
    assert (net.pre_logits.fc.weight.shape, net.head_hidden_size) == ((16, 16), 16)
    assert net.head.weight.abs().max() == 0
    wide = sightline.create_model("vit_b16", img_size=8, **TINY, pre_logits=24)
    assert (wide.pre_logits.fc.weight.shape, wide.head.in_features) == ((24, 16), 24)
    assert 0.8 < wide.pre_logits.fc.weight.std().item() * 4 < 1.2  # LeCun: 1 / sqrt(16)
    wide.reset_classifier(7)
    assert (wide.head.weight.shape, wide.head.weight.abs().max()) == ((7, 16), 0)
    assert isinstance(wide.pre_logits, nn.Identity)
    deit = sightline.create_model("deit_s16", img_size=8, **TINY)
    assert 0 < deit.head.weight.std() < 0.03
    with pytest.raises(ValueError, match=r"distilled net has linear heads, pre_logits=None; got True"):
        sightline.create_model("deit_s16_distilled", pre_logits=True)


def test_a_hybrid_starts_lecun_normal():
    torch.manual_seed(0)
    net = sightline.create_model("vit_b16_r50", img_size=32, dim=16, depth=1, heads=2, stem=(1, 1), stem_width=64)
    for name, module in net.patch_embed.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.std().item() * module.weight[0].numel() ** 0.5 == pytest.approx(1, abs=0.05), name


@pytest.mark.parametrize("distilled", [False, True])
def test_image_sizes_are_timms(distilled):
    """timm's weights give timm's logits at sizes its dynamic models take: another size of the same grid, and padded."""
    build = VisionTransformerDistilled if distilled else VisionTransformer
    options = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 3}
    theirs = build(img_size=(8, 12), dynamic_img_size=True, dynamic_img_pad=True, **options).double().eval()
    ours = tiny("deit_s16_distilled" if distilled else "deit_s16")
    ours.load_state_dict(theirs.state_dict())
    for size in ((8, 12), (7, 12), (5, 9)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        torch.testing.assert_close(ours(x), theirs(x))
    assert ours(torch.randn(1, 3, 17, 30, dtype=torch.float64)).shape == (1, 3)


def test_what_a_fixed_net_refuses():
    x = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"takes images of 8 x 12 only; got 8 x 8"):
        tiny(dynamic_img_size=False)(x)
    net = tiny(dynamic_img_pad=False)
    assert net(x).shape == (1, 3)
    with pytest.raises(
        ValueError, match=r"patches of 4 x 4 do not divide 8 x 9; let them be padded \(dynamic_img_pad=True\)"
    ):
        net(torch.zeros(1, 3, 8, 9, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"patches of 4 x 4 do not divide 8 x 9"):
        net.set_input_size((8, 9))


@pytest.mark.parametrize("name", KINDS)
def test_another_size_for_good_is_what_it_was_on_the_fly(name):
    net, x = tiny(name), torch.randn(2, 3, 20, 15, dtype=torch.float64)
    expected = net(x)
    net.set_input_size((20, 15))
    torch.testing.assert_close(net(x), expected)
    assert net.grid == (5, 4)
    sizes = {key: one.shape for key, one in net.named_parameters()}
    assert sizes == {key: one.shape for key, one in tiny(name, (20, 15)).named_parameters()}


def test_another_patch_size_is_timms():
    weight = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    for size in (3, 6):
        theirs = resample_patch_embed(weight, [size, size])
        torch.testing.assert_close(resize_patches(weight, size), theirs.double(), rtol=1e-4, atol=1e-5)
    net = tiny()
    net.set_input_size((16, 24), patch_size=8)
    assert (net.grid, net.patch_embed.patch_size, net.feature_info[0]["reduction"]) == ((2, 3), 8, 8)
    assert net(torch.randn(1, 3, 16, 24, dtype=torch.float64)).shape == (1, 3)
    coarse = torch.randn(1, 3, 8, 12, dtype=torch.float64)
    fine = nn.functional.interpolate(
        coarse, (16, 24)
    )  # each pixel four times: not exactly what a resize makes, but near
    assert torch.corrcoef(torch.stack([net(fine)[0], tiny()(coarse)[0]]))[0, 1] > 0.9


def added(net: nn.Module, layer: int) -> torch.Tensor:
    """What the tokens gain before a block, by hand: (7, 16), the class token first."""
    table = net.positions.tables[layer if len(net.positions.tables) > 1 else 0]
    if hasattr(table, "tokens"):
        return table.tokens[0]
    rows, cols = table.rows[0], table.cols[0]
    patches = [torch.cat([rows[row], cols[col]]) for row in range(2) for col in range(3)]
    return torch.stack([torch.zeros(16, dtype=torch.float64), *patches])


@pytest.mark.parametrize("name", [name for name in KINDS if "1d" in name or "2d" in name])
def test_tables_are_added_where_the_name_says(name):
    net, x = tiny(name), torch.randn(2, 3, 8, 12, dtype=torch.float64)
    tokens = torch.cat([net.cls_token.expand(2, -1, -1), net.patch_embed(x)[0]], dim=1)
    for layer, block in enumerate(net.blocks):
        if layer == 0 or name.endswith(("layers", "shared")):
            tokens = tokens + added(net, layer)
        tokens = block(tokens, (2, 3))
    torch.testing.assert_close(net(x), net.head(net.norm(tokens)[:, 0]))
    assert len(net.positions.tables) == (2 if name.endswith("layers") else 1)


def test_relative_positions_by_hand():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 5, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    table = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    got = sequence.run(q, k, v, table, grid=(1, 5))
    weights = sequence.weights(q, k, v, table, queries=torch.tensor([4, 1]))
    for head in range(2):
        for i in range(5):
            logits = [q[0, head, i] @ (k[0, head, j] + table[j - i + 4]) / 3**0.5 for j in range(5)]
            row = torch.stack(logits).softmax(0)
            torch.testing.assert_close(got[0, head, i], row @ v[0, head])
            if i in (1, 4):
                torch.testing.assert_close(weights[0, head, [4, 1].index(i)], row)
    assert sequence.cost(q, k, v, table).macs == 2 * 5 * 5 * (3 + 3) + 2 * 5 * 3 * 9
    with pytest.raises(ValueError, match=r"relative positions of 5 tokens need a table \(9, 3\); got \(8, 3\)"):
        sequence.run(q, k, v, table[1:])


def test_relative_nets_show_their_weights():
    net = tiny("vit_b16_relative")
    with torch.no_grad(), sightline.capture(net, queries=[(1, 2)]) as maps:
        net(torch.randn(1, 3, 8, 12, dtype=torch.float64))
    assert [one.dense().shape for one in maps] == [(1, 2, 1, 2, 3)] * 2
    assert len({id(table) for table in net.positions.tables}) == 2
    shared = sightline.create_model("vit_b16", img_size=8, **TINY, positions="relative", positions_at="shared")
    assert len(shared.positions.tables) == 1


def test_order_matters_but_without_positions():
    x = torch.randn(1, 3, 8, 12, dtype=torch.float64)
    moved = x.roll(4, dims=3)  # by one patch
    for name in KINDS:
        net = tiny(name)
        assert torch.allclose(net(moved), net(x)) == (name == "vit_b16_no_position"), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "3d"}, "positions must be one of 1d, 2d, relative, none; got '3d'"),
        ({"positions_at": "head"}, "positions_at must be one of stem, layers, shared; got 'head'"),
        ({"dim": 15, "heads": 3, "positions": "2d"}, "must be even; got dim=15"),
        ({"depth": 0}, "depth must be at least 1; got 0"),
        ({"distilled": True, "class_token": False}, "a distilled net has a class token too"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sightline.create_model("vit_b16", **TINY | options)


def test_names_of_the_registry():
    for name in ("vit_b16", "deit_s16", "deit_s16_distilled", "san10_pairwise", "vit_h14_518", "vit_l16_512"):
        assert timm.is_model(name)
        assert NETS[name].about
    sizes, patches = ("ti", "s", "b", "l", "h"), (32, 16, 14)
    assert all(f"vit_{size}{patch}{pool}" in NETS for size in sizes for patch in patches for pool in ("", "_gap"))
