"""ViT and DeiT: any image size, tokens and heads, starting weights, timm's interfaces, stem, graphs, copies."""

import copy
import pickle

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from sightline.backbones.bit_stem import BitStem, StandardisedConv2d, pad_same
from sightline.backbones.patch_transformer import MINI
from sightline.backbones.transformer_config import GOOGLE, TransformerConfig
from sightline.backbones.transformer_init import initialise
from sightline.backbones.transformer_net import PatchTransformer


def tiny(num_classes=3, img_size=(8, 12), global_pool=None, dynamic_img_size=True, **config) -> PatchTransformer:
    """Two blocks of eight channels, patches of four."""
    torch.manual_seed(0)
    cfg = TransformerConfig(**{"dim": 8, "depth": 2, "heads": 2, "patch_size": 4} | config)
    return PatchTransformer(cfg, num_classes, 3, img_size, global_pool, dynamic_img_size=dynamic_img_size)


@pytest.mark.parametrize("size", [(8, 12), (12, 8), (4, 4), (1, 1), (5, 7), (1, 30), (13, 11)])
@pytest.mark.parametrize("config", [{}, {"distilled": True}, {"class_token": False, "init": "google"}])
def test_every_image_size_and_a_gradient_for_everything(size, config):
    net, x = tiny(**config).double(), torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    grid = (-(-size[0] // 4), -(-size[1] // 4))
    assert net.forward_features(x).shape == (2, net.num_prefix_tokens + grid[0] * grid[1], 8)
    torch.nn.init.normal_(net.head.weight)
    net(x).square().sum().backward()
    for name, tensor in [("input", x), *net.named_parameters()]:
        assert tensor.grad is not None, name
        assert torch.isfinite(tensor.grad).all(), name


def test_a_fixed_size_refuses_others():
    net = tiny(dynamic_img_size=False)
    with pytest.raises(ValueError, match=r"takes images of 8 x 12 only; got 8 x 8; .*call set_input_size"):
        net(torch.randn(1, 3, 8, 8))
    net.set_input_size(8)
    assert net(torch.randn(1, 3, 8, 8)).shape == (1, 3)


def test_set_input_size_fixes_what_was_resized_on_the_fly():
    net, x = tiny().eval(), torch.randn(2, 3, 20, 16)
    expected = net(x)
    net.set_input_size((20, 16))
    assert net.pos_embed.shape == (1, 1 + 5 * 4, 8)
    torch.testing.assert_close(net(x), expected)


def test_distilled_heads():
    net, x = tiny(distilled=True), torch.randn(2, 3, 8, 12)
    features = net.forward_features(x)
    by_class, by_teacher = net.head(features[:, 0]), net.head_dist(features[:, 1])
    torch.testing.assert_close(net.train()(x), (by_class + by_teacher) / 2)
    net.set_distilled_training()
    torch.testing.assert_close(net.train()(x), (by_class, by_teacher))
    torch.testing.assert_close(net.eval()(x), (by_class + by_teacher) / 2)
    assert net.get_classifier() == (net.head, net.head_dist)
    with pytest.raises(ValueError, match="needs a distillation token"):
        tiny().set_distilled_training()


def test_pooling_and_hidden_head():
    net, x = tiny(pre_logits=5).eval(), torch.randn(2, 3, 8, 12)
    tokens = net.forward_features(x)
    torch.testing.assert_close(net(x), net.head(torch.tanh(net.pre_logits.fc(tokens[:, 0]))))
    assert net.head_hidden_size == net.forward_head(tokens, pre_logits=True).shape[1] == 5
    net.reset_classifier(7, global_pool="avg")
    torch.testing.assert_close(net(x), net.head(tokens[:, 1:].mean(1)))
    assert (net.num_classes, net.head.in_features, net.head_hidden_size) == (7, 8, 8)
    net.reset_classifier(0, global_pool="")
    torch.testing.assert_close(net(x), tokens)
    half = tiny().bfloat16()
    half.reset_classifier(2)
    assert half.head.weight.dtype == torch.bfloat16


def test_without_positions_patches_have_no_order():
    """The class token reads a set: shuffled patches give equal logits once the positions are gone."""
    net, x = tiny(init="google").double().eval(), torch.randn(1, 3, 8, 12, dtype=torch.float64)
    torch.nn.init.normal_(net.head.weight)
    patches = x.reshape(1, 3, 2, 4, 3, 4).transpose(3, 4).flatten(2, 3)  # 1, 3, 6, 4, 4
    shuffled = patches[:, :, torch.tensor([3, 1, 5, 0, 2, 4])].unflatten(2, (2, 3)).transpose(3, 4).reshape(x.shape)
    assert not torch.allclose(net(shuffled), net(x))
    torch.nn.init.zeros_(net.pos_embed)
    torch.testing.assert_close(net(shuffled), net(x))


def test_intermediates_are_the_grids_of_the_blocks():
    net, x = tiny(depth=3, distilled=True).eval(), torch.randn(1, 3, 9, 12)
    last, maps = net.forward_intermediates(x, norm=True)
    torch.testing.assert_close(last, net.forward_features(x))
    assert [one.shape for one in maps] == [(1, 8, 3, 3)] * 3
    torch.testing.assert_close(maps[-1].flatten(2).mT, last[:, 2:])
    (only,) = net.forward_intermediates(x, [0], stop_early=True, output_fmt="NLC", intermediates_only=True)
    assert only.shape == (1, 9, 8)
    assert net.prune_intermediate_layers([-3, 1], prune_norm=True) == [0, 1]
    assert len(net.blocks) == 2
    with pytest.raises(ValueError, match=r"indices must name blocks -2..1; got \[4\]"):
        net.forward_intermediates(x, [4])


def test_starting_weights():
    net = tiny(dim=64, init="google", pre_logits=32, position_std=0.5)
    assert net.head.weight.abs().max() == net.cls_token.abs().max() == 0
    bound = (6 / (64 + 64)) ** 0.5
    for part in net.blocks[0].attn.qkv.weight.chunk(3):
        assert 0.95 * bound < part.abs().max() <= bound
    assert 0 < net.blocks[0].mlp.fc1.bias.abs().max() < 1e-5
    assert 0.9 < net.patch_embed.proj.weight.std() * 48**0.5 < 1.1
    assert 0.4 < net.pos_embed.std() < 0.6
    net = tiny(dim=64, init="deit", distilled=True)
    for tensor in (net.head_dist.weight, net.blocks[1].mlp.fc2.weight, net.dist_token, net.pos_embed):
        assert 0.012 < tensor.std() < 0.028
    assert net.blocks[0].attn.qkv.bias.abs().max() == net.head.bias.abs().max() == 0
    kept = net.blocks[0].attn.qkv.weight.clone()
    net.reset_classifier(5)
    assert 0.012 < net.head_dist.weight.std() < 0.028
    assert torch.equal(net.blocks[0].attn.qkv.weight, kept)
    with pytest.raises(ValueError, match="init must be one of google, deit; got 'random'"):
        initialise(net, "random")


def test_drop_rates_act_in_training_alone():
    torch.manual_seed(0)
    net = PatchTransformer(MINI, 4, img_size=8, drop_rate=0.5, drop_path_rate=0.5)
    torch.nn.init.normal_(net.head.weight)
    x = torch.randn(2, 3, 8, 8)
    assert not torch.equal(net.train()(x), net(x))
    assert torch.equal(net.eval()(x), net(x))
    assert [getattr(block.drop_path, "drop_prob", 0.0) for block in net.blocks] == pytest.approx(
        [0, 0.125, 0.25, 0.375, 0.5]
    )


def test_patches_of_the_small_nets():
    sides = {size: MINI.patch_for((size, size + 9)) for size in (6, 8, 16, 28, 32, 64)}
    assert sides == {6: 2, 8: 2, 16: 2, 28: 3, 32: 4, 64: 8}


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (
            {"class_token": False},
            {"global_pool": "token"},
            "needs a class token; this net was built with class_token=False",
        ),
        ({}, {"global_pool": "max"}, "global_pool must be one of 'token', 'avg', ''; got 'max'"),
        (
            {"distilled": True},
            {"global_pool": "avg"},
            "a distilled net reads its two tokens, global_pool='token'; got 'avg'",
        ),
        ({"gelu": "relu"}, {}, "gelu must be one of erf, tanh; got 'relu'"),
        (
            {"stem": (1,), "stem_width": 48},
            {},
            "width must be a multiple of the 32 groups of its normalisation; got 48",
        ),
    ],
)
def test_errors_quote_value_and_rule(config, options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**config, **options)


@pytest.mark.parametrize("size", [(1, 1), (7, 8), (16, 5)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (3, 1), (3, 2), (7, 2)])
def test_standardised_convolution_by_hand(size, kernel, stride):
    layer, x = StandardisedConv2d(2, 3, kernel, stride).double(), torch.randn(1, 2, *size, dtype=torch.float64)
    weight = torch.stack([(w - w.mean()) / (w.std(unbiased=False) + 1e-5) for w in layer.weight])
    rows, cols = (-(-side // stride) for side in size)
    margin = [max((out - 1) * stride + kernel - side, 0) for out, side in zip((rows, cols), size, strict=True)]
    room = torch.zeros(1, 2, size[0] + margin[0], size[1] + margin[1], dtype=torch.float64)
    room[..., margin[0] // 2 : margin[0] // 2 + size[0], margin[1] // 2 : margin[1] // 2 + size[1]] = x
    assert torch.equal(pad_same(x, kernel, stride), room)
    got = layer(x)
    assert got.shape == (1, 3, rows, cols)
    for row in range(rows):
        for col in range(cols):
            window = room[0, :, row * stride : row * stride + kernel, col * stride : col * stride + kernel]
            torch.testing.assert_close(got[0, :, row, col], (weight * window).sum((1, 2, 3)))


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 16)])
def test_hybrid_takes_every_size(size):
    net = tiny(stem=(1, 1), stem_width=32, patch_size=1, img_size=size)
    assert net.grid == BitStem(3, (1, 1), 32).output_size(*size) == (-(-size[0] // 8), -(-size[1] // 8))
    assert net(torch.randn(2, 3, *size)).shape == (2, 3)
    assert net.feature_info[0]["reduction"] == 8


def test_stem_bottleneck_starts_as_its_shortcut():
    stem, x = BitStem(3, (2,), 32), torch.randn(1, 3, 17, 9)
    first = stem.stages[0].blocks[1]
    inner = F.relu(torch.randn(1, 128, 5, 3))
    torch.testing.assert_close(first(inner), inner)
    assert stem(x).shape == (1, 128, 5, 3)


@pytest.mark.parametrize("config", [{"distilled": True}, {"stem": (1,), "stem_width": 32, "patch_size": 1, **GOOGLE}])
def test_graphs_and_copies(config):
    net, x = tiny(img_size=(8, 8), **config).eval(), torch.randn(2, 3, 12, 7)
    torch.nn.init.normal_(net.head.weight)
    expected = net(x)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(twin(x), expected)
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="aot_eager")(x), expected)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(x[:1]), net(x[:1]))


@pytest.mark.parametrize(
    ("name", "cfg"),
    [
        ("vit_base_patch16_224", TransformerConfig(768, 12, 12)),
        ("vit_base_r50_s16_224", TransformerConfig(768, 12, 12, 1, stem=(3, 4, 9))),
        ("deit_tiny_distilled_patch16_224", TransformerConfig(192, 12, 3, distilled=True)),
    ],
)
def test_names_and_shapes_are_timms(name, cfg):
    with torch.device("meta"):
        theirs, ours = timm.create_model(name, num_classes=1000), PatchTransformer(cfg)
    shapes = [{key: p.shape for key, p in net.named_parameters()} for net in (theirs, ours)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("distilled", [False, True])
def test_timms_weights_give_timms_numbers(distilled):
    build = VisionTransformerDistilled if distilled else VisionTransformer
    theirs = build(img_size=(8, 12), patch_size=4, embed_dim=8, depth=2, num_heads=2, num_classes=3).double().eval()
    ours = tiny(distilled=distilled).double().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))
