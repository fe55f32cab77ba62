"""The catalogue: registered with timm without a clash, exact parameter counts of the small nets, sizes, graphs."""

import subprocess
import sys

import pytest
import timm
import torch

import sightline
from sightline.backbones import family_of
from sightline.report.families import family_of as report_family

PARAMETERS = {  # 10 classes, built for 32 x 32
    "resnet_mini": 575_018,
    "nonlocal_resnet_mini": 608_362,
    "ccnet_resnet_mini": 595_659,
    "sasa_resnet_mini": 325_194,
    "lrnet_mini": 250_610,
    "se_resnet_mini": 597_410,
    "aa_resnet_mini": 538_570,
    "san_mini_pairwise": 519_497,
    "san_mini_patchwise": 566_424,
    "vit_mini": 571_402,
    "deit_mini_distilled": 572_564,
    "vit_mini_hybrid": 600_618,
    "deit_mini_hybrid_distilled": 602_164,
}
COMPACT = {"vit_compact": 3_919_402, "deit_compact_distilled": 3_922_484}
NAMES = sightline.list_models("*mini*")


def build(name: str, **options):
    torch.manual_seed(0)
    return sightline.create_model(name, **{"num_classes": 10, "img_size": 16} | options)


def test_every_net_is_pinned():
    assert set(PARAMETERS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name):
    model = build(name, img_size=32)
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS[name]
    assert count <= 1.1 * PARAMETERS["resnet_mini"]


@pytest.mark.parametrize(("name", "parameters"), COMPACT.items())
def test_compact_nets_stay_below_four_million(name, parameters):
    with torch.device("meta"):
        model = sightline.create_model(name, num_classes=10, img_size=32)
    assert sum(p.numel() for p in model.parameters()) == parameters < 4_000_000


@pytest.mark.parametrize("imports", ["import timm, sightline", "import sightline, timm", "import sightline.ops, timm"])
def test_timm_knows_our_nets_whatever_the_order_of_imports(imports):
    code = f"{imports}; print(type(timm.create_model('sasa_resnet_mini', num_classes=3)).__name__)"
    answer = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "Trunk", answer.stderr


def test_no_clash_with_timm():
    code = "import timm; print('\\n'.join(timm.list_models()), '\\n'.join(timm.list_modules()), sep='\\n')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    theirs = set(answer.stdout.split())
    assert len(theirs) > 1000
    ours = set(sightline.list_models())
    modules = {timm.model_entrypoint(name).__module__.split(".")[-1] for name in ours}
    assert not theirs & (ours | modules)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(8, 8), (9, 13), (24, 16)])
def test_other_sizes_than_built_for(name, size):
    assert torch.isfinite(build(name).eval()(torch.randn(1, 3, *size))).all()


@pytest.mark.parametrize("name", NAMES)
def test_compiles_and_exports(name):
    model = build(name, img_size=8).eval()
    images = torch.randn(2, 3, 8, 8)
    expected = model(images)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), expected, atol=1e-5, rtol=1e-4)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(images[:1]), model(images[:1]), atol=1e-5, rtol=1e-4)


def test_the_report_tells_families_alike():
    for name in NAMES:
        ours, shown = family_of(name), report_family(name)
        assert (shown.name, shown.arxiv) == (ours.name, ours.arxiv), name


def test_unknown_name_offers_the_closest():
    with pytest.raises(ValueError, match=r"did you mean .*sasa_resnet_mini"):
        sightline.create_model("sasa_resnet_mni")
