"""Which backend pairwise_attention takes: by the similarity and the sizes; a named one runs or says why not."""

import pytest
import torch

from sightline.ops import pairwise_attention
from sightline.ops.dispatch import choose
from sightline.ops.pairwise_attention import BACKENDS


def chosen(similarity, side, channels, keys=None):
    """The name of the backend that "auto" takes for maps of side x side."""
    query = torch.empty(1, channels, side, side)
    key = torch.empty(1, channels, keys or side, keys or side)
    weight = torch.empty(2 * channels) if similarity == "concatenation" else None
    run = choose("pairwise_attention", BACKENDS, "auto", query, key, key, weight, similarity=similarity, scale=1.0)
    return {module.run: name for name, module in BACKENDS.items()}[run]


@pytest.mark.parametrize(
    ("similarity", "side", "channels", "expected"),
    [
        ("dot_product", 128, 256, "linear"),
        ("dot_product", 8, 16, "linear"),
        ("dot_product", 7, 256, "reference"),
        ("concatenation", 128, 256, "sorting"),
        ("concatenation", 8, 16, "reference"),
        ("embedded_gaussian", 64, 256, "sdpa"),
        ("gaussian", 28, 64, "sdpa"),
        ("gaussian", 14, 512, "reference"),
    ],
)
def test_auto_goes_by_the_sizes(similarity, side, channels, expected):
    assert chosen(similarity, side, channels) == expected


def test_pooled_keys_count():
    assert chosen("concatenation", 16, 8) == "sorting"
    assert chosen("concatenation", 16, 8, keys=8) == "reference"
    assert chosen("dot_product", 16, 64, keys=4) == "reference"


def test_a_named_backend_says_why_not():
    x = torch.randn(1, 17, 4, 4)
    for backend, similarity, message in (
        ("linear", "gaussian", "it is for 'dot_product'; got 'gaussian'"),
        (
            "linear",
            "dot_product",
            "with 16 queries, 16 keys and 17 and 17 channels the dense map takes fewer multiply-adds",
        ),
        ("sorting", "dot_product", "it is for 'concatenation'; got 'dot_product'"),
        ("sdpa", "dot_product", "it is for the two Gaussians; got 'dot_product'"),
        ("sdpa", "gaussian", "on a CPU a dense map of 256 pairs is quicker"),
    ):
        with pytest.raises(NotImplementedError, match=message):
            pairwise_attention(x, x, x, similarity=similarity, backend=backend)
    with pytest.raises(NotImplementedError, match="the dense sum over 256 pairs is quicker than the sort"):
        pairwise_attention(x, x, x, torch.ones(34), similarity="concatenation", backend="sorting")
    with pytest.raises(
        NotImplementedError, match=r"must have one dtype; got torch.float32, torch.float64, torch.float32"
    ):
        pairwise_attention(x, x.double(), x, backend="sdpa")


@pytest.mark.parametrize("similarity", ["embedded_gaussian", "dot_product", "concatenation"])
def test_auto_agrees_across_the_thresholds(similarity):
    """Just below and just above, the answer is the reference's."""
    torch.manual_seed(0)
    for side in (15, 16, 17, 30):
        x = torch.randn(1, 4, side, side, dtype=torch.float64)
        weight = torch.randn(8, dtype=torch.float64) if similarity == "concatenation" else None
        got = pairwise_attention(x, x, x, weight, similarity=similarity)
        expected = pairwise_attention(x, x, x, weight, similarity=similarity, backend="reference")
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)
