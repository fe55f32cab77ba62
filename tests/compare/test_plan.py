"""The plan of a comparison: order, teachers, reuse and refusal."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from sightline.compare import make_plan, state
from sightline.recipes import get

SPLITS = SimpleNamespace(fingerprint="abc", source="digits")


def plan(folder, models=("vit_mini", "resnet_mini", "deit_mini_distilled"), seeds=(0, 1)):
    return make_plan(folder, SPLITS, models, seeds, get("digits"))


def record(run, finished=True, **changes):
    run.folder.mkdir(parents=True)
    recipe = asdict(replace(run.recipe, **changes))
    content = {"schema": 1, "recipe": recipe, "model": {"name": run.model}, "data": {"fingerprint": "abc"}}
    (run.folder / "recipe.json").write_text(json.dumps(content))
    if finished:
        (run.folder / "metrics.json").write_text('{"schema": 1, "finished": true}')


def test_the_twin_comes_first_and_teaches(tmp_path):
    runs = plan(tmp_path).runs
    assert [(run.model, run.seed) for run in runs][:3] == [
        ("resnet_mini", 0),
        ("vit_mini", 0),
        ("deit_mini_distilled", 0),
    ]
    student = runs[5]
    assert student.seed == student.recipe.seed == 1
    assert student.recipe.teacher == str(tmp_path / "resnet_mini-s1")
    assert student.recipe.distillation == "hard"
    assert runs[1].recipe.distillation == "none"


def test_all_budgets_are_equal(tmp_path):
    budgets = {(run.recipe.epochs, run.recipe.batch_size, run.recipe.lr) for run in plan(tmp_path).runs}
    assert len(budgets) == 1


def test_states(tmp_path):
    first, second, third, *_ = plan(tmp_path).runs
    record(first)
    record(second, finished=False)
    assert [state(run, SPLITS) for run in (first, second, third)] == ["finished", "begun", "new"]


def test_another_recipe_or_other_data_is_refused_by_name(tmp_path):
    first, second, *_ = plan(tmp_path).runs
    record(first, lr=0.5)
    with pytest.raises(ValueError, match=r"lr is 0\.5 there and .*--again"):
        state(first, SPLITS)
    record(second)
    with pytest.raises(ValueError, match="data is 'abc' there and 'xyz' now"):
        state(second, SimpleNamespace(fingerprint="xyz"))


def test_a_recipe_that_lacks_its_parts_is_another_run(tmp_path):
    first = plan(tmp_path).runs[0]
    record(first)
    (first.folder / "recipe.json").write_text('{"schema": 1}')
    with pytest.raises(ValueError, match=r"model is None there and 'resnet_mini' now.*--again"):
        state(first, SPLITS)


def test_fields_that_change_nothing_are_no_difference(tmp_path):
    first = plan(tmp_path).runs[0]
    record(first, workers=2, card="other words")
    assert state(first, SPLITS) == "finished"


@pytest.mark.parametrize(
    ("models", "seeds", "message"),
    [
        ((), (0,), "at least one model"),
        (("vit_mini",), (), "at least one seed"),
        (("vit_mini", "vit_mini"), (0,), "given twice: vit_mini"),
        (("deit_mini_distilled",), (0,), "distilled from resnet_mini"),
        (("vit_mni",), (0,), "did you mean"),
    ],
)
def test_bad_plans(tmp_path, models, seeds, message):
    with pytest.raises(ValueError, match=message):
        plan(tmp_path, models, seeds)
