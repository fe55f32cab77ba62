"""Measure what docs/explain.md says, and write its tables from the committed JSON.

.venv/bin/python docs/explain.py works               # family x method x {batch 3, 97 x 53, bfloat16, window larger than the map}
.venv/bin/python docs/explain.py faithfulness DATA   # areas under deletion and insertion on test images: the box's nets
.venv/bin/python docs/explain.py faithfulness DATA NETS ...   # the same of some nets; what is committed of the others stays
.venv/bin/python docs/explain.py overhead            # capture beside a plain pass and beside the reference's full maps
.venv/bin/python docs/explain.py                     # write the tables anew from docs/results/explain_*.json alone
"""

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

import sightline
from sightline.cost.resident import peak_extra
from sightline.explain import METHODS, capture, explain, faithfulness, methods_for
from sightline.ops.dispatch import use_backend
from sightline.runs import environment
from sightline.weights.box import boxed

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs" / "explain.md", ROOT / "docs" / "results"
NETS = (
    "resnet_mini",
    "nonlocal_resnet_mini",
    "ccnet_resnet_mini",
    "sasa_resnet_mini",
    "lrnet_mini",
    "aa_resnet_mini",
    "san_mini_pairwise",
    "san_mini_patchwise",
    "vit_mini",
    "deit_mini_distilled",
)
BOX_ONLY = ("vit_mini_hybrid", "deit_mini_hybrid_distilled")
CASES = {
    "batch 3": ((3, 3, 16, 16), torch.float32),
    "97 x 53": ((1, 3, 97, 53), torch.float32),
    "bfloat16": ((1, 3, 16, 16), torch.bfloat16),
    "window > map": ((1, 3, 3, 5), torch.float32),
}
STEPS = 5  # of the curves of deletion and insertion
COARSE = {"integrated_gradients": {"steps": 8}, "occlusion": {"patch": 8, "step": 4}}  # what 200 pictures a net allow
QUICK = {"integrated_gradients": {"steps": 2}, "receptive_field": {"draws": 1}, "occlusion": {"patch": 24, "step": 24}}


def works() -> dict[str, Any]:
    """Every method on every net in every case: "" when it worked, else the error."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for net in NETS:
        torch.manual_seed(0)
        model = sightline.create_model(net, num_classes=4, img_size=16).eval()
        found[net] = {}
        for method in METHODS:
            found[net][method] = {case: _tried(model, method, *how) for case, how in CASES.items()}
    return {"schema": 1, "environment": environment(), "cases": list(CASES), "works": found}


def _tried(model: torch.nn.Module, method: str, shape: tuple[int, ...], dtype: torch.dtype) -> str:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    settings = QUICK.get(method, {})
    if method == "occlusion":
        side = max(min(shape[2:]) // 2, 1)
        settings = {"patch": side, "step": side}
    try:
        with torch.no_grad():
            found = explain(model.to(dtype), images, method, **settings)
        if len(found) != shape[0] or found.geometry.size != shape[2:] or not bool(found.maps.isfinite().all()):
            return f"a map of {tuple(found.maps.shape)} that is not finite or of another size"
        return ""
    except ValueError as error:
        return str(error)
    finally:
        model.to(torch.float32)


def faithful(source: str, limit: int, only: list[str]) -> dict[str, Any]:
    """Areas of every method on the nets of the box, all or `only` some, on the first test pictures of the set they were trained on.

    What is committed of the same weights stays, so an interrupted measurement goes on.
    """
    from sightline.data import load_splits, normalise
    from sightline.weights import load_run

    test = load_splits(source).test
    chosen = torch.arange(min(limit, len(test)))
    about = {"data": {"source": Path(source).name, "n": len(chosen)}, "steps": STEPS, "settings": COARSE}
    nets, measured = _boxed(), _committed("faithfulness", about)
    content = {"schema": 1, "environment": environment(), **about}
    for net, file in nets:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        if (not only or net in only) and measured.get(net, {}).get("weights") != digest:
            model, meta = load_run(file)
            images = normalise(test.batch(chosen), meta.mean, meta.std)
            right = float((_answers(model, images) == test.labels[chosen]).float().mean())
            measured[net] = {"weights": digest, "accuracy": right, "methods": _methods(model, images)}
            gains = {name: round(one["deletion_gain"], 3) for name, one in measured[net]["methods"].items()}
            print(net, gains, flush=True)
        content["nets"] = {net: measured[net] for net, _ in nets if net in measured}
        _write("faithfulness", content)
    return content


def _committed(name: str, alike: dict[str, Any]) -> dict[str, Any]:
    """The nets of a result measured in the same way; empty when there is none."""
    path = RESULTS / f"explain_{name}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    return content["nets"] if content and all(content.get(key) == value for key, value in alike.items()) else {}


def _write(name: str, content: dict[str, Any]) -> None:
    (RESULTS / f"explain_{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _boxed() -> list[tuple[str, Path]]:
    """Nets whose weights come with sightline, in the order of the families."""
    return [(net, file) for net in (*NETS, *BOX_ONLY) for file in boxed(net).values()]


def _methods(model: torch.nn.Module, images: torch.Tensor) -> dict[str, Any]:
    scored = {}
    for method in methods_for(model):
        settings = COARSE.get(method.name, {})
        parts = [explain(model, part, method.name, **settings) for part in images.split(64)]
        target = tuple(one for part in parts for one in part.target)
        whole = replace(parts[0], maps=torch.cat([part.maps for part in parts]), target=target, tokens=None)
        print(method.name, end=" ", flush=True)
        scored[method.name] = faithfulness(model, images, whole, steps=STEPS).summary()
    return scored


@torch.no_grad()
def _answers(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(part).argmax(1) for part in images.split(64)])


OVERHEAD = {  # net: rows and columns of the image; ViT's are 64 x 64 tokens of 2 x 2 pixels
    "vit_mini": (128, 128),
    "sasa_resnet_mini": (64, 64),
    "san_mini_pairwise": (64, 64),
    "ccnet_resnet_mini": (128, 128),
    "nonlocal_resnet_mini": (128, 128),
}
ROUNDS = 3
WAYS = ("plain", "capture 1 query", "capture all, one layer", "reference, full maps")


def overhead() -> dict[str, Any]:
    """Time of each way over a plain pass (median of rounds taken in turn), and what it adds to the process at its peak."""
    found: dict[str, Any] = {}
    for net, size in OVERHEAD.items():
        model, image = _prepared(net, size)
        ways = {name: _way(name, model, image) for name in WAYS}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(ROUNDS + 1):
            for name, run in ways.items():
                start = time.perf_counter()
                run()
                if round_:
                    taken[name].append(time.perf_counter() - start)
        plain = median(taken["plain"])
        memory = {name: peak_extra(run)[0] / 2**20 for name, run in ways.items()}
        found[net] = {
            "image": list(size),
            "plain_ms": plain * 1e3,
            "time": {name: median(times) / plain for name, times in taken.items()},
            "low_high": {name: [min(times) / plain, max(times) / plain] for name, times in taken.items()},
            "mebibytes": memory,
        }
        print(
            net,
            {name: round(ratio, 2) for name, ratio in found[net]["time"].items()},
            found[net]["mebibytes"],
            flush=True,
        )
    return {
        "schema": 1,
        "environment": environment(),
        "threads": torch.get_num_threads(),
        "rounds": ROUNDS,
        "nets": found,
    }


def _prepared(net: str, size: tuple[int, int]) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return sightline.create_model(net, num_classes=10, img_size=32).eval(), torch.randn(1, 3, *size)


def _way(name: str, model: torch.nn.Module, image: torch.Tensor) -> Callable[[], Any]:
    layer = next(iter(sightline.explain.attention_layers(model)))

    @torch.no_grad()
    def run() -> Any:
        if name == "plain":
            return model(image)
        if name == "reference, full maps":
            with use_backend("reference"), capture(model) as maps:
                model(image)
            return maps
        with capture(model, **({"queries": (9, 9)} if "1 query" in name else {"layers": layer})) as maps:
            model(image)
        return maps

    return run


def tables() -> dict[str, str]:
    """The page's tables by name, from the committed JSON."""
    drawn = {"methods": _table(["method", "asks", "per", "class", "unit", "source"], _method_rows())}
    for name, draw in (("works", _works_rows), ("faithfulness", _faithful_rows), ("overhead", _overhead_rows)):
        path = RESULTS / f"explain_{name}.json"
        if path.exists():
            drawn[name] = draw(json.loads(path.read_text()))
    return drawn


def _method_rows() -> Iterable[list[str]]:
    for one in METHODS.values():
        asks = "attention" if one.needs_attention else "any net"
        yield [f"`{one.name}`", asks, one.per, "yes" if one.per_class else "", one.unit, one.source]


def _works_rows(found: dict[str, Any]) -> str:
    rows = []
    for net, methods in found["works"].items():
        cells = []
        for cases in methods.values():
            failed = [case for case, error in cases.items() if error]
            none = all("does not apply" in error for error in cases.values())
            cells.append("no attention" if none else "all four" if not failed else "not " + ", ".join(failed))
        rows.append([f"`{net}`", *cells])
    methods = list(next(iter(found["works"].values())))
    return _table(["net", *methods], rows) + f"\n\nThe four: {', '.join(found['cases'])}. {_from('works', found)}"


def _faithful_rows(found: dict[str, Any]) -> str:
    rows = []
    for net in found["nets"]:
        for method, one in found["nets"][net]["methods"].items():
            rows.append(
                [
                    f"`{net}`",
                    method,
                    f"{one['deletion']:.3f}",
                    f"{one['random_deletion']:.3f}",
                    f"{one['deletion_gain']:+.3f} ± {one['deletion_gain_half']:.3f}",
                    f"{one['insertion']:.3f}",
                    f"{one['random_insertion']:.3f}",
                    f"{one['insertion_gain']:+.3f} ± {one['insertion_gain_half']:.3f}",
                ]
            )
    head = ["net", "method", "deletion", "random", "better by", "insertion", "random", "better by"]
    data = found["data"]
    about = (
        f"{data['n']} test pictures ({data['source']}), {found['steps']} steps; integrated gradients with 8 steps, occlusion by "
        "8 x 8 pixels every 4; ± is half the 95% interval over pictures."
    )
    return _table(head, rows) + f"\n\n{about} {_from('faithfulness', found)}"


def _overhead_rows(found: dict[str, Any]) -> str:
    rows = []
    for net, one in found["nets"].items():
        cells = [f"{one['time'][way]:.2f}x, {one['mebibytes'][way]:.0f} MiB" for way in WAYS[1:]]
        plain = f"{one['plain_ms']:.1f} ms, {one['mebibytes']['plain']:.0f} MiB"
        rows.append([f"`{net}`", " x ".join(map(str, one["image"])), plain, *cells])
    about = f"Time over a plain pass (median of {found['rounds']}) and what the process grows by; {found['threads']} threads."
    return _table(["net", "image", "plain pass", *WAYS[1:]], rows) + f"\n\n{about} {_from('overhead', found)}"


def _from(name: str, found: dict[str, Any]) -> str:
    commit = str(found["environment"].get("commit", ""))[:12]
    return f"From [results/explain_{name}.json](results/explain_{name}.json), commit {commit}."


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_page() -> None:
    """Put the tables between their marks."""
    text = PAGE.read_text()
    for name, table in tables().items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        text = pattern.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)
    PAGE.write_text(text)


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if arguments:
        name, *given = arguments
        found = (
            faithful(given[0], 200, given[1:])
            if name == "faithfulness"
            else {"works": works, "overhead": overhead}[name]()
        )
        _write(name, found)
    write_page()


if __name__ == "__main__":
    main(sys.argv[1:])
