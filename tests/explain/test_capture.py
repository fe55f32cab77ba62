"""capture: every family shows its weights, the output stays bitwise the same, and what can not be had raises."""

import numpy as np
import pytest
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sightline
from sightline.explain import layer_maps, taps
from sightline.explain.record import CHUNK, record
from sightline.layers import NonLocalBlock1d, NonLocalBlock3d
from tests.explain.nets import ATTENTION


def build(name: str, size: int = 16) -> torch.nn.Module:
    torch.manual_seed(0)
    return sightline.create_model(name, num_classes=3, img_size=size).eval()


@pytest.mark.parametrize("name", ATTENTION)
def test_output_is_bitwise_unchanged_and_maps_are_consistent(name):
    model, images = build(name), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        plain = model(images)
        with sightline.capture(model, queries=[(3, 5), (15, 0)]) as maps:
            watched = model(images)
    assert torch.equal(plain, watched)
    assert len(maps) >= 1
    assert set(maps.layers) == set(taps(model))
    for one in maps:
        assert one.weights.shape[0] == 2
        assert one.weights.shape[2] == 2
        dense = one.dense()
        assert dense.shape[-2:] == one.key_grid
        if one.support.prefix == 0:
            torch.testing.assert_close(dense.sum((-2, -1)), one.weights.nan_to_num().sum(-1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ATTENTION)
def test_non_square_image_smaller_than_the_windows(name):
    model = build(name, 8)
    maps = layer_maps(model, torch.randn(2, 3, 8, 12))
    for one in maps:
        assert one.weights.shape[0] == 2
        assert torch.isfinite(one.weights).all()
        assert max(one.weights.shape[1:3]) <= 8


def test_queries_fall_on_the_pixel_that_covers_them():
    model = build("sasa_resnet_mini")
    with torch.no_grad(), sightline.capture(model, layers="layer2.1*", queries=[(15, 2)]) as maps:
        model(torch.randn(1, 3, 16, 16))
    (one,) = maps
    assert one.query_grid == (8, 8)
    assert one.queries.tolist() == [7 * 8 + 1]


def test_criss_cross_composed_reaches_the_whole_map():
    model = build("ccnet_resnet_mini")
    (one,) = layer_maps(model, torch.randn(1, 3, 16, 16))
    assert "2 passes" in one.name
    assert (one.weights > 0).all()
    torch.testing.assert_close(one.weights.sum((-2, -1)), torch.ones(1, 8, 8), atol=1e-4, rtol=1e-4)


def test_what_can_not_be_had_raises():
    with pytest.raises(ValueError, match="no attention layer"), sightline.capture(build("resnet_mini")):
        pass
    model = build("sasa_resnet_mini")
    with pytest.raises(ValueError, match="no attention layer matches 'nowhere'"), sightline.capture(model, ["nowhere"]):
        pass
    with pytest.raises(RuntimeError, match="saw no attention"), sightline.capture(model):
        pass
    with pytest.raises(ValueError, match=r"query \(16, 0\) lies outside"), sightline.capture(model, queries=[(16, 0)]):
        model(torch.randn(1, 3, 16, 16))


def test_sequences_have_one_row_and_volumes_are_refused():
    line, volume = NonLocalBlock1d(4).eval(), NonLocalBlock3d(4).eval()
    with sightline.capture(torch.nn.Sequential(line)) as maps:
        line(torch.randn(1, 4, 7))
    assert maps[0].dense().shape == (1, 1, 7, 1, 7)
    with pytest.raises(ValueError, match="3 axes"), sightline.capture(torch.nn.Sequential(volume)):
        volume(torch.randn(1, 4, 2, 3, 4))


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("vit_tiny_patch16_224", {"dynamic_img_size": True, "dynamic_img_pad": True, "depth": 2}, (97, 53)),
        ("deit_tiny_distilled_patch16_224", {"depth": 2, "img_size": 32}, (32, 32)),
        ("vit_small_patch16_rope_mixed_224", {"depth": 2, "img_size": 48}, (48, 48)),
    ],
)
def test_vits_of_timm_under_their_fused_kernel(name, options, size):
    torch.manual_seed(0)
    model, images = timm.create_model(name, num_classes=3, **options).eval(), torch.randn(3, 3, *size)
    asked = ["class", (size[0] - 1, size[1] - 1)] + (["distillation"] if "distilled" in name else [])
    with torch.no_grad():
        plain = model(images)
        with sightline.capture(model, "blocks.1.attn", asked) as maps:
            watched = model(images)
    assert torch.equal(plain, watched)
    (one,) = maps
    attn, kept = model.blocks[1].attn, []
    attn.fused_attn = False
    attn.attn_drop.register_forward_pre_hook(lambda _module, args: kept.append(args[0]))
    with torch.no_grad():
        model(images)
    torch.testing.assert_close(one.weights, kept[0][:, :, one.queries], atol=1e-6, rtol=1e-5)
    assert one.query_geometry.stride == (16, 16)
    assert one.dense().shape[-2:] == (-(-size[0] // 16), -(-size[1] // 16))
    assert one.queries[0] == 0
    rest = one.dense().sum((-2, -1)) + sum(one.to_tokens().values())
    torch.testing.assert_close(rest, torch.ones_like(rest))


class Largest(TorchDispatchMode):
    """Notes the most elements that any tensor made inside has."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return made


@pytest.mark.parametrize(
    "name", ["vit_mini", "nonlocal_resnet_mini", "aa_resnet_mini", "sasa_resnet_mini", "ccnet_resnet_mini"]
)
def test_one_query_never_makes_all_pairs(name):
    side = 64 if "sasa" in name else 128  # 64 x 64 tokens
    model, images = build(name), torch.randn(1, 3, side, side)
    with torch.no_grad(), record(model, list(taps(model))[:1]) as calls:
        model(images)
    call = calls[-1]
    tokens = call.height * call.width
    assert tokens == 4096
    received = max(one.numel() for one in call.operands.tensors if one is not None)
    with Largest() as made:
        weights = call.weights(call.queries[-1:])
    assert weights.shape[2] == 1
    assert made.elements <= received < tokens * tokens
    few = call.queries[::64]
    with Largest() as made:
        asked = call.weights(few)
    assert made.elements <= max(asked.numel(), CHUNK, received)


def test_compiled_nets_and_missing_tokens_are_refused():
    model = build("vit_mini")
    with pytest.raises(ValueError, match=r"is compiled.*_orig_mod"), sightline.capture(torch.compile(model)):
        pass
    with pytest.raises(ValueError, match="no 'distillation' token"), sightline.capture(model, queries="distillation"):
        model(torch.randn(1, 3, 16, 16))
    swin = torch.nn.Sequential(torch.nn.MultiheadAttention(4, 2))
    with (
        pytest.raises(ValueError, match="of a kind that capture does not know"),
        sightline.capture(swin),
    ):
        pass


def test_hooks_are_gone_afterwards():
    model = build("vit_mini")
    with torch.no_grad(), sightline.capture(model) as maps:
        model(torch.randn(1, 3, 16, 16))
    count = len(maps)
    model(torch.randn(1, 3, 16, 16))
    assert len(maps) == count


def test_a_pixel_may_be_numpys():
    model, images = build("vit_mini"), torch.randn(1, 3, 16, 16)
    with torch.no_grad(), sightline.capture(model, queries=np.unravel_index(40, (16, 16))) as maps:
        model(images)
    assert maps[0].queries.tolist() == [1 + 1 * 8 + 4]


def test_maps_of_several_forward_passes_are_not_composed():
    model = build("ccnet_resnet_mini")
    with torch.no_grad(), sightline.capture(model, queries=(3, 5)) as maps:
        model(torch.randn(1, 3, 16, 16))
        model(torch.randn(1, 3, 16, 16))
    assert [one.call for one in maps] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="in several forward passes; capture one"):
        maps.composed(maps.layers[0])
