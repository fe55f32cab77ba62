"""A comparison folder made of numbers alone: plausible enough to look at, small enough to test with. NumPy only.

`python -m tests.report.sample FOLDER` writes the full sample (ten nets) and its page.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np

MODELS = {  # name: (accuracy, multiply-adds, parameters, training images a second)
    "resnet_mini": (0.983, 12_400_000, 171_818, 2900.0),
    "nonlocal_resnet_mini": (0.981, 14_100_000, 180_074, 2350.0),
    "ccnet_resnet_mini": (0.986, 13_000_000, 176_938, 2100.0),
    "sasa_resnet_mini": (0.978, 9_700_000, 150_442, 610.0),
    "lrnet_mini": (0.961, 8_900_000, 141_036, 540.0),
    "aa_resnet_mini": (0.989, 13_800_000, 175_210, 1500.0),
    "san_mini_pairwise": (0.972, 11_200_000, 163_004, 380.0),
    "san_mini_patchwise": (0.983, 10_900_000, 168_520, 470.0),
    "vit_mini": (0.942, 15_900_000, 187_402, 3300.0),
    "deit_mini_distilled": (0.967, 16_200_000, 188_692, 3100.0),
}
GLYPHS = (  # 5 x 7 digits, a row in five bits
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111",
    "11111 00010 00100 00010 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": 1} | content))


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.write_bytes(buffer.getvalue())


def picture(label: int, rng: np.random.Generator, side: int = 16) -> np.ndarray:
    """A digit, shifted and noisy: (side, side, 3) uint8."""
    glyph = np.array([[int(bit) for bit in row] for row in GLYPHS[label % 10].split()], dtype=float)
    canvas = np.zeros((16, 16))
    row, col = rng.integers(0, 3), rng.integers(1, 6)
    canvas[row : row + 14, col : col + 10] = np.kron(glyph, np.ones((2, 2)))
    shaded = 235 * canvas * rng.uniform(0.7, 1, canvas.shape) + rng.uniform(0, 30, canvas.shape)
    side_by_side = np.kron(shaded, np.ones((max(side // 16, 1),) * 2))[:side, :side]
    return np.repeat(side_by_side[..., None], 3, axis=-1).astype(np.uint8)


def weights(
    model: str, pictures: int, queries: int, keys: int, sharpness: float, rng: np.random.Generator
) -> np.ndarray:
    """Maps of one layer (P, hq, wq, hk, wk) in the manner of the model's family."""
    at = (2 * np.arange(queries) + 1) * keys // (2 * queries)
    down = np.abs(at[:, None] - np.arange(keys))[:, None, :, None]  # hq, 1, hk, 1
    across = np.abs(at[:, None] - np.arange(keys))[None, :, None, :]  # 1, wq, 1, wk
    logits = rng.normal(0, sharpness, (pictures, 1, 1, keys, keys)) + rng.normal(
        0, 0.3, (pictures, queries, queries, keys, keys)
    )
    if model.startswith("ccnet"):
        logits = np.where((down == 0) | (across == 0), logits, -np.inf)
    elif model.startswith(("sasa", "lrnet", "san")):
        logits = np.where((down <= 2) & (across <= 2), logits, -np.inf)
    if model.endswith("patchwise"):
        return np.where(np.isfinite(logits), rng.normal(0, 1, logits.shape), 0)
    shares = np.exp(logits)
    return shares / shares.sum(axis=(-2, -1), keepdims=True)


def write_maps(
    folder: Path, model: str, chosen: dict, layers: int, queries: int, keys: int, rng: np.random.Generator
) -> None:
    attends = not model.startswith("resnet")
    sizes = (
        [(min(queries, 8 // 2**i), max(keys // 2**i, 2)) for i in range(layers)]
        if queries < 8
        else [(queries, keys)] * layers
    )
    about = [
        {
            "name": f"layer{1 + i}.0.attend_block",
            "op": "local_attention",
            "query_grid": [q, q],
            "key_grid": [k, k],
            "groups": 4,
            "signed": model.endswith("patchwise"),
        }
        for i, (q, k) in enumerate(sizes if attends else [])
    ]
    count = len(chosen["index"])
    arrays = {
        f"layer{i}": weights(model, count, q, k, 1.0 + i, rng).astype(np.float16)
        for i, (q, k) in enumerate(sizes)
        if attends
    }
    described = [
        {
            "index": int(index),
            "name": f"digits#{index}",
            "label": chosen["classes"][label],
            "predicted": chosen["classes"][said],
        }
        for index, label, said in zip(chosen["index"], chosen["label"], chosen["predicted"], strict=True)
    ]
    side = chosen["pictures"].shape[1]
    write_json(folder / "maps" / "maps.json", {"pictures": described, "image_size": [side, side], "layers": about})
    write_arrays(folder / "maps" / "maps.npz", pictures=chosen["pictures"], **arrays)


def predict(
    label: np.ndarray, accuracy: float, classes: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Answers with about that accuracy, and probabilities (N, classes)."""
    wrong = rng.uniform(size=len(label)) > accuracy
    predicted = np.where(wrong, (label * 3 + rng.integers(1, 3, len(label))) % classes, label)
    probability = rng.dirichlet(np.full(classes, 0.3), len(label))
    sure = np.where(predicted == label, rng.beta(9, 1, len(label)), rng.beta(3, 2, len(label)))
    probability = probability * (1 - sure)[:, None]
    probability[np.arange(len(label)), predicted] += sure
    answer = probability.argmax(1)
    return answer, probability


def log(accuracy: float, epochs: int, rng: np.random.Generator) -> str:
    lines = []
    for epoch in range(1, epochs + 1):
        share = 1 - np.exp(-4.5 * epoch / 30)
        lines.append(
            {
                "epoch": epoch,
                "step": 20 * epoch,
                "lr": 1e-3,
                "train_loss": float(2.3 - 1.7 * share + rng.normal(0, 0.02)),
                "val_loss": float(2.3 - 1.72 * share * accuracy + rng.normal(0, 0.03)),
                "val_accuracy": float(min(1, 0.1 + (accuracy - 0.1) * share + rng.normal(0, 0.004))),
                "seconds": 0.9,
                "images_per_second": 1500.0,
                "loader_wait": 0.01,
            }
        )
    return "".join(json.dumps(line) + "\n" for line in lines)


def write_run(
    folder: Path,
    model: str,
    seed: int,
    classes: list[str],
    test: np.ndarray,
    pictures: np.ndarray,
    *,
    epochs: int = 30,
    layers: int = 3,
    queries: int = 8,
    keys: int = 16,
    shown: int = 6,
) -> None:
    """One finished run. `test` are the labels of the test set, `pictures` its pictures."""
    accuracy, macs, parameters, speed = MODELS.get(model, (0.9, 10_000_000, 150_000, 1000.0))
    rng = np.random.default_rng([seed, *model.encode()])
    folder.mkdir(parents=True, exist_ok=True)
    side = pictures.shape[1]
    recipe = {
        "name": "mini",
        "card": "Ours: a sample.",
        "epochs": epochs,
        "batch_size": 64,
        "lr": 0.002,
        "seed": seed,
        "betas": [0.9, 0.999],
        "clip_grad": 1.0,
        "ema": None,
        "distillation": "hard" if "distilled" in model else "none",
        "teacher": None,
    }
    data = {
        "source": "digits",
        "classes": classes,
        "sizes": {"train": 1257, "val": 180, "test": len(test)},
        "mean": [0.3] * 3,
        "std": [0.2] * 3,
        "split_seed": 0,
        "fingerprint": "f00d",
    }
    about = {"name": model, "num_classes": len(classes), "image_size": [side, side], "in_chans": 3, "options": {}}
    batch = {"global": 64, "per_process": 64, "processes": 1, "accumulate": 1}
    write_json(folder / "recipe.json", {"recipe": recipe, "model": about, "data": data, "batch": batch})
    write_json(
        folder / "env.json",
        {
            "sightline": "0.1.0",
            "commit": "5f3fbfe0" * 5,
            "python": "3.11.7",
            "torch": "2.15.0",
            "torchvision": "0.29.2",
            "timm": "1.0.31",
            "platform": "Linux x86_64",
            "cpu": "a processor",
            "threads": 2,
            "device": "cpu",
            "date": "2026-11-23T08:10:00+00:00",
        },
    )
    (folder / "log.jsonl").write_text(log(accuracy, epochs, rng))
    predicted, probability = predict(test, accuracy, len(classes), rng)
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (test, predicted), 1)
    scores = {
        "accuracy": float((predicted == test).mean()),
        "top5": 0.99,
        "loss": 0.1,
        "n": len(test),
        "confusion": confusion.tolist(),
    }
    write_json(
        folder / "metrics.json",
        {
            "finished": True,
            "epochs": epochs,
            "test": scores,
            "val": scores,
            "train_seconds": 36000 / speed,
            "train_images_per_second": speed,
            "inference_images_per_second": 3 * speed,
            "peak_memory_bytes": int(3e8 + 1e5 * len(model)),
        },
    )
    write_arrays(
        folder / "predictions.npz",
        label=test,
        predicted=predicted,
        probability=probability.astype(np.float16),
        index=np.arange(len(test)),
    )
    measured = {
        "train_images_per_second": speed,
        "inference_images_per_second": 3 * speed,
        "peak_memory_bytes": int(3e8),
    }
    write_json(
        folder / "cost.json",
        {"parameters": parameters, "macs": macs, "image_size": [side, side], "ops": [], "measured": measured},
    )
    index = np.arange(shown)
    chosen = {
        "index": index,
        "label": test[index],
        "predicted": predicted[index],
        "pictures": pictures[index],
        "classes": classes,
    }
    write_maps(folder, model, chosen, layers, queries, keys, rng)


def write_comparison(
    folder: Path,
    models: list[str] | None = None,
    seeds: tuple[int, ...] = (0,),
    *,
    classes: list[str] | None = None,
    source: str = "digits",
    tested: int = 360,
    side: int = 16,
    keep_pictures: bool = True,
    **options: int,
) -> Path:
    """Write a comparison folder with compare.json, a finished run a net and seed, and pictures.npz; return the folder."""
    models = list(MODELS) if models is None else models
    classes = [str(i) for i in range(10)] if classes is None else classes
    rng = np.random.default_rng(0)
    test = np.concatenate([np.arange(len(classes)), rng.integers(0, len(classes), tested - len(classes))])
    pictures = np.stack([picture(int(label), rng, side) for label in test])
    summary, runs, twin = [], [], "resnet_mini" if "resnet_mini" in models else None
    for model in models:
        for seed in seeds:
            write_run(folder / f"{model}-s{seed}", model, seed, classes, test, pictures, **options)
            runs.append({"model": model, "seed": seed, "folder": f"{model}-s{seed}"})
        summary.append(_line(folder, model, seeds, twin))
    content = {"source": source, "models": models, "seeds": list(seeds), "runs": runs, "twin": twin, "summary": summary}
    write_json(folder / "compare.json", content)
    if keep_pictures:
        write_arrays(folder / "pictures.npz", index=np.arange(len(test)), pictures=pictures)
    return folder


def _line(folder: Path, model: str, seeds: tuple[int, ...], twin: str | None) -> dict:
    def accuracy(name: str) -> float:
        runs = [json.loads((folder / f"{name}-s{seed}" / "metrics.json").read_text()) for seed in seeds]
        return float(np.mean([run["test"]["accuracy"] for run in runs]))

    cost = json.loads((folder / f"{model}-s{seeds[0]}" / "cost.json").read_text())
    mean = accuracy(model)
    half = 1.96 * (mean * (1 - mean) / 360) ** 0.5 + 0.003
    line = {
        "model": model,
        "runs": len(seeds),
        "accuracy_mean": mean,
        "accuracy_low": mean - half,
        "accuracy_high": min(1.0, mean + half),
        "paired_difference": None,
        "paired_p": None,
        "paired_test": None,
        "parameters": cost["parameters"],
        "macs": cost["macs"],
        "train_seconds": 36000 / cost["measured"]["train_images_per_second"],
    }
    if twin and model != twin:
        difference = mean - accuracy(twin)
        line |= {
            "paired_difference": difference,
            "paired_p": float(np.exp(-200 * abs(difference))),
            "paired_test": "exact McNemar",
        }
    return line | cost["measured"]


if __name__ == "__main__":
    from sightline.report import build_report

    print(build_report(write_comparison(Path(sys.argv[1]))))
