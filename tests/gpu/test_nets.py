"""Whole nets on a GPU: compiled, bfloat16, channels-last; recorded as a CUDA graph; a training step."""

import copy

import pytest
import torch

from sightline.backbones import create_model
from sightline.ops import use_backend
from tests.ops.gpu import needs_gpu

pytestmark = needs_gpu
NETS = (
    "sasa_resnet_mini",
    "lrnet_mini",
    "san_mini_pairwise",
    "san_mini_patchwise",
    "ccnet_resnet_mini",
    "aa_resnet_mini",
    "nonlocal_resnet_mini",
    "vit_mini",
    "deit_mini_distilled",
)


def net(name):
    torch.manual_seed(0)
    return create_model(name, num_classes=10).cuda().to(memory_format=torch.channels_last)


def images(batch=4):
    x = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1)).cuda()
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", NETS)
def test_logits_are_the_references(name):
    model = net(name).eval()
    with torch.no_grad():
        found = model(images())
        with use_backend("reference"):
            exact = copy.deepcopy(model).double()(images().double())
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NETS)
def test_compiled_in_bfloat16(name):
    model, x = net(name).eval(), images()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        torch.testing.assert_close(torch.compile(model)(x), model(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", NETS)
def test_cuda_graph(name):
    model, x = net(name).eval(), images(1)
    with torch.no_grad():
        expected = model(x)  # chooses configurations
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            model(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            recorded = model(x)
        recorded.zero_()
        graph.replay()
    torch.testing.assert_close(recorded, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NETS)
def test_compiled_small_batch_as_a_cuda_graph(name):
    """What `sightline bench gpu_nets` does with few images; the third call replays."""
    model, x = net(name).eval(), images(1)
    compiled = torch.compile(model, mode="reduce-overhead")
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        for _ in range(3):
            torch.testing.assert_close(compiled(x).clone(), model(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", NETS)
def test_training_step(name, compiled):
    model = net(name).train()
    with torch.autocast("cuda", torch.bfloat16):
        out = (torch.compile(model) if compiled else model)(images(8))
    torch.stack(list(out) if isinstance(out, tuple) else [out]).float().square().mean().backward()
    assert all(one.grad is None or one.grad.isfinite().all() for one in model.parameters())
    assert any(one.grad is not None and one.grad.any() for one in model.parameters())
