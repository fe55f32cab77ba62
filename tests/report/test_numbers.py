"""Every number the page computes, against loops by hand and known values."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from sightline.report import curves, examples, numbers
from sightline.report.arrays import Layer
from sightline.report.attention import Net, _encode, _fit, map_numbers, quantise
from sightline.report.axes import linear_ticks, log_ticks, tick_text
from sightline.report.confusion import confusions
from sightline.report.families import FAMILIES, OTHER, family_of, labels
from sightline.report.load import read_comparison, read_runs
from sightline.report.placement import overlap, place
from sightline.report.provenance import commands
from sightline.report.scatter import scatters
from sightline.report.standing import holm, standings
from sightline.report.summary import summarise
from tests.report import sample


@pytest.mark.parametrize(
    ("rows", "cols", "key_rows", "key_cols"), [(8, 8, 16, 16), (4, 3, 5, 7), (1, 8, 1, 3), (8, 8, 2, 2)]
)
def test_map_numbers_by_hand(rows, cols, key_rows, key_cols):
    weights = np.random.default_rng(1).normal(size=(2, rows, cols, key_rows, key_cols))
    got = map_numbers(weights)
    for p, i, j in np.ndindex(2, rows, cols):
        one = [[abs(float(w)) for w in line] for line in weights[p, i, j]]
        total = sum(map(sum, one))
        entropy = -sum(w / total * math.log2(w / total) for line in one for w in line if w)
        row, col = int((i + 0.5) * key_rows / rows), int((j + 0.5) * key_cols / cols)
        near = sum(
            one[r][c]
            for r in range(max(row - 1, 0), min(row + 2, key_rows))
            for c in range(max(col - 1, 0), min(col + 2, key_cols))
        )
        assert got[p, i, j] == pytest.approx([max(map(max, one)), 2**entropy, near / total], rel=1e-5)


def test_map_numbers_of_plain_maps():
    even, single, nothing = np.full((1, 1, 1, 4, 5), 0.05), np.zeros((1, 1, 1, 4, 5)), np.zeros((1, 1, 1, 4, 5))
    single[..., 2, 2] = 1
    assert map_numbers(even)[0, 0, 0, 1] == pytest.approx(20)
    assert map_numbers(single)[0, 0, 0] == pytest.approx([1, 1, 1])
    assert map_numbers(nothing)[0, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("signed", [False, True])
def test_quantised_maps_stay_within_half_a_step(signed):
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(2, 3, 3, 4, 5)) if signed else rng.uniform(size=(2, 3, 3, 4, 5))
    cells = quantise(weights, signed).astype(float)
    back = (cells - 128) / 127 if signed else cells / 255
    largest = np.abs(weights).max(axis=(-2, -1), keepdims=True)
    np.testing.assert_allclose(
        back * largest, weights, atol=float(largest.max()) * 0.5 / (127 if signed else 255) + 1e-9
    )
    assert quantise(np.zeros((1, 1, 1, 2, 2)), signed).max() == (128 if signed else 0)


def test_layers_are_dropped_from_the_largest_on_but_never_the_one_shown():
    rng = np.random.default_rng(3)
    layers = [
        _encode(Layer(f"layer{side}", "op", False, rng.uniform(size=(1, 2, 2, side, side)))) for side in (16, 8, 4)
    ]
    net = Net("vit_mini", "vit", 0, "", [0], ["a"], layers, 2)
    kept, left_out = _fit([net], layers[1].size + layers[2].size)
    assert [layer.name for layer in kept[0].layers] == ["layer8", "layer4"]
    assert left_out == ["vit_mini: layer16"]
    kept, _ = _fit([net], 1)
    assert [layer.name for layer in kept[0].layers] == ["layer4"]
    assert kept[0].shown == 0


def test_formats():
    assert [numbers.percent(v) for v in (0.98611, 1.0, None)] == ["98.6%", "100.0%", "–"]
    assert [numbers.points(v) for v in (-0.0083, 0.0083, 0.0001, -0.0001, None)] == ["−0.8", "+0.8", "0.0", "0.0", "–"]
    assert [numbers.p_value(v) for v in (0.00012, 0.0314, 0.57, 1.0)] == ["< 0.001", "0.031", "0.57", "1.00"]
    assert numbers.column([171_818, 188_692, None], numbers.THOUSANDS) == ("thousand", ["172", "189", "–"])
    assert numbers.column([8.9e6, 16.2e6], numbers.THOUSANDS) == ("million", ["8.9", "16.2"])
    assert numbers.column([0.0, 0.0]) == ("", ["0", "0"])
    assert numbers.significant(0.01234) == "0.0123"
    assert numbers.significant(98765.4) == "98,765"


def test_wilson_known_values():
    assert numbers.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    assert numbers.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    with pytest.raises(ValueError, match="got right=3, total=2"):
        numbers.wilson(3, 2)


def test_holm_known_example():
    p = {"a": 0.016, "b": 0.04, "c": 0.03, "d": 0.005}  # at 5%: 0.005 <= 1/80, 0.016 <= 1/60, 0.03 > 1/40, so 0.04 too
    assert holm(p) == {"d": True, "a": True, "c": False, "b": False}


def test_ticks_are_round_and_few():
    assert linear_ticks(0.93, 1.0, 5) == [0.94, 0.96, 0.98, 1.0]
    assert linear_ticks(1, 30) == [5, 10, 15, 20, 25, 30]
    assert log_ticks(2.1, 12.9) == [3, 4, 6, 8, 10]
    assert log_ticks(1, 1e6) == pytest.approx([1, 10, 100, 1e3, 1e4, 1e5, 1e6])
    assert tick_text(0.94, [0.94, 0.96]) == "0.94"


def test_labels_of_a_crowd_do_not_collide():
    rng = np.random.default_rng(4)
    points = [(float(x), float(y)) for x, y in rng.uniform((250, 150), (400, 260), (10, 2))]
    texts = [
        "Non-local",
        "CCNet",
        "SASA",
        "LR-Net",
        "AA",
        "SAN pairwise",
        "SAN patchwise",
        "ViT",
        "DeiT distilled",
        "Convolution",
    ]
    placed = place(points, texts, (46, 14, 606, 358), 13)
    for i, one in enumerate(placed):
        assert one.box[0] >= 46
        assert one.box[2] <= 606
        for other in placed[:i]:
            assert overlap(one.box, other.box) == 0, (one.text, other.text)


def test_a_label_at_the_top_keeps_off_the_title_of_its_axis(written):
    nets = [
        replace(standings(read_comparison(written))[0], accuracy=1.0, low=0.99, high=1.0, macs=10**6 * (4 + i))
        for i in range(4)
    ]
    for one in scatters(nets, "macs", "multiply-adds"):
        title = (one.frame[0] + 5, one.frame[1] - one.size, one.frame[0] + 5 + 7 * one.size, one.frame[1] + one.size)
        assert all(overlap(point.label.box, title) == 0 for point in one.points)


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("family", [*FAMILIES, OTHER], ids=lambda family: family.key)
def test_colours_stand_out_from_the_paper(family):
    assert (luminance("#fcfbf8") + 0.05) / (luminance(family.light) + 0.05) >= 3.5
    assert (luminance(family.dark) + 0.05) / (luminance("#16171a") + 0.05) >= 3.5


def test_families_and_labels():
    names = {
        "sasa_resnet_mini": "SASA",
        "san_mini_pairwise": "SAN pairwise",
        "lrnet50": "LR-Net 50",
        "resnet_mini": "Convolution",
        "mine": "mine",
    }
    assert labels(list(names)) == names
    assert family_of("deit_s16").name == "DeiT"
    assert labels(["vit_mini", "vit_resnet_mini"]) == {"vit_mini": "vit_mini", "vit_resnet_mini": "vit_resnet_mini"}


def test_summary_tells_leader_losses_and_noise(written):
    comparison = read_comparison(written)
    lines = {
        "resnet_mini": (0.95, None, None),
        "ccnet_resnet_mini": (0.96, 0.01, 0.4),
        "san_mini_patchwise": (0.90, -0.05, 0.001),
    }
    summary = [
        {"model": model, "accuracy_mean": mean, "accuracy_low": mean - 0.02, "accuracy_high": mean + 0.02,
         "paired_difference": difference, "paired_p": p, "train_images_per_second": 100.0 if difference is None else 50.0}
        for model, (mean, difference, p) in lines.items()
    ]  # fmt: skip
    told = type(comparison)(**{**vars(comparison), "summary": summary})
    prose = " ".join(summarise(told, standings(told)))
    assert (
        "CCNet has the highest test accuracy, 96.0% (94.0% to 98.0%), 1.0 points above the convolutional twin's 95.0%"
        in prose
    )
    assert "within noise by the paired test (p = 0.40)" in prose
    assert (
        "Beyond noise, SAN patchwise (−5.0 points) is worse than the twin. The other difference is within noise."
        in prose
    )
    assert "Every other net trains slower than the twin" in prose
    assert "DeiT distilled also learned from a teacher's answers" not in prose
    assert "One seed a net" not in prose or all(one.finished == 1 for one in standings(told))


def test_one_net_has_no_rank(written):
    comparison = read_runs([written / "resnet_mini-s0"])
    text = " ".join(summarise(comparison, standings(comparison)))
    assert "Convolution reaches a test accuracy of " in text
    assert "highest" not in text


def test_examples_by_hand(written):
    comparison = read_comparison(written)
    with np.load(written / "deit_mini_distilled-s0" / "predictions.npz") as stored:
        label, said, probability = stored["label"], stored["predicted"], stored["probability"].astype(float)
    errors = sorted((i for i in range(40) if label[i] != said[i]), key=lambda i: -probability[i, said[i]])
    net = next(one for one in examples.all_examples(comparison, None).nets if one.model == "deit_mini_distilled")
    assert [one.index for one in net.errors] == errors[:6]
    assert net.errors_in_all == len(errors)
    assert all(one.right for one in net.narrow + net.sure)
    assert net.sure[0].probability == pytest.approx(
        max(probability[i, said[i]] for i in range(40) if label[i] == said[i])
    )
    few = examples.all_examples(comparison, {0, 1, 2})
    assert few.indices <= {0, 1, 2}
    assert few.limited


def test_a_net_that_diverged_gave_its_answers_without_a_probability():
    one = examples.Example(0, "cat", "dog", math.nan, False)
    assert (one.sureness, replace(one, probability=0.256).sureness) == ("–", "0.26")


def test_divided_pictures_divide(written):
    for one in examples.all_examples(read_comparison(written), None).divided:
        assert one.wrong
        assert one.right
        assert all(said.truth == one.truth != said.answer for _, said in one.wrong)


def test_confusion_adds_seeds_and_names_the_worst(tmp_path):
    sample.write_comparison(tmp_path, ["vit_mini"], (0, 1), tested=40, layers=1, queries=2, keys=2, shown=1, epochs=1)
    matrices = [
        json.loads((tmp_path / f"vit_mini-s{seed}" / "metrics.json").read_text())["test"]["confusion"]
        for seed in (0, 1)
    ]
    (one,) = confusions(read_comparison(tmp_path))
    assert one.counts == np.add(*map(np.array, matrices)).tolist()
    worst = max(one.counts[i][j] for i in range(10) for j in range(10) if i != j)
    assert one.pairs[0][2] == worst


def test_commands_quote_and_name_the_commit(tmp_path):
    sample.write_comparison(
        tmp_path / "it's",
        ["vit_mini"],
        source="my data; rm -rf ~",
        tested=10,
        layers=1,
        queries=2,
        keys=2,
        shown=1,
        epochs=1,
    )
    checkout, compare = commands(read_comparison(tmp_path / "it's"))
    assert checkout.startswith("git checkout 5f3fbfe0")
    assert "--data 'my data; rm -rf ~' --models vit_mini --seeds 1" in compare


def test_a_lone_epoch_is_a_ring_around_its_place():
    d = curves._path([(10.0, 4.0)])
    assert d == "M7.5,4a2.5,2.5 0 1,0 5,0a2.5,2.5 0 1,0 -5,0"
    assert curves._path([(10.0, 4.0), (11.5, 3.0)]) == "M10,4L11.5,3"
    assert curves._path([]) == ""
