"""See what a model looks at: attention under any kernel, methods that explain an answer, and scores of how true they are.

What others build on:

    METHODS             name -> Method: title, what it needs (`needs_attention`), what it takes (`layered`, `heads`, `per`,
                        `per_class`, `settings`), what it gives (`signed`, `unit`), where it is from
                        (rollout, gradient_rollout, grad_cam, gradients, occlusion, receptive_field follow by the same interface)
    methods_for(model)  the methods that apply to a net
    explain(model, images, method, *, layer, head, at, target) -> Explanation
                        .maps (B, h, w) float32, .map (h, w) of one picture, .geometry, .signed, .unit, .layer, .target,
                        .over_image() at the image's resolution
    query_maps(model, images, layers, heads="mean") -> list[QueryMaps]
                        where every position of each layer looks, from one forward pass: .weights (B, heads, hq, wq, hk, wk),
                        .tokens["class"] (B, heads, hk, wk), .queries and .keys (Geometry), .at(row, col)
    capture(model)      the weights themselves, sparse ones sparse
    attention_layers(model)     names of the layers that can be captured
    Geometry            .cell(row, col) of a pixel, .box(r, c) pixels of a cell, .over_image(maps)

Images are normalised as the net expects, (B, C, H, W), of any size the net takes; rows and columns are pixels of them.
"""

from sightline.explain.attending import attention_layers
from sightline.explain.capture import AttentionMap, Capture, capture, taps
from sightline.explain.explain import explain, methods_for
from sightline.explain.explanation import Explanation
from sightline.explain.geometry import Geometry
from sightline.explain.maps import LayerMaps, layer_maps
from sightline.explain.methods import METHODS, Method
from sightline.explain.queries import QueryMaps, query_maps

__all__ = [
    "METHODS",
    "AttentionMap",
    "Capture",
    "Explanation",
    "Geometry",
    "LayerMaps",
    "Method",
    "QueryMaps",
    "attention_layers",
    "capture",
    "explain",
    "layer_maps",
    "methods_for",
    "query_maps",
    "taps",
]
