"""The papers' layers as modules, one file a paper; needs torch alone."""

from sightline.layers.aa_conv import AttentionAugmentedConv2d
from sightline.layers.criss_cross import CrissCrossAttention, CrissCrossAttention3d
from sightline.layers.local_relation import LocalRelation2d
from sightline.layers.local_relation_stem import LocalRelationStem2d
from sightline.layers.multi_head import MultiHeadSelfAttention
from sightline.layers.nonlocal_block import NonLocalBlock1d, NonLocalBlock2d, NonLocalBlock3d
from sightline.layers.patch_embed import PatchEmbed
from sightline.layers.san import PairwiseSelfAttention2d, PatchwiseSelfAttention2d
from sightline.layers.sasa import StandAloneSelfAttention2d
from sightline.layers.sasa_stem import AttentionStem2d

__all__ = [
    "AttentionAugmentedConv2d",
    "AttentionStem2d",
    "CrissCrossAttention",
    "CrissCrossAttention3d",
    "LocalRelation2d",
    "LocalRelationStem2d",
    "MultiHeadSelfAttention",
    "NonLocalBlock1d",
    "NonLocalBlock2d",
    "NonLocalBlock3d",
    "PairwiseSelfAttention2d",
    "PatchEmbed",
    "PatchwiseSelfAttention2d",
    "StandAloneSelfAttention2d",
]
