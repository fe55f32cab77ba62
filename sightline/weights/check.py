"""Whether a source belongs in a net at all, and what to say when it does not."""

from torch import nn

from sightline.backbones import NETS
from sightline.backbones.transformer_net import PatchTransformer
from sightline.weights.errors import WeightsError, listed
from sightline.weights.fit import Fit
from sightline.weights.formats import ANY, SAN, TRANSFORMER
from sightline.weights.guess import kind_of, names_that_fit
from sightline.weights.rules import Translation
from sightline.weights.source import Source


def check_kind(model: nn.Module, source: Source, name: str) -> None:
    """Refuse another kind of net, and one that pools otherwise.

    Raises:
        WeightsError: it belongs elsewhere.
    """
    kind = kind_of(model)
    if source.format.net != ANY and kind != ANY and source.format.net != kind:
        raise WeightsError(
            f"{source.label} ({source.format.name}) holds a {source.format.net}; {name} is a {kind}. "
            f"Create one of these instead: {listed(_examples(source.format.net))}"
        )
    pool = source.facts.pool
    if isinstance(model, PatchTransformer) and pool in ("token", "avg") and pool != model.global_pool:
        words = {"token": "its class token", "avg": "the mean of its patches"}
        raise WeightsError(
            f"{source.label} classifies {words[pool]}, {name} {words.get(model.global_pool, 'nothing')}; "
            "create a net that classifies the same"
        )


def _check_heads(model: nn.Module, source: Source, name: str) -> None:
    heads, cfg = source.facts.heads or _google_heads(source), getattr(model, "cfg", None)
    ours = getattr(cfg, "heads", None)
    if heads is not None and ours is not None and heads != ours:
        raise WeightsError(
            f"{source.label} has {heads} attention heads, {name} {ours}: the same tensors mean another net"
        )


def _google_heads(source: Source) -> int | None:
    kernel = next((t for name, t in source.tensors.items() if name.endswith("query/kernel")), None)
    return kernel.shape[1] if kernel is not None and kernel.ndim == 3 else None


def _examples(kind: str) -> list[str]:
    wanted = {TRANSFORMER: ("vit_b16", "deit_s16", "vit_mini"), SAN: ("san10_pairwise", "san_mini_pairwise")}
    return [name for name in wanted.get(kind, ("conv_resnet50", "resnet_mini")) if name in NETS]


def check_state(
    model: nn.Module, fitted: Fit, source: Source, translation: Translation, name: str, strict: bool
) -> None:
    """Refuse a source of which nothing fits; when strict, every mismatch.

    Raises:
        WeightsError: naming tensors and the nets that these weights fit.
    """
    if not fitted.tensors:
        raise WeightsError(
            f"nothing in {source.label} fits the model: no tensor has both a name and a shape that it knows. The source has "
            f"{listed(list(source.tensors), 3)}; the model {listed(list(model.state_dict()), 3)}"
        )
    if strict and not fitted.exact:
        closest = names_that_fit(source, translation, model)
        raise WeightsError(_mismatch(fitted, source, name, closest))
    _check_heads(model, source, name)


def _mismatch(fitted: Fit, source: Source, name: str, closest: list[str]) -> str:
    """What does not fit, and the nearest remedy."""
    parts = [f"{source.label} ({source.format.name}) does not fit {name}"]
    if fitted.strangers:
        parts.append(f"the net has no place for {listed(fitted.strangers)}")
    if fitted.misfits:
        parts.append(f"shapes differ: {listed(fitted.misfits)}")
    if fitted.lacking:
        parts.append(f"the source lacks {listed(fitted.lacking)}")
    if (
        fitted.misfits
        and all(one.startswith(("head.", "head_dist.", "fc.")) for one in fitted.misfits)
        and not (fitted.strangers or fitted.lacking)
    ):
        return "; ".join(parts) + ". For a classifier of another size, ask for a fresh one: fresh_classifier=True"
    remedy = f"these weights fit {listed(closest)}" if closest else "no net of sightline's has these tensors"
    return "; ".join(parts) + f". {remedy[0].upper()}{remedy[1:]}"
