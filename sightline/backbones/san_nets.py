"""The paper's SANs: three sizes of both kinds, and SAN10 in every variant of its tables.

    san10_pairwise, san10_patchwise              table 3; SAN15, SAN19 likewise
    san10_pairwise_dot, san10_patchwise_star     table 4: another relation
    san10_pairwise_gamma3                        table 5: gamma of three linear maps (1: one; two is the default)
    san10_pairwise_qk, san10_pairwise_qkv        table 6: one map for queries and keys; for queries, keys and values
    san10_pairwise_k5                            table 7: footprints of 5 x 5 (7 x 7 is the default)
    san10_pairwise_absolute                      table 8: another position encoding

Source: Zhao et al. 2020, arXiv 2004.13621, tables 2 to 8; all starting weights are torch's own, as in the authors' code.
Ours:   the first stage keeps its 3 x 3 footprint in the sweep of table 7, which reproduces the printed counts.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.register import IMAGENET, register
from sightline.backbones.san_net import SANConfig, build
from sightline.layers import PairwiseSelfAttention2d, PatchwiseSelfAttention2d

LAYERS = {10: (2, 1, 2, 4, 1), 15: (3, 2, 3, 5, 2), 19: (3, 3, 4, 6, 3)}
KINDS = {"pairwise": PairwiseSelfAttention2d, "patchwise": PatchwiseSelfAttention2d}

COUNTER = "the authors' counter adds biases, norms, ReLU and pooling; with these the net has the printed number"
# kind, suffix, table, printed parameters (millions) and multiply-adds (billions), options of the layer
VARIANTS: tuple[tuple[str, str, str, str, str, dict[str, Any]], ...] = (
    ("pairwise", "summation", "table 4", "10.5", "2.2", {"relation": "summation"}),
    ("pairwise", "concatenation", "table 4", "10.6", "2.5", {"relation": "concatenation"}),
    ("pairwise", "hadamard", "table 4", "10.5", "2.2", {"relation": "hadamard"}),
    ("pairwise", "dot", "table 4", "10.5", "1.8", {"relation": "dot"}),
    ("patchwise", "star", "table 4", "10.9", "1.7", {"relation": "star"}),
    ("patchwise", "clique", "table 4", "11.5", "1.9", {"relation": "clique"}),
    ("pairwise", "gamma1", "table 5", "10.5", "1.8", {"mapping_depth": 1}),
    ("pairwise", "gamma3", "table 5", "10.6", "2.5", {"mapping_depth": 3}),
    ("patchwise", "gamma1", "table 5", "53.5", "9.5", {"mapping_depth": 1}),
    ("patchwise", "gamma3", "table 5", "12.7", "2.0", {"mapping_depth": 3}),
    ("pairwise", "qk", "table 6", "10.0", "2.1", {"transforms": "query=key"}),
    ("pairwise", "qkv", "table 6", "9.5", "3.0", {"transforms": "query=key=value"}),
    ("patchwise", "qk", "table 6", "11.3", "1.8", {"transforms": "query=key"}),
    ("patchwise", "qkv", "table 6", "13.4", "2.2", {"transforms": "query=key=value"}),
    ("pairwise", "no_position", "table 8", "", "", {"position": "none"}),
    ("pairwise", "absolute", "table 8", "", "", {"position": "absolute"}),
)
SIZES = (
    (10, "pairwise", "10.5", "2.2"),
    (15, "pairwise", "14.1", "3.0"),
    (19, "pairwise", "17.6", "3.8"),
    (10, "patchwise", "11.8", "1.9"),
    (15, "patchwise", "16.2", "2.6"),
    (19, "patchwise", "20.5", "3.3"),
)
FOOTPRINTS = (
    ("pairwise", 3, "10.5", "1.7"),
    ("pairwise", 5, "10.5", "1.9"),
    ("pairwise", 9, "10.5", "2.5"),
    ("pairwise", 11, "10.5", "3.0"),
    ("patchwise", 3, "10.7", "1.6"),
    ("patchwise", 5, "11.2", "1.7"),
    ("patchwise", 9, "12.7", "2.1"),
    ("patchwise", 11, "13.8", "2.3"),
)


def _sizes() -> Iterator[tuple[str, Net]]:
    for size, kind, parameters, flops in SIZES:
        printed = Printed("table 3", parameters, flops, reason=COUNTER)
        about = f"SAN{size} with {kind} self-attention."
        yield f"san{size}_{kind}", Net("san", about, SANConfig(LAYERS[size], KINDS[kind]), printed, IMAGENET)


def _variants() -> Iterator[tuple[str, Net]]:
    for kind, suffix, table, parameters, flops, options in VARIANTS:
        config = SANConfig(LAYERS[10], partial(KINDS[kind], **options))
        if suffix == "qkv":
            config = replace(config, rel_ratio=config.value_ratio)
        words = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in options.items())
        reason = f"{COUNTER}, without the products of pairs" if suffix == "clique" else COUNTER
        printed = Printed(table, parameters, flops, reason=reason) if parameters else None
        yield f"san10_{kind}_{suffix}", Net("san", f"SAN10, {kind}: {words}.", config, printed, IMAGENET)


def _footprints() -> Iterator[tuple[str, Net]]:
    for kind, side, parameters, flops in FOOTPRINTS:
        config = SANConfig(LAYERS[10], KINDS[kind], kernels=(3, side, side, side, side))
        printed = Printed("table 7", parameters, flops, reason=COUNTER)
        yield (
            f"san10_{kind}_k{side}",
            Net("san", f"SAN10, {kind}: {side} x {side} footprints.", config, printed, IMAGENET),
        )


NETS = dict([*_sizes(), *_variants(), *_footprints()])
register(__name__, NETS, build, first_conv="stem.0", classifier="head")
