"""A trunk computes channels last on a CPU, whatever the image's layout, and its pyramid does too; float64 keeps its layout."""

import pytest
import torch

from sightline.backbones import create_model


def test_a_trunk_runs_channels_last_on_a_cpu():
    torch.manual_seed(0)
    model = create_model("sasa_resnet_mini", num_classes=10, img_size=16).eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        features = model.forward_features(x)
        assert features.is_contiguous(memory_format=torch.channels_last)
        assert not features.is_contiguous()
        torch.testing.assert_close(model(x), model(x.contiguous(memory_format=torch.channels_last)))
        assert model.double().forward_features(x.double()).is_contiguous()


def test_its_pyramid_does_too():
    pyramid = create_model("resnet_mini", features_only=True, img_size=16).eval()
    with torch.no_grad():
        assert all(one.is_contiguous(memory_format=torch.channels_last) for one in pyramid(torch.randn(2, 3, 16, 16)))


def test_samples_can_be_mapped_over():
    """torch.func.vmap, as for gradients of each sample, takes no memory formats."""
    model = create_model("resnet_mini", num_classes=10, img_size=16).eval()
    x = torch.randn(3, 1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(torch.func.vmap(model)(x)[:, 0], model(x[:, 0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["sasa_resnet_mini", "lrnet_mini", "vit_mini", "vit_mini_hybrid"])
def test_an_image_without_a_batch_is_named(name):
    with pytest.raises(ValueError, match=r"a single one is x\[None\]; got shape \(3, 8, 9\)"):
        create_model(name)(torch.randn(3, 8, 9))
