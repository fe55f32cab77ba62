"""What is computed: the attention ops, on plain tensors. Knows no modules, models or files; needs torch alone."""

from sightline.ops.criss_cross_attention import criss_cross_attention
from sightline.ops.dispatch import use_backend
from sightline.ops.global_attention import global_attention
from sightline.ops.local_attention import local_attention
from sightline.ops.local_relation import local_relation
from sightline.ops.pairwise_attention import pairwise_attention
from sightline.ops.pixel_attention import pixel_attention
from sightline.ops.stem_attention import stem_attention
from sightline.ops.vector_attention import pairwise_relation, patchwise_relation, vector_attention

__all__ = [
    "criss_cross_attention",
    "global_attention",
    "local_attention",
    "local_relation",
    "pairwise_attention",
    "pairwise_relation",
    "patchwise_relation",
    "pixel_attention",
    "stem_attention",
    "use_backend",
    "vector_attention",
]
