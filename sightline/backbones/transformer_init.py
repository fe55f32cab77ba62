"""Starting weights of ViT and DeiT, as the sources' code has them: for every parameter the first rule its name matches.

"google": linear maps Xavier-uniform (q, k and v each on its own), perceptron biases normal(0, 1e-6), patch and hidden head maps
          and a hybrid's convolutions LeCun-normal, class token and heads zero.
"deit":   linear maps and tokens normal(0, 0.02), biases zero; the patch map as torch starts it.
Position embeddings: normal(0, position_std) of the config, 0.02 in both sources.
Parameters without a rule (norms) keep the start their module gave them.
"""

import math
import re
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import init


def _xavier_each(weight: Tensor) -> None:
    """Xavier-uniform for q, k and v on their own, stacked in one weight (3*C, C)."""
    for part in weight.chunk(3):
        init.xavier_uniform_(part)


def _lecun_normal(weight: Tensor) -> None:
    """Normal, cut at two standard deviations, of variance 1 / fan-in after the cut."""
    std = math.sqrt(1 / weight[0].numel()) / 0.87962566103423978
    init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


Rule = tuple[str, Callable[[Tensor], object]]
RULES: dict[str, tuple[Rule, ...]] = {
    "google": (
        (r".*attn\.qkv\.weight", _xavier_each),
        (r".*(attn\.proj|mlp\.fc\d)\.weight", init.xavier_uniform_),
        (r".*mlp\.fc\d\.bias", partial(init.normal_, std=1e-6)),
        (r".*(attn\.\w+|patch_embed\.proj|pre_logits\.fc)\.bias", init.zeros_),
        (r"(head|head_dist)\.\w+|cls_token|dist_token", init.zeros_),
        (r"(patch_embed\.proj|pre_logits\.fc|patch_embed\.backbone\..*conv\d?)\.weight", _lecun_normal),
    ),
    "deit": (
        (r".*(attn\.\w+|mlp\.fc\d|head|head_dist|pre_logits\.fc)\.weight", partial(init.trunc_normal_, std=0.02)),
        (r".*(attn\.\w+|mlp\.fc\d|head|head_dist|pre_logits\.fc)\.bias", init.zeros_),
        (r"cls_token|dist_token", partial(init.trunc_normal_, std=0.02)),
    ),
}


def initialise(net: nn.Module, style: str, only: str = "") -> None:
    """Start the parameters of a `PatchTransformer` whose names begin with `only`.

    Raises:
        ValueError: an unknown style.
    """
    if style not in RULES:
        raise ValueError(f"init must be one of {', '.join(RULES)}; got {style!r}")
    for name, parameter in net.named_parameters():
        if name.startswith(only):
            start = next((start for pattern, start in RULES[style] if re.fullmatch(pattern, name)), None)
            if start is not None:
                start(parameter.data)
