"""Recipes: typed changes, clear refusals, and smoke twins that are the same path, smaller."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest

from sightline.recipes import RECIPES, Recipe, distilled, get, override, smoke
from sightline.recipes.rules import parse


def test_changes_are_typed_by_the_annotation():
    recipe = override(
        get("mini"),
        [
            "lr=5e-4",
            "betas=0.9, 0.95",
            "clip_grad=none",
            "optimizer=sgd",
            "epochs=3",
            "teacher=runs/a=b",
            "ema=0.99",
            "image_size=none",
        ],
    )
    assert (recipe.lr, recipe.betas, recipe.clip_grad, recipe.optimizer) == (5e-4, (0.9, 0.95), None, "sgd")
    assert (recipe.epochs, recipe.teacher, recipe.ema, recipe.image_size) == (3, "runs/a=b", 0.99, None)
    assert get("mini").lr == 1e-3


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("False", False), ("1", True), ("off", False)])
def test_switches(text, value):
    assert parse("switch", text, bool) is value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lr", "written key=value; got 'lr'"),
        ("epoch=3", r"no field 'epoch' \(did you mean 'epochs'\?\); it has: epochs, batch_size"),
        ("name=x", "no field 'name'"),
        ("epochs=3.5", "epochs takes a whole number; got '3.5'"),
        ("betas=0.9", "betas takes 2 numbers, separated by commas; got '0.9'"),
        ("lr=fast", "lr takes a number; got 'fast'"),
        ("clip_grad=x", "clip_grad takes a number or none; got 'x'"),
        ("optimizer=adam", "optimizer must be one of adamw, sgd, muon; got 'adam'"),
        ("flip=2", "flip must be from 0 to 1; got 2.0"),
        ("lr=nan", "lr must be at least 0; got nan"),
        ("betas=0.9,2", r"betas must be from 0 to 1; got 2.0"),
        ("betas=0.9,1.0", "betas must be below 1"),
        ("clip_grad=0", "for no clipping set clip_grad=none"),
        ("lr=1e-6", "min_lr must not exceed lr"),
        ("lr_batch=1024 lr=1e-5 min_lr=1e-6", r"lr=6.25e-07 = 1e-05 x 64 / 1024 \(lr_batch\)"),
        ("optimizer=muon sharded=yes", "needs whole matrices"),
    ],
)
def test_a_wrong_change_says_what_is_right(change, message):
    with pytest.raises(ValueError, match=message):
        override(get("mini"), change.split())


@pytest.mark.parametrize(("field", "value"), [("epochs", True), ("epochs", 2.0), ("betas", [0.9, 0.9]), ("name", None)])
def test_a_wrong_type_is_refused(field, value):
    with pytest.raises(TypeError, match=f"{field} must be"):
        dataclasses.replace(get("mini"), **{field: value})


def test_every_recipe_has_a_card_and_a_smoke_twin():
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.card.startswith(name + ":")
        if not name.endswith("_smoke"):
            twin = get(name + "_smoke")
            assert twin == dataclasses.replace(smoke(recipe), card=twin.card)
            assert twin.epochs <= 2
            assert twin.batch_size <= twin.train_limit <= 256
            assert twin.distillation == recipe.distillation


def test_every_recipe_survives_json():
    for recipe in RECIPES.values():
        back = json.loads(json.dumps(dataclasses.asdict(recipe)))
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in back.items()}
        assert Recipe(**fields) == recipe


def test_distilled_keeps_the_budget():
    plain, taught = get("digits"), distilled(get("digits"))
    changed = {f.name for f in dataclasses.fields(plain) if getattr(plain, f.name) != getattr(taught, f.name)}
    assert changed == {"name", "card", "distillation"}
    assert taught == get("kd_digits")


def test_unknown_recipe_lists_the_known():
    with pytest.raises(
        ValueError, match=r"no recipe is named 'digit' \(did you mean 'digits'\?\); there are: mini, kd_mini"
    ):
        get("digit")


@pytest.mark.parametrize(
    "name", ["mini", "digits", "cifar10", "cifar10_warm", "vit_imagenet", "vit_finetune", "lrnet", "san"]
)
def test_the_docs_state_the_recipe(name):
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    epochs, batch, rate, augmentation = [cell.strip() for cell in row.split("|")[3:7]]
    recipe = get(name)
    assert (int(epochs), int(batch), float(rate)) == (recipe.epochs, recipe.batch_size, recipe.lr)
    assert (f"padding {recipe.crop_padding}" in augmentation) == (recipe.crop_padding > 0)
    assert ("flip" in augmentation) == (recipe.flip > 0)


def test_deit_is_table_nine():
    recipe = get("deit")
    table = {
        "epochs": 300,
        "batch_size": 1024,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "warmup_epochs": 5.0,
        "label_smoothing": 0.1,
    }
    table |= {
        "drop_path": 0.1,
        "dropout": 0.0,
        "repeats": 3,
        "clip_grad": None,
        "mixup": 0.8,
        "cutmix": 1.0,
        "erasing": 0.25,
    }
    table |= {"randaugment_magnitude": 9, "randaugment_std": 0.5, "schedule": "cosine", "ema": None}
    assert {key: getattr(recipe, key) for key in table} == table
    assert recipe.peak_lr == pytest.approx(5e-4 * 1024 / 512)
    assert override(recipe, ["batch_size=256"]).peak_lr == pytest.approx(5e-4 * 256 / 512)
    assert override(recipe, ["accumulate=8"]).peak_lr == recipe.peak_lr


def test_every_card_names_its_paper_and_what_is_ours():
    for name, recipe in RECIPES.items():
        if recipe.image_size == 224 or recipe.image_size == 384:
            assert "arXiv" in recipe.card or name.startswith("deit_soft"), name
            assert "sightline train" in recipe.card or name in ("deit_soft",), name


def test_one_crop_at_a_time():
    with pytest.raises(ValueError, match="choose one crop"):
        override(get("deit"), ["crop_padding=4"])


def test_the_docs_state_what_the_full_recipe_takes():
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("full", root / "benchmarks" / "full.py")
    full = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(full)
    assert full.table() in (root / "docs" / "training.md").read_text(), "python benchmarks/full.py"
