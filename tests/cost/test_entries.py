"""The catalogue's counts: exact integers, the papers' printed ones, the page that shows both."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import sightline
from sightline.backbones import NETS, own_classes, own_size
from sightline.cost import count, count_entry, known_counts
from sightline.cost.entries import COUNTS, NOTHING, Entry

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    return {name: count_entry(name) for name in sightline.list_models()}


@pytest.fixture(scope="module")
def script():
    spec = spec_from_file_location("docs_catalogue", DOCS / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_counts_are_the_committed_ones(entries):
    counted = {name: (one.cost.parameters, one.cost.macs) for name, one in entries.items()}
    assert counted == known_counts(), "a net changed its size: `make catalogue`, if that was meant"


def test_page_and_listing_are_in_step(entries, script):
    assert script.page(list(entries.values())) == (DOCS / "catalogue.md").read_text(), "run `make catalogue`"
    assert script.counts(list(entries.values())) == COUNTS.read_text()


def test_parameters_are_as_printed_or_explained(entries):
    off = [name for name, one in entries.items() if not one.as_printed and not one.printed.reason]
    assert off == []
    far = [name for name, one in entries.items() if abs(one.parameters_off or 0) > 0.01 and "mini" not in name]
    assert far == ["deit_ti16"]  # 5.7 million, printed as 5


def test_multiply_adds_are_as_printed_or_explained(entries):
    off = [name for name, one in entries.items() if abs(one.flops_off or 0) > 0.03 and not one.printed.reason]
    assert off == []


@pytest.mark.parametrize("name", [name for name, net in NETS.items() if net.printed])
def test_what_is_printed_is_quoted_as_printed(name):
    printed = NETS[name].printed
    assert printed.source
    assert printed.flops_per_mac in (1, 2)
    for number in (printed.parameters, printed.flops):
        assert re.fullmatch(r"(\d+(\.\d+)?)?", number)
    assert printed.parameters or printed.flops or printed.reason


@pytest.mark.parametrize(
    ("ours", "theirs", "parameters"),
    [
        ("conv_resnet50", "resnet50", 25_557_032),
        ("conv_resnet26_lrnet", "resnet26", 15_995_176),
        ("conv_resnet34", "resnet34", 21_797_672),
        ("se_resnet50", "seresnet50", 28_088_024),
    ],
)
def test_convolutional_nets_count_as_torch_counts_timms(entries, ours, theirs, parameters):
    with torch.device("meta"):
        model = timm.create_model(theirs).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert entries[ours].cost.parameters == parameters == sum(one.numel() for one in model.parameters())
    assert 2 * entries[ours].cost.macs == counter.get_total_flops()


@pytest.mark.parametrize("name", ["vit_ti16", "vit_b16_r50", "deit_s16_distilled", "nonlocal_resnet50_1"])
def test_closed_forms_agree_with_torchs_counter(name, entries):
    """Where an op is matrix products torch counts them itself, and every convolution and linear map around it."""
    with torch.device("meta"):
        model = sightline.create_model(name).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert 2 * entries[name].cost.macs == counter.get_total_flops()


def test_sasa_counts_the_papers_way_give_the_papers_numbers(entries):
    """The paper's way: q . r for every tap. K*K*2C + K*C of a window become K*K*3C; a block of the stem has 16 sums, not 4."""
    for name, one in entries.items():
        if one.printed.flops and name.startswith("sasa_resnet"):
            extra = 0
            for call in one.cost.ops:
                if call.op == "stem_attention":
                    extra += 224 * 224 * 64 * (16 - 4)
                else:
                    taps = int(re.search(r"k(\d+)$", name)[1]) if re.search(r"k\d+$", name) else 7
                    extra += call.cost.macs * (taps - 1) // (2 * taps + 1)
            printed = float(one.printed.flops) * 1e9
            assert 2 * (one.cost.macs + extra) == pytest.approx(printed, rel=0.02), name


def test_nonlocal_and_criss_cross_ratios(entries):
    base, blocks = entries["conv_resnet101"].cost, entries["nonlocal_resnet101"].cost
    assert blocks.macs / base.macs == pytest.approx(1.19, abs=0.005)
    assert blocks.parameters / base.parameters == pytest.approx(1.17, abs=0.005)
    assert entries["nonlocal_resnet50"].cost.parameters / base.parameters == pytest.approx(0.74, abs=0.005)
    with torch.device("meta"):
        model = sightline.create_model("ccnet_resnet50").neck.attention
    attention = count(model, (97, 97), in_chans=512)
    assert f"{2 * attention.macs / 1e9:.2f}" == "16.52"
    assert attention.parameters == 328_321


def test_as_printed_rounds_as_the_print_does(entries):
    one = entries["conv_resnet50"]
    assert one.as_printed
    assert one.parameters_off == pytest.approx(25_557_032 / 25.6e6 - 1)
    assert not entries["lrnet26"].as_printed
    assert count_entry("conv_resnet50", num_classes=10).printed.parameters == ""


def test_own_size_and_classes():
    assert (own_size("aa_wide_resnet28_10"), own_classes("aa_wide_resnet28_10")) == ((32, 32), 100)
    assert (own_size("sasa_resnet_mini"), own_classes("sasa_resnet_mini")) == ((32, 32), 10)
    assert (own_size("lrnet50"), own_classes("resnet18")) == ((224, 224), 1000)
    with pytest.raises(ValueError, match=r"did you mean .*lrnet50"):
        own_size("lrnet5O")


def test_a_print_belongs_to_the_size_and_classes_it_is_of():
    assert count_entry("conv_resnet26", (224, 224), 1000).printed == NETS["conv_resnet26"].printed
    assert count_entry("conv_resnet26", (224, 192)).printed == NOTHING
    assert count_entry("conv_resnet26", None, 10).printed == NOTHING
