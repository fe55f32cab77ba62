"""The catalogue: registered with timm without a clash, exact parameter counts, timm's model conventions."""

import copy
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
    "aa_resnet_mini": 538_570,
    "san_mini_pairwise": 519_497,
    "san_mini_patchwise": 566_424,
    "vit_mini": 571_402,
    "deit_mini_distilled": 572_564,
}
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
    modules = {timm.model_entrypoint(name).__module__.split(".")[-1] for name in NAMES}
    assert not theirs & (set(NAMES) | modules)


@pytest.mark.parametrize("name", NAMES)
def test_conventions(name):
    model = build(name).eval()
    images = torch.randn(2, 3, 16, 16)
    logits = model(images)
    assert logits.shape == (2, 10)
    features = model.forward_features(images)
    torch.testing.assert_close(model.forward_head(features), logits)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.num_features)
    model.reset_classifier(4)
    assert model(images).shape == (2, 4)
    model.reset_classifier(0)
    torch.testing.assert_close(model(images), pooled)
    assert model.pretrained_cfg["num_classes"] >= 0
    assert isinstance(model.group_matcher(coarse=True), dict)
    assert family_of(name).name


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient_and_weight_decay_spares_what_exists(name):
    model = build(name).train()
    output = model(torch.randn(4, 3, 16, 16))
    outputs = output if isinstance(output, tuple) else (output,)
    torch.stack([one.square().sum() for one in outputs]).sum().backward()
    named = dict(model.named_parameters())
    assert [key for key, parameter in named.items() if parameter.grad is None] == []
    assert set(model.no_weight_decay()) <= set(named)


@pytest.mark.parametrize("name", NAMES)
def test_grad_checkpointing_gives_equal_gradients(name):
    model = build(name).double().train()
    other = copy.deepcopy(model)
    other.set_grad_checkpointing(True)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    for one in (model, other):
        output = one(images)
        (output[0] if isinstance(output, tuple) else output).square().sum().backward()
    for (key, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, msg=key)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(8, 8), (9, 13), (24, 16)])
def test_other_sizes_than_built_for(name, size):
    assert torch.isfinite(build(name).eval()(torch.randn(1, 3, *size))).all()


@pytest.mark.parametrize("name", NAMES)
def test_options(name):
    model = build(name, in_chans=1, drop_path_rate=0.2, drop_rate=0.1).train()
    model(torch.randn(2, 1, 16, 16))
    with pytest.raises(TypeError, match="wrong_option"):
        build(name, wrong_option=1)


@pytest.mark.parametrize("name", [n for n in NAMES if "resnet" in n or n.startswith(("lrnet", "san"))])
def test_features_only(name):
    pyramid = build(name, features_only=True)
    maps = pyramid(torch.randn(1, 3, 16, 16))
    assert [one.shape[1] for one in maps] == pyramid.feature_info.channels()
    assert [16 // one.shape[-1] for one in maps] == pyramid.feature_info.reduction()


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
