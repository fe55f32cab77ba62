"""Golden cases: numbers of independent implementations, forward and gradient, one safetensors file a case.

Tensors are named `input.* param.* buffer.* const.*` (what goes in), `output.*` (what must come out), `cotangent.*` (fixed c of
the same name as an output) and `grad.*`, the gradient of sum(output * c) over all outputs that have a cotangent.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"
TABLE = "SIGHTLINE_GOLDEN_TABLE"  # names a file: every comparison appends its largest differences there (`make golden`)


@dataclass(frozen=True)
class Golden:
    """One case: its configuration, its tensors in float64, and the names of gradients that are zero in theory."""

    name: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    zero_gradients: frozenset[str]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors `prefix.*`, without the prefix."""
        return {name[len(prefix) + 1 :]: t for name, t in self.tensors.items() if name.startswith(prefix + ".")}


def names(pattern: str) -> list[str]:
    """Names of the stored cases that match a glob; raises when there is none, so that no test passes on nothing."""
    found = sorted(path.name.removesuffix(".safetensors") for path in FOLDER.glob(pattern + ".safetensors"))
    if not found:
        raise FileNotFoundError(f"no golden case matches {pattern!r} in {FOLDER}")
    return found


def load(name: str) -> Golden:
    """Read one case; float tensors become float64."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        meta = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    tensors = {key: t.double() if t.is_floating_point() else t for key, t in tensors.items()}
    zero = json.loads(meta.get("gradients_exactly_zero_in_theory") or "[]")
    return Golden(name, json.loads(meta["config"]), tensors, frozenset(zero))


def difference(got: Tensor, expected: Tensor) -> float:
    """Largest absolute difference over the largest expected magnitude (over one where that is zero)."""
    if got.shape != expected.shape:
        raise AssertionError(f"shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    scale = expected.abs().max().item()
    return (got.detach().double() - expected).abs().max().item() / (scale if scale > 0 else 1.0)


def check(case: Golden, outputs: dict[str, Tensor], leaves: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    """Compare outputs, back-propagate the stored cotangents, compare the gradient of every leaf.

    Args:
        outputs: by the case's names (without "output."); those with a cotangent must all be there.
        leaves: by the case's gradient names (without "grad."); every stored gradient must be covered.
        tolerance: of the float64 comparison, relative and absolute.
    """
    expected = case.part("output")
    for name, got in outputs.items():
        _close(f"{case.name} output.{name}", got, expected[name], tolerance)
    cotangents = case.part("cotangent")
    missing = (cotangents.keys() - outputs.keys()) | (case.part("grad").keys() - leaves.keys())
    if missing:
        raise AssertionError(f"{case.name}: not compared: {sorted(missing)}")
    if not cotangents:
        _record(case, outputs, {})
        return
    for leaf in leaves.values():
        leaf.grad = None
    torch.stack([(outputs[name] * c).sum() for name, c in cotangents.items()]).sum().backward()
    for name, grad in case.part("grad").items():
        got = leaves[name].grad
        if got is None:
            raise AssertionError(f"{case.name}: {name} received no gradient")
        _close(f"{case.name} grad.{name}", got.reshape(grad.shape), grad, tolerance)
    gradients = {
        name: leaf.grad for name, leaf in leaves.items() if name in case.part("grad") and leaf.grad is not None
    }
    _record(case, outputs, gradients)


def _record(case: Golden, outputs: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
    if not os.environ.get(TABLE):
        return
    forward = [difference(got, case.tensors[f"output.{name}"]) for name, got in outputs.items()]
    backward = []
    for name, got in gradients.items():
        if f"grad.{name}" not in case.zero_gradients and name not in case.zero_gradients:
            expected = case.tensors[f"grad.{name}"]
            backward.append(difference(got.reshape(expected.shape), expected))
    line = {"case": case.name, "forward": max(forward), "gradient": max(backward, default=None)}
    with open(os.environ[TABLE], "a") as file:
        file.write(json.dumps(line) + "\n")


def _close(what: str, got: Tensor, expected: Tensor, tolerance: float) -> None:
    if got.shape != expected.shape:
        raise AssertionError(f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    error = (got.detach().double() - expected).abs().max().item()
    bound = tolerance * (1 + expected.abs().max().item())
    if not error <= bound:
        raise AssertionError(f"{what}: differs by {error:.3g}, allowed {bound:.3g}")
