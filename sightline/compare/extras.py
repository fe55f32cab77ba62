"""What a comparison adds to a finished run: its cost, its measured speed, and its attention maps of the shared test pictures."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sightline.cost import count, peak_memory, throughput
from sightline.data import ImageSet, Splits, normalise
from sightline.explain import LayerMaps, explain, faithfulness, layer_maps, methods_for, taps
from sightline.report import save_pictures, wanted_pictures
from sightline.runs import RunFolder, atomic_write

PICTURES = 6
SCORED, STEPS = 32, 8  # test pictures, and steps of their curves
SCORED_METHODS = ("attention", "rollout", "gradient_rollout", "grad_cam", "gradient_input")


def write_cost(run: RunFolder, model: nn.Module, image_size: tuple[int, int], batch_size: int) -> None:
    """Write cost.json: parameters, multiply-adds, the ops; images per second and peak memory of a step, measured now."""
    counted = count(model, image_size).as_dict()
    measured = {
        "batch_size": batch_size,
        "threads": torch.get_num_threads(),
        "train_images_per_second": throughput(model, image_size, batch_size, training=True),
        "inference_images_per_second": throughput(model, image_size, batch_size, training=False),
        "peak_memory_bytes": peak_memory(model, image_size, batch_size),
    }
    run.write("cost", counted | {"measured": measured})


def shared_pictures(test: ImageSet) -> Tensor:
    """Positions of the pictures whose maps are kept: the first test picture of each of up to PICTURES classes, spread evenly."""
    classes = len(test.classes)
    wanted = [index * classes // min(PICTURES, classes) for index in range(min(PICTURES, classes))]
    first = [torch.nonzero(test.labels == label).flatten() for label in wanted]
    found = [int(where[0]) for where in first if len(where)]
    return torch.tensor(found, dtype=torch.int64)


def write_maps(run: RunFolder, model: nn.Module, splits: Splits) -> None:
    """Write maps/: where every layer of the net looks, for the shared pictures. A net without attention has no layers."""
    indices = shared_pictures(splits.test)
    images = splits.test.batch(indices)
    normalised = normalise(images, splits.mean, splits.std)
    with torch.no_grad():
        predicted = model.eval()(normalised).argmax(1)
    layers = layer_maps(model, normalised) if taps(model) else []
    arrays = {"pictures": images.permute(0, 2, 3, 1).numpy()}  # P, H, W, 3
    arrays |= {f"layer{i}": one.weights.numpy().astype(np.float16) for i, one in enumerate(layers)}
    pictures = [
        {
            "index": int(index),
            "name": splits.test.names[int(index)],
            "label": splits.classes[int(splits.test.labels[index])],
            "predicted": splits.classes[int(guess)],
        }
        for index, guess in zip(indices, predicted, strict=True)
    ]
    about = {
        "pictures": pictures,
        "image_size": list(splits.image_size),
        "layers": [_about(one) for one in layers],
        "faithfulness": scores(model, splits),
    }
    folder = run.path / "maps"
    folder.mkdir(parents=True, exist_ok=True)
    _save_arrays(folder / "maps.npz", arrays)
    atomic_write(folder / "maps.json", json.dumps({"schema": 1} | about, indent=1))


def scores(model: nn.Module, splits: Splits) -> dict[str, object]:
    """Deletion and insertion of the quick methods that apply to a net, on its first SCORED test pictures."""
    if len(splits.test) < 2:  # one picture has no interval
        return {}
    chosen = torch.arange(min(SCORED, len(splits.test)))
    images = normalise(splits.test.batch(chosen), splits.mean, splits.std)
    methods = [one.name for one in methods_for(model) if one.name in SCORED_METHODS]
    played = {name: faithfulness(model, images, explain(model, images, name), steps=STEPS) for name in methods}
    return {"n": len(chosen), "steps": STEPS, "methods": {name: one.summary() for name, one in played.items()}}


def write_examples(folder: Path, test: ImageSet) -> None:
    """Keep the test pictures that the report shows as examples, right and wrong, in the comparison's folder."""
    wanted = wanted_pictures(folder)
    pictures = test.batch(torch.tensor(wanted, dtype=torch.int64)).permute(0, 2, 3, 1)  # P, H, W, 3
    save_pictures(folder, wanted, pictures.numpy())


def _about(one: LayerMaps) -> dict[str, object]:
    shape = one.weights.shape
    return {
        "name": one.name,
        "op": one.op,
        "query_grid": list(shape[1:3]),
        "key_grid": list(shape[3:5]),
        "groups": one.groups,
        "signed": one.signed,
    }


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    atomic_write(path, buffer.getvalue())
