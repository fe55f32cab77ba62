"""timm's interface for features on the residual trunk and on SAN, against hooks on the modules that `feature_info` names."""

import pytest
import timm
import torch

import sightline

NETS = ("aa_resnet_mini", "ccnet_resnet_mini", "san_mini_pairwise", "sasa_resnet26", "ccnet_resnet50")


@pytest.mark.parametrize("name", NETS)
def test_levels_are_what_the_named_modules_hand_on(name):
    torch.manual_seed(0)
    net, x, seen = sightline.create_model(name, num_classes=3, img_size=32).eval(), torch.randn(2, 3, 33, 29), {}
    for one in net.feature_info:
        module = net.get_submodule(one["module"])
        module.register_forward_hook(lambda _, __, y, one=one: seen.update({one["module"]: y.clone()}))
    with torch.no_grad():
        last, maps = net.forward_intermediates(x)
        torch.testing.assert_close(last, net.forward_features(x))
    assert len(maps) == len(net.feature_info)
    for found, one in zip(maps, net.feature_info, strict=True):
        torch.testing.assert_close(found, seen[one["module"]])
        assert found.shape[1] == one["num_chs"]


@pytest.mark.parametrize("name", NETS[1:3])
def test_chosen_levels_and_a_net_cut_behind_them(name):
    net, x = sightline.create_model(name, num_classes=3).eval(), torch.randn(1, 3, 16, 20)
    with torch.no_grad():
        whole = net.forward_intermediates(x, intermediates_only=True)
        (second,) = net.forward_intermediates(x, [2], stop_early=True, intermediates_only=True)
        (last,) = net.forward_intermediates(x, 1, intermediates_only=True)
        torch.testing.assert_close(second, whole[2])
        torch.testing.assert_close(last, whole[-1])
        with pytest.raises(ValueError, match=r"indices must name levels -\d..\d; got \[7\]"):
            net.forward_intermediates(x, [7])
        with pytest.raises(ValueError, match="output_fmt must be NCHW; got 'NLC'"):
            net.forward_intermediates(x, output_fmt="NLC")
        assert net.prune_intermediate_layers([-2, 1]) == [len(whole) - 2, 1]
        torch.testing.assert_close(net(x), whole[-2])


def test_timms_getter_takes_them():
    net = timm.create_model("san_mini_patchwise", features_only=True, feature_cls="getter", out_indices=(1, 3))
    assert [one.shape[1] for one in net(torch.randn(1, 3, 16, 16))] == [96, 512]
