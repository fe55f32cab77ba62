"""The papers' layers as modules, one file a paper; needs torch alone."""

from sightline.layers.sasa import StandAloneSelfAttention2d

__all__ = ["StandAloneSelfAttention2d"]
