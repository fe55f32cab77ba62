"""Registration: one line of data becomes an entry point of timm's; the catalogue refuses what is wrong."""

import pytest
import timm
from timm.models import model_entrypoint

import sightline
from sightline.backbones import MODELS, NETS, Net, catalogue
from sightline.backbones.register import SMALL


@pytest.mark.parametrize("name", sightline.list_models("*mini*"))
def test_an_entry_is_a_function_of_its_module(name):
    entry = model_entrypoint(name)
    assert (entry.__name__, entry.__qualname__) == (name, name)
    assert getattr(__import__(entry.__module__, fromlist=[name]), name) is entry
    assert entry.__doc__ == NETS[name].about
    assert entry().default_cfg["input_size"] == (3, 32, 32)


@pytest.mark.parametrize(("name", "layers"), [("resnet_mini", 4), ("san_mini_pairwise", 4), ("san_mini_pairwise", 2)])
def test_stages_without_a_width_are_refused(name, layers):
    with pytest.raises(ValueError, match=f"widths must have.* {layers} stages|widths, kernels.* {layers} stages"):
        sightline.create_model(name, layers=(1,) * layers)


def test_timms_configuration_is_the_nets():
    cfg = timm.get_pretrained_cfg("deit_mini_distilled")
    assert (cfg.classifier, cfg.first_conv) == (("head", "head_dist"), "patch_embed.proj")
    assert (cfg.num_classes, cfg.fixed_input_size, cfg.architecture) == (10, False, "deit_mini_distilled")
    assert timm.get_pretrained_cfg("resnet_mini").classifier == "fc"


def test_families_and_order():
    assert sightline.list_models(family="san")[:2] == ["san_mini_pairwise", "san_mini_patchwise"]
    assert set(sightline.list_models()) == set(MODELS) == set(NETS)
    assert sightline.list_models()[0] == "resnet_mini"


def test_a_name_is_taken_once_and_a_family_must_exist():
    with pytest.raises(ValueError, match="two nets of the name 'resnet_mini'"):
        catalogue.add("resnet_mini", NETS["resnet_mini"])
    with pytest.raises(ValueError, match="no family 'sassa'; there are: convolution"):
        catalogue.add("other", Net("sassa", "A net.", None, cfg=SMALL))
    with pytest.raises(ValueError, match="no family 'sassa'"):
        sightline.list_models(family="sassa")
    assert "other" not in MODELS
