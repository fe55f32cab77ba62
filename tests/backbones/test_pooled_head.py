"""Pooling and classifier of nets of feature maps: timm's names of poolings, and none."""

import pytest
import torch

import sightline

NAMES = ["resnet_mini", "san_mini_patchwise"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("pooling", "times"), [("max", 1), ("avgmax", 1), ("catavgmax", 2), ("fastcatavgmax", 2)])
def test_the_classifier_reads_what_is_pooled(name, pooling, times):
    net = sightline.create_model(name, num_classes=3, global_pool=pooling).eval()
    x = torch.randn(2, 3, 9, 8)
    assert net(x).shape == (2, 3)
    assert net.forward_head(net.forward_features(x), pre_logits=True).shape == (2, times * net.num_features)
    net.reset_classifier(4)
    assert net(x).shape == (2, 4)
    net.reset_classifier(5, "avg")
    assert net(x).shape == (2, 5)


@pytest.mark.parametrize("name", NAMES)
def test_no_classifier_reads_a_map(name):
    with pytest.raises(ValueError, match=r"global_pool='' .* num_classes=3"):
        sightline.create_model(name, num_classes=3, global_pool="")
    net = sightline.create_model(name, num_classes=0, global_pool="").eval()
    x = torch.randn(1, 3, 9, 8)
    assert torch.equal(net(x), net.forward_features(x))
    with pytest.raises(ValueError, match=r"global_pool='' .* num_classes=2"):
        net.reset_classifier(2)
    assert (net.num_classes, net(x).ndim) == (0, 4)
    net.reset_classifier(2, "avg")
    assert net(x).shape == (1, 2)
