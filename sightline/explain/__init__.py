"""See what a model looks at: attention under any kernel, methods that explain an answer, and scores of how true they are.

What others build on:

    METHODS             name -> Method: title, what it needs (`needs_attention`), what it takes (`layered`, `heads`, `per`,
                        `per_class`, `settings`), what it gives (`signed`, `unit`), where it is from
    methods_for(model)  the methods that apply to a net
    explain(model, images, method, *, layer, head, at, target) -> Explanation
                        .maps (B, h, w) float32, .map (h, w) of one picture, .geometry, .signed, .unit, .layer, .target,
                        .over_image() at the image's resolution
    query_maps(model, images, layers, heads="mean") -> list[QueryMaps]
                        where every position of each layer looks, from one forward pass: .weights (B, heads, hq, wq, hk, wk),
                        .tokens["class"] (B, heads, hk, wk), .queries and .keys (Geometry), .at(row, col)
    faithfulness(model, images, explanation) -> Faithfulness
                        deletion and insertion beside random maps; .summary(), .found and .random with curves and areas
    agreement(a, b)     rank correlation of two explanations;  attention_distance(model, images)  ViT's figure
    capture(model)      the weights themselves, sparse ones sparse
    attention_layers(model)     names of the layers that can be captured
    Geometry            .cell(row, col) of a pixel, .box(r, c) pixels of a cell, .over_image(maps)

Images are normalised as the net expects, (B, C, H, W), of any size the net takes; rows and columns are pixels of them.
"""

from sightline.explain.agreement import agreement
from sightline.explain.attending import attention_layers
from sightline.explain.capture import AttentionMap, Capture, capture, taps
from sightline.explain.distance import LayerDistance, attention_distance
from sightline.explain.explain import explain, methods_for
from sightline.explain.explanation import Explanation
from sightline.explain.faithfulness import Curves, Faithfulness, faithfulness
from sightline.explain.geometry import Geometry
from sightline.explain.maps import LayerMaps, layer_maps
from sightline.explain.methods import METHODS, Method
from sightline.explain.queries import QueryMaps, query_maps

__all__ = [
    "METHODS",
    "AttentionMap",
    "Capture",
    "Curves",
    "Explanation",
    "Faithfulness",
    "Geometry",
    "LayerDistance",
    "LayerMaps",
    "Method",
    "QueryMaps",
    "agreement",
    "attention_distance",
    "attention_layers",
    "capture",
    "explain",
    "faithfulness",
    "layer_maps",
    "methods_for",
    "query_maps",
    "taps",
]
