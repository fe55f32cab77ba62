"""The Triton kernels take what the nets of the catalogue hand to the ops: every window, head size and share, at full size."""

import importlib

import pytest
import torch

from sightline.backbones import create_model, list_models
from sightline.ops import triton_support as support
from sightline.ops.dispatch import choose

OPS = (
    "local_attention",
    "local_relation",
    "vector_attention",
    "criss_cross_attention",
    "global_attention",
    "pairwise_attention",
)
QUICK = ("sasa_resnet_mini", "lrnet_mini", "san_mini_pairwise", "ccnet_resnet_mini", "aa_resnet_mini")
PLAIN = "it is for relative rows and columns"  # torch's fused attention does the rest


def refusals(monkeypatch, name):
    """What the kernels object to in a net on the meta device, and how often they were asked."""
    found, asked = [], []
    for op in OPS:
        module = importlib.import_module(f"sightline.ops.{op}")

        def record(called, backends, wanted, *operands, **options):
            asked.append(called)
            reason = backends["triton"].objection(*operands, **options)
            if reason is not None and PLAIN not in reason and "it is for 'concatenation'" not in reason:
                found.append(f"{name}: {called}: {reason}")
            return choose(called, backends, wanted, *operands, **options)

        monkeypatch.setattr(module, "choose", record)
    monkeypatch.setattr(support, "objection", lambda *operands: None)
    monkeypatch.setattr(support, "INTERPRETING", False)
    with torch.device("meta"), torch.no_grad():
        model = create_model(name).eval()
        size = model.pretrained_cfg["input_size"]
        model(torch.empty(1, *size))
    return found, len(asked)


@pytest.mark.parametrize("name", QUICK)
def test_a_net_is_not_refused(monkeypatch, name):
    found, asked = refusals(monkeypatch, name)
    assert not found
    assert asked


@pytest.mark.slow
@pytest.mark.skipif(
    "not config.getoption('markexpr')", reason="minutes; `pytest -m slow tests/ops/test_catalogue_triton.py`"
)
@pytest.mark.parametrize("letter", "acdlnsv")
def test_no_net_is_refused(monkeypatch, letter):
    for name in list_models(f"{letter}*"):
        assert not refusals(monkeypatch, name)[0]
