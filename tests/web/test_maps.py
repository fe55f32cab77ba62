"""What the page draws from is what `capture` sees, and its numbers are those of loops written by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sightline.data import normalise
from sightline.explain import METHODS, capture, explain, methods_for
from sightline.web.limits import Refused
from sightline.web.maps import look
from sightline.web.methods import QUICKER, look_by
from sightline.web.nets import _named
from sightline.web.pack import pack

ALL = 10**9


def test_equal_names_are_numbered_past_names_that_look_so(nets):
    one = nets["sasa_resnet_mini"]
    given = [replace(one, name=name) for name in ("vit", "vit-2", "vit", "vit", "vit_tall")]
    assert list(_named(given)) == ["vit", "vit-2", "vit-3", "vit-4", "vit_tall"]


@pytest.fixture(scope="module")
def image(nets):
    size = next(iter(nets.values())).meta.image_size
    return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def unpacked(data):
    """What maps.js does."""
    length = int(np.frombuffer(data, "<u4", 1)[0])
    header, at = json.loads(data[4 : 4 + length]), 4 + length
    groups, queries, entries = header["shape"]
    numbers = np.frombuffer(data, "<f4", groups * queries * 4, at).reshape(groups, queries, 4)
    at += numbers.nbytes
    targets = None
    if header["sparse"]:
        targets = np.frombuffer(data, "<i4", queries * entries, at).reshape(queries, entries)
        at += targets.nbytes
    cells = np.frombuffer(data, "u1", groups * queries * entries, at).reshape(groups, queries, entries)
    assert at + cells.nbytes == len(data)
    return header, numbers, targets, cells


def spread(values, targets, size):
    """One query's entries over the grid of keys."""
    if targets is None:
        return np.asarray(values, dtype=np.float64)
    dense = np.zeros(size)
    for value, key in zip(values, targets, strict=True):
        if key >= 0:
            dense[key] += value
    return dense


def captured(net, image, layer):
    with torch.no_grad(), capture(net.model, layers=[layer.name]) as maps:
        net.model(normalise(image[None], net.meta.mean, net.meta.std))
    return maps


CASES = [
    (name, number)
    for name, count in (
        ("sasa_resnet_mini", 2),
        ("san_mini_pairwise", 2),
        ("san_mini_patchwise", 1),
        ("ccnet_resnet_mini", 3),
    )
    for number in range(count)
] + [("deit_mini_distilled", 1)]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_maps_are_those_of_capture(nets, image, name, number):
    net = nets[name]
    layer = net.layers[number]
    found = look(net, image, layer, ALL)
    maps = captured(net, image, layer)
    if layer.passes > 1 and layer.passed is None:
        expected = maps.composed(layer.name)[:, None][0]
    else:
        expected = maps[layer.name][layer.passed or 0].dense()[0]
    expected = expected.flatten(2).double().numpy()  # G, Q, K
    if len(found.groups) > 1:
        expected = np.concatenate([expected.mean(0, keepdims=True), expected])
    for group in range(len(found.groups)):
        for query in (0, 1, found.weights.shape[1] // 2, found.weights.shape[1] - 1):
            targets = None if found.targets is None else found.targets[query]
            got = spread(found.weights[group, query], targets, expected.shape[-1])
            np.testing.assert_allclose(got, expected[group, query], atol=1e-6)


@pytest.mark.parametrize("name", ["sasa_resnet_mini", "san_mini_pairwise", "san_mini_patchwise", "deit_mini_distilled"])
def test_numbers_are_those_of_a_hand_loop(nets, image, name):
    net = nets[name]
    layer = net.layers[1]
    found = look(net, image, layer, ALL)
    one = captured(net, image, layer)[layer.name][0]
    rows, cols = one.key_grid
    query_rows, query_cols = one.query_grid
    side = net.meta.image_size[0]
    dense = one.dense()[0].double().mean(0)  # Q, rows, cols
    tokens = one.weights[0].double().mean(0)[:, : layer.tokens]
    for row, col in ((0, 0), (query_rows // 2, 1), (query_rows - 1, query_cols - 1)):
        query = layer.tokens + row * query_cols + col
        entropy = distance = total = 0.0
        weights = {}
        for i in range(rows):
            for j in range(cols):
                weights[i, j] = abs(float(dense[query, i, j]))
        everything = sum(weights.values()) + float(tokens[query].abs().sum())
        for share in [weight / everything for weight in weights.values()] + (tokens[query].abs() / everything).tolist():
            entropy -= share * math.log2(share) if share > 0 else 0.0
        for (i, j), weight in weights.items():
            down = (i + 0.5) * side / rows - (row + 0.5) * side / query_rows
            across = (j + 0.5) * side / cols - (col + 0.5) * side / query_cols
            distance += weight * math.hypot(down, across)
            total += weight
        expected = [max(weights.values()), entropy, distance / total, float(tokens[query].abs().sum()) / everything]
        np.testing.assert_allclose(found.numbers[0, query], expected, rtol=2e-4, atol=1e-6)
    assert np.isnan(found.numbers[:, : layer.tokens, 2]).all()


@pytest.mark.parametrize("name", ["sasa_resnet_mini", "san_mini_patchwise", "deit_mini_distilled"])
def test_packed_maps_are_within_half_a_step(nets, image, name):
    found = look(nets[name], image, nets[name].layers[0], ALL)
    header, numbers, targets, cells = unpacked(pack(found, ALL))
    assert header["groups"] == list(found.groups)
    assert header["complete"]
    np.testing.assert_array_equal(numbers, found.numbers)
    if targets is not None:
        np.testing.assert_array_equal(targets, found.targets)
    shares = (cells.astype(float) - 128) / 127 if header["signed"] else cells / 255
    step = 1 / 127 if header["signed"] else 1 / 255
    assert np.abs(shares * numbers[..., :1] - found.weights).max() <= 0.5001 * step * numbers[..., 0].max()


def test_what_is_too_much_comes_one_head_at_a_time(nets, image):
    net = nets["sasa_resnet_mini"]
    found = look(net, image, net.layers[0], ALL)
    whole = unpacked(pack(found, ALL))
    mean = unpacked(pack(found, found.weights.size - 1))
    assert mean[0]["groups"] == ["mean"]
    assert not mean[0]["complete"]
    assert mean[0]["all_groups"] == whole[0]["groups"]
    third = unpacked(pack(look_by("attention", net, image, 0, None, "2", ALL), ALL))
    np.testing.assert_array_equal(third[3][0], whole[3][whole[0]["groups"].index("2")])


def test_large_grids_are_sampled_in_the_middle_of_blocks(nets, image):
    net = nets["sasa_resnet_mini"]
    layer = net.layers[0]
    whole = look(net, image, layer, ALL)
    rows, cols = layer.grid
    entries = whole.weights.shape[-1]
    few = look(net, image, layer, entries * (rows * cols // 4))
    assert (few.queries.rows, few.queries.cols) == (rows // 2, cols // 2)
    taken = [(2 * r + 1) * cols + 2 * c + 1 for r in range(rows // 2) for c in range(cols // 2)]
    np.testing.assert_array_equal(few.weights, whole.weights[:, taken])
    assert few.queries.stride == tuple(2 * one for one in whole.queries.stride)


def test_capture_leaves_a_net_as_it_was(nets, image):
    net = nets["deit_mini_distilled"]
    x = normalise(image[None], net.meta.mean, net.meta.std)
    with torch.no_grad():
        before = net.model(x)
        look(net, image, net.layers[0], ALL)
        assert torch.equal(net.model(x), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.model.modules())


DEAR = {"integrated_gradients", "occlusion", "receptive_field"}  # the first two take the way of gradient_input


@pytest.mark.parametrize("name", ["resnet_mini", "deit_mini_distilled"])
def test_every_method_answers_or_says_why_not(nets, image, name):
    net = nets[name]
    fits = {method.name for method in methods_for(net.model)}
    for method in sorted(METHODS):
        if method not in fits:
            with pytest.raises(Refused, match="needs one"):
                look_by(method, net, image, 0, None, None, ALL)
        elif method not in DEAR or (name, method) == ("resnet_mini", "receptive_field"):
            found = look_by(method, net, image, 0, None, None, ALL)
            assert np.isfinite(found.weights).all(), method
            header, *_ = unpacked(pack(found, ALL))
            assert header["by_position"] == (METHODS[method].per == "query")


@pytest.mark.parametrize("method", ["rollout", "receptive_field"])
@pytest.mark.parametrize("name", ["deit_mini_distilled", "ccnet_resnet_mini"])
def test_a_method_asked_by_position_is_explain_at_that_position(nets, image, name, method):
    net = nets[name]
    x = normalise(image[None], net.meta.mean, net.meta.std)
    found = look_by(method, net, image, len(net.layers) - 1, None, None, ALL)
    given = {"layer": net.layers[-1].name, **QUICKER.get(method, {})}
    for r, c in ((0, 0), (found.queries.rows - 1, 1)):
        at = tuple(min(int((one + 0.5) * stride), 31) for one, stride in zip((r, c), found.queries.stride, strict=True))
        expected = explain(net.model, x, method, at=at, **given).map.flatten()
        got = found.weights[0, found.queries.prefix + r * found.queries.cols + c]
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-6)
