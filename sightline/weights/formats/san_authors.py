"""The SAN authors' .pth: pairwise and patchwise, saved from DataParallel under "state_dict"."""

from sightline.weights.formats.format import SAN, Format
from sightline.weights.layouts import POINTWISE
from sightline.weights.rules import Rule

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_BLOCK, _OURS = "layer{s}.{n}.", "stages.{s}.blocks.{n}."
_NORMS = (
    ("bn_in", "stem.1"),
    ("bn{s}", "stages.{s}.norm"),
    (_BLOCK + "bn1", _OURS + "norm1"),
    (_BLOCK + "bn2", _OURS + "norm2"),
    (_BLOCK + "sam.conv_w.0", _OURS + "attention.mapping.norm1"),
    (_BLOCK + "sam.conv_w.3", _OURS + "attention.mapping.norm2"),
)
_MAPS = (
    (_BLOCK + "sam.conv1", _OURS + "attention.query"),
    (_BLOCK + "sam.conv2", _OURS + "attention.key"),
    (_BLOCK + "sam.conv3", _OURS + "attention.value"),
    (_BLOCK + "sam.conv_p", _OURS + "attention.position"),
    (_BLOCK + "conv", _OURS + "linear"),
    ("fc", "head"),
)


def _rules() -> tuple[Rule, ...]:
    rules = [Rule("conv_in.weight", "stem.0.weight"), Rule("conv{s}.weight", "stages.{s}.transition.weight")]
    rules += [Rule(f"{theirs}.{part}", f"{ours}.{part}") for theirs, ours in _NORMS for part in _BATCH_NORM]
    rules += [Rule(f"{theirs}.{part}", f"{ours}.{part}") for theirs, ours in _MAPS for part in ("weight", "bias")]
    gamma = f"{_OURS}attention.mapping."
    rules += [
        Rule(f"{_BLOCK}sam.conv_w.2.weight", f"{gamma}linear1.weight", POINTWISE),
        Rule(f"{_BLOCK}sam.conv_w.5.weight", f"{gamma}linear2.weight", POINTWISE),
        Rule(f"{_BLOCK}sam.conv_w.5.bias", f"{gamma}linear2.bias"),
    ]
    return tuple(rules)


SAN_AUTHORS = Format("SAN's authors", SAN, (r"^conv_in\.weight$", r"^layer0\.0\.sam\.conv1\.weight$"), _rules())
