"""Measure how closely nets answer as their sources do, both ways, on random weights; write docs/results/weights.json and the table.

    python docs/weights_parity.py           # measure (minutes; transformers must be installed beside sightline) and write the table
    python docs/weights_parity.py --table   # write the table of docs/weights.md anew from the JSON alone

The difference is the largest one of a logit over the largest magnitude of a logit, float32, one image. Weights are random with unit
gain, so that no layer can hide behind another.
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "docs" / "results" / "weights.json", ROOT / "docs" / "weights.md"
SEED, DEEP = 0, 24
REMARKS = {
    ("timm", "vit_b16_r50"): "Google's and timm's ResNet differ in small constants; the report of `convert` says so"
}

TIMM = {
    "vit_ti16": "vit_tiny_patch16_224",
    "vit_ti16_384": "vit_tiny_patch16_384",
    "vit_s16": "vit_small_patch16_224",
    "vit_s32": "vit_small_patch32_224",
    "vit_b16": "vit_base_patch16_224",
    "vit_b16_384": "vit_base_patch16_384",
    "vit_b32": "vit_base_patch32_224",
    "vit_l16": "vit_large_patch16_224",
    "vit_l32_384": "vit_large_patch32_384",
    "vit_h14": "vit_huge_patch14_224",
    "vit_b16_r50": "vit_base_r50_s16_224",
    "vit_s32_r26": "vit_small_r26_s32_224",
    "deit_s16": "deit_small_patch16_224",
    "deit_b16_384": "deit_base_patch16_384",
    "deit_ti16_distilled": "deit_tiny_distilled_patch16_224",
    "deit_b16_distilled_384": "deit_base_distilled_patch16_384",
    "conv_resnet34": "resnet34",
    "conv_resnet26_lrnet": "resnet26",
    "conv_resnet50": "resnet50",
    "conv_resnet152": "resnet152",
    "se_resnet50": "seresnet50",
    "nonlocal_resnet50": "resnet50",
}
TORCHVISION = {"vit_b16": "vit_b_16", "vit_b32": "vit_b_32", "vit_l16": "vit_l_16", "vit_h14": "vit_h_14"}
TORCHVISION |= {"conv_resnet50": "resnet50", "conv_resnet101": "resnet101", "nonlocal_resnet50_10": "resnet50"}
TO_TIMM = (
    "vit_b16",
    "vit_b16_gap",
    "vit_l16_384",
    "vit_b16_r50",
    "deit_s16",
    "deit_b16_distilled_384",
    "conv_resnet50",
    "se_resnet50",
)
TO_TRANSFORMERS = ("vit_b16", "vit_b32_384", "vit_l16", "deit_s16", "deit_ti16_distilled", "deit_b16_distilled_384")
GOLDEN = ("vit_token_2x3grid", "vit_gap_prelogits", "vit_hybrid_token")


def measure() -> dict[str, Any]:
    """All rows, with the environment they were measured in."""
    import transformers

    from sightline.runs import environment

    rows = []
    for row in _rows():
        print(f"{row['from']:22} {row['net']:24} {row['to']:16} {row['difference']:.2g}", flush=True)
        rows.append(row)
    return {"environment": environment() | {"transformers": transformers.__version__}, "seed": SEED, "rows": rows}


def _rows() -> Iterator[dict[str, Any]]:
    import timm
    import torchvision

    for ours, theirs in TIMM.items():
        yield _in("timm", ours, lambda theirs=theirs: timm.create_model(theirs, num_classes=1000))
    for ours, theirs in TORCHVISION.items():
        yield _in("torchvision", ours, lambda theirs=theirs: torchvision.models.get_model(theirs, weights=None))
    for ours, size, kind in (
        ("vit_b16", {}, "ViT"),
        ("vit_b32_384", {"image_size": 384, "patch_size": 32}, "ViT"),
        (
            "vit_l16",
            {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
            "ViT",
        ),
        ("deit_s16_distilled", {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}, "DeiT"),
        ("deit_b16_distilled_384", {"image_size": 384}, "DeiT"),
        ("deit_b16_distilled", {}, "DeiT, one classifier"),
    ):
        yield _in("transformers", ours, lambda size=size, kind=kind: _transformers_net(kind, size))
    yield from _files()
    for ours in TO_TIMM:
        yield _out(ours, "timm", lambda folder: timm.create_model(f"local-dir:{folder}", pretrained=True))
    for ours in TO_TRANSFORMERS:
        yield _out(ours, "huggingface", _from_transformers)


def _in(source: str, ours: str, make: Callable[[], Any]) -> dict[str, Any]:
    import sightline
    from tests.weights.nets import shaken

    theirs = shaken(make(), SEED)
    net = sightline.create_model(ours, weights=theirs).eval()
    assert not net.weights_report.of("dropped") + net.weights_report.of("resized")
    return _row(source, ours, "sightline", net, net, theirs)


def _out(ours: str, to: str, make: Callable[[Path], Any]) -> dict[str, Any]:
    import sightline
    from sightline.weights.convert import convert
    from tests.weights.nets import shaken

    net = shaken(sightline.create_model(ours, num_classes=1000), SEED)
    with tempfile.TemporaryDirectory() as folder:
        sightline.save_pretrained(net, Path(folder) / "ours")
        convert(Path(folder) / "ours", Path(folder) / "theirs", to=to)
        theirs = make(Path(folder) / "theirs").eval()
        return _row("sightline", ours, "transformers" if to == "huggingface" else to, net, theirs, net)


def _files() -> Iterator[dict[str, Any]]:
    """Formats that are files: DeiT's and SAN's authors, Google's, the last two against golden numbers of their own code."""
    import timm
    import torch

    import sightline
    from tests import golden_cases
    from tests.weights import nets
    from tests.weights.golden_nets import google_net, san_net

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs = nets.shaken(timm.create_model("deit_base_distilled_patch16_224"), SEED)
        torch.save({"model": theirs.state_dict()}, folder / "deit.pth")
        net = sightline.create_model("deit_b16_distilled", weights=folder / "deit.pth").eval()
        yield _row("DeiT's authors", "deit_b16_distilled", "sightline", net, net, theirs)
        for ours, architecture, heads in (
            ("vit_b16", "vit_base_patch16_224", 12),
            ("vit_l16", "vit_large_patch16_224", 16),
        ):
            theirs = nets.shaken(timm.create_model(architecture, act_layer="gelu_tanh"), SEED)
            net = sightline.create_model(ours, weights=nets.as_google(theirs.state_dict(), heads_count=heads)).eval()
            yield _row("Google .npz, by hand", ours, "sightline", net, net, theirs)
    for case_name in GOLDEN:
        case, net = golden_cases.load(case_name), google_net(case_name).float()
        sightline.load_weights(net, golden_cases.FOLDER / f"{case_name}.checkpoint.npz")
        got = net(case.tensors["input.image"].permute(0, 3, 1, 2).float())
        yield _golden("Google .npz", case, net, got)
    for kind in ("pairwise", "patchwise"):
        case, state = nets.san_authors(f"san_network_{kind}")
        net = san_net(kind).float()
        sightline.load_weights(net, state)
        yield _golden("SAN's authors", case, net, net(case.tensors["input.x"].float()))


def _golden(source: str, case: Any, net: Any, got: Any) -> dict[str, Any]:
    from tests import golden_cases

    difference = golden_cases.difference(got, case.tensors["output.logits"])
    return {
        "from": source,
        "net": f"golden {case.name}",
        "to": "sightline",
        "layers": _layers(net),
        "difference": difference,
    }


def _row(source: str, ours: str, to: str, net: Any, got: Any, expected: Any) -> dict[str, Any]:
    import torch

    from tests.weights.nets import relative

    rows, cols = getattr(net, "img_size", (224, 224))
    images = torch.randn(1, 3, rows, cols, generator=torch.Generator().manual_seed(SEED))
    with torch.inference_mode():
        first, second = (getattr(y, "logits", y) for y in (got(images), expected(images)))
    return {"from": source, "net": ours, "to": to, "layers": _layers(net), "difference": relative(first, second)}


def _layers(net: Any) -> int:
    blocks = getattr(net, "blocks", None)
    if blocks is not None:
        return len(blocks)
    return sum(type(module).__name__ in ("Bottleneck", "BasicBlock", "SANBlock") for module in net.modules())


def _transformers_net(kind: str, size: dict[str, Any]) -> Any:
    import transformers

    if kind == "ViT":
        return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000, **size))
    config = transformers.DeiTConfig(num_labels=1000, **size)
    if kind == "DeiT":
        return transformers.DeiTForImageClassificationWithTeacher(config)
    return transformers.DeiTForImageClassification(config)


def _from_transformers(folder: Path) -> Any:
    import transformers

    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, architecture).from_pretrained(folder)


def table(results: dict[str, Any]) -> str:
    """The table of docs/weights.md."""
    lines = ["| from | to | net | blocks | largest relative logit difference | allowed |", "|---|---|---|---|---|---|"]
    for row in results["rows"]:
        allowed = REMARKS.get((row["to"], row["net"]), "1e-4" if row["layers"] >= DEEP else "1e-5")
        difference = f"{row['difference']:.1e}" if row["difference"] else "0"
        lines.append(f"| {row['from']} | {row['to']} | `{row['net']}` | {row['layers']} | {difference} | {allowed} |")
    environment = results["environment"]
    versions = ", ".join(f"{name} {environment[name]}" for name in ("torch", "torchvision", "timm", "transformers"))
    lines += [
        "",
        f"{environment['cpu']}, {versions}, commit {environment['commit']}, one image, n = 1 draw of weights each.",
    ]
    lines += ["From [docs/results/weights.json](results/weights.json), measured by `docs/weights_parity.py`."]
    return "\n".join(lines)


def write_table(results: dict[str, Any]) -> None:
    """Put the table between the page's markers."""
    marked = re.compile(r"(<!-- parity -->\n).*?(<!-- /parity -->)", re.S)
    text = PAGE.read_text()
    if not marked.search(text):
        raise ValueError(f"{PAGE.name} lost its markers <!-- parity --> and <!-- /parity -->")
    PAGE.write_text(marked.sub(lambda match: match[1] + table(results) + "\n" + match[2], text))


if __name__ == "__main__":
    if "--table" not in sys.argv[1:]:
        sys.path.insert(0, str(ROOT))
        RESULTS.write_text(json.dumps(measure(), indent=1) + "\n")
    write_table(json.loads(RESULTS.read_text()))
