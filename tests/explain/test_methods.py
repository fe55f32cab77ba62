"""Methods against what they are by definition: dense products, torch's own gradients, loops by hand."""

import pytest
import timm
import torch

import sightline
from sightline.explain import METHODS, agreement, attention_distance, explain, faithfulness, methods_for, query_maps
from sightline.explain.compose import spread
from sightline.explain.geometry import between
from sightline.explain.record import record
from sightline.explain.values import values_of, weight_gradient
from sightline.layers import AttentionStem2d
from tests.explain.nets import ATTENTION

MINIS = [name for name in ATTENTION if "hybrid" not in name]


def build(name: str, size: int = 8) -> torch.nn.Module:
    """A net with random weights everywhere, gates and classifier too, so that every answer depends on its picture."""
    torch.manual_seed(0)
    model = sightline.create_model(name, num_classes=5, img_size=size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("name", MINIS)
def test_gradients_of_weights_are_those_of_the_output(name):
    """sum over s of w_qs dL/dw_qs is sum over channels of y_q dL/dy_q: layouts of heads, groups and borders must all be right."""
    _check_gradients_of_weights(build(name).double())


def test_gradients_of_the_stems_weights_count_the_mixtures():
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 5)
    model = torch.nn.Sequential(AttentionStem2d(3, 16), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head)
    _check_gradients_of_weights(model.double().eval())


def _check_gradients_of_weights(model):
    images, gradients = torch.randn(2, 3, 7, 5, dtype=torch.float64), []
    with record(model) as calls:
        logits = model(images.requires_grad_(True))
    for call in calls:
        call.output.register_hook(gradients.append)
    torch.autograd.grad(logits[:, 1].sum(), images)
    for call, gradient in zip(reversed(calls), gradients, strict=True):
        values, queries = values_of(call, gradient), call.queries
        of_weights = (call.weights(queries) * weight_gradient(call, values, queries)).sum(-1)  # B, G, Q
        outputs = values_of(call, call.output.detach()).gradient  # the output in the gradient's layout: B, G, Q, E
        expected = (outputs * values.gradient).sum(-1)
        torch.testing.assert_close(of_weights, expected)


def test_gradient_of_patchwise_weights_is_autograds():
    """There the logits are the weights, so autograd gives the truth entry by entry."""
    model, images = build("san_mini_patchwise").double(), torch.randn(1, 3, 6, 5, dtype=torch.float64)
    got = {}
    with record(model, "stages.0.blocks.0.attention") as calls:
        logits = model(images.requires_grad_(True))
    (call,) = calls
    weights = call.operands.tensors[0]  # B, G, K*K, h, w
    call.output.register_hook(lambda gradient: got.update(y=gradient))
    (truth,) = torch.autograd.grad(logits[0, 2], weights)
    mine = weight_gradient(call, values_of(call, got["y"]), call.queries)
    torch.testing.assert_close(mine, truth.flatten(3).transpose(2, 3))


def plain_attention(model, images):
    """The attention (B, N, L, L) of every block of timm's ViT, with its graph, by its own unfused path."""
    kept, handles = [], []
    for block in model.blocks:
        block.attn.fused_attn = False
        handles.append(block.attn.attn_drop.register_forward_pre_hook(lambda _m, args: kept.append(args[0])))
    logits = model(images)
    for block, handle in zip(model.blocks, handles, strict=True):
        block.attn.fused_attn = True
        handle.remove()
    return logits, kept


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=4, depth=3, dynamic_img_size=True).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def test_rollout_is_the_product_of_dense_maps(vit):
    images = torch.randn(2, 3, 48, 32)
    _, maps = plain_attention(vit, images)
    product = torch.eye(7)
    for one in maps:
        product = (0.5 * torch.eye(7) + 0.5 * one.mean(1)) @ product
    found = explain(vit, images, "rollout")
    torch.testing.assert_close(found.maps.flatten(1), product[:, 0, 1:].detach(), atol=1e-5, rtol=1e-4)
    pixel = explain(vit, images, "rollout", at=(17, 31))
    torch.testing.assert_close(pixel.maps.flatten(1), product[:, 1 + 3, 1:].detach(), atol=1e-5, rtol=1e-4)


def test_gradient_rollout_is_chefers_rule_on_dense_maps(vit):
    images, target = torch.randn(2, 3, 48, 32), [3, 1]
    logits, maps = plain_attention(vit, images)
    gradients = torch.autograd.grad(logits[[0, 1], target].sum(), maps)
    relevance = torch.eye(7).expand(2, 7, 7)
    for one, gradient in zip(maps, gradients, strict=True):
        relevance = relevance + (one * gradient).relu().mean(1) @ relevance
    found = explain(vit, images, "gradient_rollout", target=target)
    expected = relevance[:, 0, 1:].detach()
    torch.testing.assert_close(found.maps.flatten(1), expected, atol=1e-7, rtol=1e-3)
    assert expected.abs().max() > 1e-6


def test_rollout_of_windows_is_the_product_of_their_dense_maps():
    model, images = build("sasa_resnet_mini"), torch.randn(1, 3, 8, 7)
    with record(model) as calls, torch.no_grad():
        model(images)
    mass, above = torch.zeros(1, 2 * 2), None
    mass[0, 3] = 1
    for call in reversed(calls):
        if above is not None:
            rows, cols = between(above, call.query_geometry)
            mass = mass @ torch.kron(rows, cols)
        elif (call.height, call.width) != (2, 2):
            mass = torch.zeros(1, call.height * call.width)
            mass[0, call.query_geometry.flat((7, 6))] = 1
        dense = torch.zeros(call.height * call.width, call.height * call.width)
        weights, targets = (
            call.weights(call.queries)[0].mean(0),
            call.support.targets(call.height, call.width, call.queries),
        )
        for query in range(len(dense)):
            for weight, target in zip(weights[query], targets[query], strict=True):
                if target >= 0:
                    dense[query, target] += weight
        mass, above = 0.5 * mass + 0.5 * mass @ dense, call.geometry
    found = explain(model, images, "rollout", at=(7, 6))
    torch.testing.assert_close(found.map.flatten(), mass[0], atol=1e-5, rtol=1e-4)


def test_entries_outside_the_map_count_for_no_pixel():
    """LR-Net and SAN give weight to the zeros around a map; spread over its pixels that weight must go nowhere."""
    model = build("lrnet_mini")
    with record(model) as calls, torch.no_grad():
        model(torch.randn(1, 3, 8, 7))
    call = calls[0]
    taps = call.support.targets(call.height, call.width, call.queries)
    weights = torch.rand(1, *taps.shape)
    expected = torch.zeros(1, len(taps), call.height * call.width)
    for query, row in enumerate(taps.tolist()):
        for tap, target in enumerate(row):
            if target >= 0:
                expected[0, query, target] += weights[0, query, tap]
    assert bool((taps < 0).any())
    torch.testing.assert_close(spread(call, call.queries, weights, call.height * call.width), expected)


@pytest.mark.parametrize("name", MINIS)
def test_rollout_loses_nothing(name):
    found = explain(build(name), torch.randn(2, 3, 9, 7), "rollout")
    kept = found.maps.sum((1, 2)) + sum(found.tokens.values(), torch.zeros(2))
    torch.testing.assert_close(kept, torch.ones(2), atol=1e-4, rtol=1e-4)


def test_grad_cam_by_hand():
    model, images = build("resnet_mini"), torch.randn(2, 3, 13, 9)
    features = model.forward_features(images)
    gradient = torch.autograd.grad(model.forward_head(features)[[0, 1], [2, 4]].sum(), features)[0]
    expected = (gradient.mean((2, 3), keepdim=True) * features).sum(1).relu().detach()
    found = explain(model, images, "grad_cam", target=[2, 4])
    torch.testing.assert_close(found.maps, expected, atol=1e-6, rtol=1e-4)
    assert found.geometry.stride == (4, 4)


def test_integrated_gradients_by_a_loop_sum_to_the_difference():
    model, images = build("vit_mini"), torch.randn(2, 3, 8, 8)
    found = explain(model, images, "integrated_gradients", target=3, steps=20)
    total = torch.zeros_like(images)
    for step in range(20):
        point = ((step + 0.5) / 20 * images).requires_grad_(True)
        total += torch.autograd.grad(model(point)[:, 3].sum(), point)[0]
    torch.testing.assert_close(found.maps, (images * total / 20).sum(1), atol=1e-4, rtol=1e-3)
    with torch.no_grad():
        difference = (model(images) - model(torch.zeros_like(images)))[:, 3]
    torch.testing.assert_close(found.maps.sum((1, 2)), difference, atol=0.05, rtol=0.05)


def test_occlusion_by_a_loop():
    model, image = build("ccnet_resnet_mini"), torch.randn(1, 3, 7, 5)
    found = explain(model, image, "occlusion", target=2, patch=3, step=2)
    total, count = torch.zeros(7, 5), torch.zeros(7, 5)
    with torch.no_grad():
        before = model(image).softmax(1)[0, 2]
        for top in (0, 2, 4):
            for left in (0, 2):
                hidden = image.clone()
                hidden[:, :, top : top + 3, left : left + 3] = 0
                total[top : top + 3, left : left + 3] += before - model(hidden).softmax(1)[0, 2]
                count[top : top + 3, left : left + 3] += 1
    torch.testing.assert_close(found.map, total / count, atol=1e-6, rtol=1e-4)


def test_receptive_field_of_a_convolution_is_its_window():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(2, 1, 3, padding=1, bias=False)
    model = torch.nn.Sequential(layer, torch.nn.ReLU())
    found = explain(model, torch.randn(1, 2, 6, 7), "receptive_field", layer="0", at=(3, 4))
    expected = torch.zeros(6, 7)
    expected[2:5, 3:6] = layer.weight[0].square().sum(0).sqrt().detach()
    torch.testing.assert_close(found.map, expected / expected.sum(), atol=1e-6, rtol=1e-4)


def test_attention_distance_by_a_loop():
    model, images = build("lrnet_mini"), torch.randn(1, 3, 8, 6)
    measured = attention_distance(model, images)
    with sightline.capture(model) as maps, torch.no_grad():
        model(images)
    for one, measure in zip(maps, measured, strict=True):
        dense, step = one.dense()[0], one.support.stride  # G, Q, h, w
        stride = one.key_geometry.stride[0]
        for group in range(dense.shape[0]):
            far = 0.0
            for query in range(dense.shape[1]):
                row, col = query // one.query_grid[1] * step, query % one.query_grid[1] * step
                for r in range(dense.shape[2]):
                    for c in range(dense.shape[3]):
                        far += float(dense[group, query, r, c]) * ((r - row) ** 2 + (c - col) ** 2) ** 0.5 * stride
            assert measure.distance[0, group] == pytest.approx(far / dense.shape[1], rel=1e-4)


def test_stem_keeps_its_kernels_under_capture():
    torch.manual_seed(0)
    stem, images = AttentionStem2d(3, 16).eval(), torch.randn(2, 3, 9, 6)
    model = torch.nn.Sequential(stem)
    with torch.no_grad():
        plain = model(images)
        with sightline.capture(model) as maps:
            assert torch.equal(model(images), plain)
    value = stem.value(images).unflatten(1, (4, 4, 4))  # B, M, N, E, H, W
    mixed = torch.einsum("bmnehw,mhw->bnehw", value, tiled(stem.mixture(), 9, 6))
    attended = torch.einsum("bnqhw,bnehw->bneq", maps[0].dense(), mixed).flatten(1, 2).unflatten(2, (9, 6))
    torch.testing.assert_close(attended.detach(), plain, atol=1e-5, rtol=1e-4)


def tiled(mixture, height, width):
    return mixture.unflatten(1, (4, 4)).repeat(1, 3, 2)[:, :height, :width]


def test_all_queries_are_the_single_ones_and_coarse_grids_keep_their_sums():
    model, images = build("vit_mini", 16), torch.randn(1, 3, 16, 12)
    (one,) = query_maps(model, images, "blocks.1.attn", heads="all")
    found = explain(model, images, "attention", layer="blocks.1.attn", head=2, at=(9, 4))
    torch.testing.assert_close(one.at(9, 4)[0, 2], found.map)
    from_class = explain(model, images, "attention", layer="blocks.1.attn", at="class")
    torch.testing.assert_close(one.tokens["class"][0].mean(0), from_class.map)
    (coarse,) = query_maps(model, images, "blocks.1.attn", most_queries=3, most_keys=3)
    assert coarse.weights.shape == (1, 1, 3, 3, 3, 3)
    assert coarse.keys.stride == (6, 4)
    torch.testing.assert_close(
        coarse.weights.sum((-2, -1))[0, 0] + coarse.to_tokens["class"][0, 0], torch.ones(3, 3), atol=1e-5, rtol=1e-5
    )


class Bright(torch.nn.Module):
    """Says class 1 by how bright one corner is: what is faithful is known."""

    def forward(self, x):
        light = x[:, :, :2, :2].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(light), 4 * light], 1)


def test_faithfulness_knows_a_true_map_from_a_false_one():
    images = torch.ones(3, 3, 8, 8)
    truth = explain(Bright(), images, "gradient_input", target=1)
    scores = faithfulness(Bright(), images, truth, steps=16).summary()
    assert scores["deletion_gain"] > 0.1
    assert scores["insertion_gain"] > 0.1
    high = torch.tensor([0.0, 4.0]).softmax(0)[1]
    by_hand = (float(high) / 2 + 15 * 0.5 + 0.25) / 16  # 4 of 64 pixels are gone after one step of sixteen
    assert scores["deletion"] == pytest.approx(by_hand, abs=1e-6)
    false = type(truth)(**{**vars(truth), "maps": -truth.maps})
    assert faithfulness(Bright(), images, false).summary()["deletion_gain"] < 0
    assert agreement(truth, false).tolist() == pytest.approx([-1.0] * 3)
    assert agreement(truth, truth).tolist() == pytest.approx([1.0] * 3)
    with pytest.raises(ValueError, match="the explanation is of 3 pictures"):
        faithfulness(Bright(), images[:2], truth)


def test_questions_that_have_no_answer_say_what_has_one():
    twin, image = build("resnet_mini"), torch.randn(1, 3, 8, 8)
    assert [one.name for one in methods_for(twin)] == [one.name for one in METHODS.values() if not one.needs_attention]
    with pytest.raises(ValueError, match=r"'rollout' does not apply: .*a convolution has no attention map.*grad_cam"):
        explain(twin, image, "rollout")
    for arguments, words in (
        ({"method": "lime"}, "no method 'lime'; known: attention, rollout"),
        ({"method": "occlusion", "at": (1, 1)}, "takes no at; methods that do: attention, rollout, receptive_field"),
        ({"method": "grad_cam", "steps": 3}, "has no option 'steps'; its options: none"),
        ({"method": "grad_cam", "target": 5}, "classes 0 to 4; got target 5"),
        ({"method": "grad_cam", "target": [1, 2]}, "one for each of the 1 pictures; got 2"),
        ({"method": "grad_cam", "layer": "nowhere"}, "no module 'nowhere'"),
        ({"method": "receptive_field", "at": (8, 0)}, "lies outside the image of 8 rows"),
        ({"method": "occlusion", "patch": 2, "step": 3}, "the step be 1 to its side"),
    ):
        with pytest.raises(ValueError, match=words):
            explain(twin, image, **arguments)
    twin.train()
    explain(twin, image, "gradient_input")
    assert twin.training
    assert all(parameter.grad is None for parameter in twin.parameters())
    with pytest.raises(ValueError, match="is of a kind that capture does not know"):
        explain(torch.nn.Sequential(torch.nn.MultiheadAttention(4, 1)), image)


def test_two_passes_compose():
    model, images = build("ccnet_resnet_mini", 16), torch.randn(2, 3, 16, 12)
    with torch.no_grad(), sightline.capture(model, queries=[(3, 2), (15, 11)]) as few:
        model(images)
    with torch.no_grad(), sightline.capture(model) as everything:
        model(images)
    first, second = (one.dense()[:, 0].flatten(2) for one in everything["layer2.0.context"])
    product = (second @ first)[:, few[0].queries].unflatten(2, (8, 6))
    torch.testing.assert_close(few.composed("layer2.0.context"), product, atol=1e-6, rtol=1e-4)
    assert (product > 0).all()


def test_every_part_of_a_net_keeps_its_mode():
    model, images = build("vit_mini").train(), torch.randn(1, 3, 8, 8)
    model.blocks[0].eval()  # frozen while the rest is trained
    before = [module.training for module in model.modules()]
    found = explain(model, images, "rollout")
    faithfulness(model, images, found, steps=1)
    query_maps(model, images)
    assert [module.training for module in model.modules()] == before
    with pytest.raises(ValueError, match="got target 7"):
        explain(model, images, "grad_cam", target=7)
    assert [module.training for module in model.modules()] == before


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_works_in_inference_mode_and_in_bfloat16(name):
    model, images = build("vit_mini"), torch.randn(2, 3, 8, 8)
    expected = explain(model, images, name).maps
    with torch.inference_mode():
        torch.testing.assert_close(explain(model, images.clone(), name).maps, expected)
    model.bfloat16()
    scores = faithfulness(
        model, images, explain(model, images, name), steps=1
    )  # pictures are float32, as a loader gives them
    assert scores.found.deletion.isfinite().all()


def test_rollout_under_autocast_loses_nothing():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = explain(build("sasa_resnet_mini"), torch.randn(1, 3, 9, 7), "rollout").maps
    torch.testing.assert_close(maps.sum(), torch.tensor(1.0))


def test_weights_of_timms_layers_under_autocast_are_those_of_the_rounded_operands():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=1, img_size=32).eval()
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight *= 40  # logits of some tens, whose rounding shows
        kept = []
        model.blocks[0].attn.qkv.register_forward_hook(lambda _module, _args, output: kept.append(output))
        with torch.autocast("cpu", dtype=torch.bfloat16), sightline.capture(model) as maps:
            model(torch.randn(1, 3, 32, 32))
    query, key, _ = kept[0].double().unflatten(2, (3, 3, -1)).permute(2, 0, 3, 1, 4)
    expected = (query * model.blocks[0].attn.scale @ key.transpose(2, 3)).softmax(-1)
    torch.testing.assert_close(maps[0].weights, expected.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["ours", "timm's"])
def test_a_wrapped_transformer_is_read_where_it_is(kind):
    torch.manual_seed(0)
    tiny = {"num_classes": 3, "depth": 2, "img_size": 32}
    net = (
        build("vit_mini", 32) if kind == "ours" else timm.create_model("deit_tiny_distilled_patch16_224", **tiny).eval()
    )
    wrapped, images = torch.nn.Sequential(torch.nn.Identity(), net), torch.randn(1, 3, 32, 32)
    expected, found = explain(net, images, "rollout"), explain(wrapped, images, "rollout")
    torch.testing.assert_close(found.maps, expected.maps)
    assert found.tokens.keys() == expected.tokens.keys()
    assert torch.equal(
        explain(wrapped, images, "attention", at="class").maps, explain(net, images, "attention", at="class").maps
    )
    expected, found = explain(net, images, "grad_cam"), explain(wrapped, images, "grad_cam")
    assert found.layer == f"1.{expected.layer}"
    torch.testing.assert_close(found.maps, expected.maps)
