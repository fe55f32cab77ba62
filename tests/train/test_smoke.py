"""Every recipe's smoke twin runs through the whole loop, on a net of a few hundred parameters."""

from dataclasses import replace

import pytest

from sightline.recipes import RECIPES
from sightline.train import train
from tests.train.tiny import CNN, RECIPE, TWO_HEADS, image_set, splits

SMOKES = [name for name, recipe in RECIPES.items() if name.endswith("_smoke") and recipe.task == "classes"]


@pytest.fixture(scope="module")
def data():
    sets = {"train": image_set(128, 1, (32, 32)), "val": image_set(9, 2, (32, 32)), "test": image_set(9, 3, (32, 32))}
    return replace(splits(), **sets, image_size=(32, 32))


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    train(replace(RECIPE, batch_size=64, epochs=1), CNN, data, folder)
    return str(folder)


@pytest.mark.parametrize("name", SMOKES)
def test_smoke(name, data, teacher, tmp_path):
    recipe = RECIPES[name]
    taught = recipe.distillation != "none"
    recipe = replace(recipe, hidden_head=False, teacher=teacher if taught else None)
    metrics = train(
        recipe, TWO_HEADS if taught else CNN, data, tmp_path / "run", finetune=teacher if recipe.fresh_head else None
    )
    assert metrics["finished"]
    assert metrics["epochs"] == recipe.epochs
