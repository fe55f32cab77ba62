"""What a folder may lack, and what is refused: the page says what is missing, a damaged file is named."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from sightline.cli import verbs  # noqa: F401 (attaches the verbs)
from sightline.cli.app import app
from sightline.report import build_report, build_report_from_runs, save_pictures, wanted_pictures
from sightline.report.load import read_comparison, read_runs
from sightline.runs import RunFolderError
from tests.report import sample
from tests.report.conftest import SMALL
from tests.report.html import Page

RUN = "ccnet_resnet_mini-s0"


def page_of(folder, **options):
    return Page(build_report(folder, **options).read_text())


@pytest.mark.parametrize(
    "name", ["env.json", "cost.json", "log.jsonl", "metrics.json", "predictions.npz", "maps/maps.json", "recipe.json"]
)
def test_a_missing_file_is_named_on_the_page(folder, name):
    (folder / RUN / name).unlink()
    page = page_of(folder)
    assert any("lacks" in text and name in text for text in page.texts["span"])


def test_without_any_optional_file_the_page_says_so(folder):
    (folder / "pictures.npz").unlink()
    for run in folder.glob("*-s0"):
        shutil.rmtree(run / "maps")
        for name in ("metrics.json", "predictions.npz", "cost.json", "env.json", "log.jsonl"):
            (run / name).unlink()
    compare = json.loads((folder / "compare.json").read_text())
    (folder / "compare.json").write_text(json.dumps(compare | {"runs": [], "summary": []}))
    prose = page_of(folder).prose
    for words in (
        "No run has finished yet",
        "has attention maps",
        "No run has recorded its predictions",
        "confusion matrix",
    ):
        assert words in prose


def test_an_unfinished_and_an_unbegun_run_are_told(folder):
    (folder / RUN / "metrics.json").unlink()
    log = (folder / RUN / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / RUN / "log.jsonl").write_text("".join(log[:2]))
    shutil.rmtree(folder / "san_mini_patchwise-s0")
    compare = json.loads((folder / "compare.json").read_text())
    for key in ("runs", "summary"):
        compare[key] = [one for one in compare[key] if not one["model"].startswith(("ccnet", "san"))]
    (folder / "compare.json").write_text(json.dumps(compare))
    assert "Not finished: CCNet (2 of 4 epochs trained) and SAN patchwise (not begun)." in page_of(folder).prose


def test_metrics_that_do_not_say_finished_do_not_count(folder):
    metrics = json.loads((folder / RUN / "metrics.json").read_text())
    (folder / RUN / "metrics.json").write_text(json.dumps(metrics | {"finished": False}))
    run = next(run for run in read_comparison(folder).runs if run.folder.name == RUN)
    assert run.metrics is None


@pytest.mark.parametrize(
    "name", ["compare.json", f"{RUN}/metrics.json", f"{RUN}/recipe.json", f"{RUN}/maps/maps.json", f"{RUN}/log.jsonl"]
)
def test_damaged_json_is_named(folder, name):
    (folder / name).write_text('{"schema": 1, "cut')
    with pytest.raises(RunFolderError, match=f"{name.split('/')[-1]}.* is damaged"):
        build_report(folder)


@pytest.mark.parametrize("name", ["pictures.npz", f"{RUN}/predictions.npz", f"{RUN}/maps/maps.npz"])
def test_damaged_arrays_are_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    (folder / name).write_bytes(bytes(content[: len(content) * 2 // 3]))
    with pytest.raises(RunFolderError, match=f"{name.split('/')[-1]} is damaged"):
        build_report(folder)


def test_an_answer_without_a_probability_is_damage(folder):
    path = folder / RUN / "predictions.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **arrays | {"predicted": arrays["predicted"] + 50})
    with pytest.raises(RunFolderError, match=r"ccnet_resnet_mini-s0.predictions.npz is damaged: an answer has no prob"):
        build_report(folder)


def test_the_command_takes_a_folder_of_runs(folder):
    (folder / "compare.json").unlink()  # a comparison that was interrupted has none yet
    result = CliRunner().invoke(app, ["report", str(folder)])
    assert result.exit_code == 0, result.exception
    assert (folder / "report.html").is_file()


def test_what_must_be_there_is_named(folder):
    metrics = json.loads((folder / RUN / "metrics.json").read_text())
    del metrics["test"]["accuracy"]
    (folder / RUN / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(RunFolderError, match=r'metrics.json has no "accuracy"'):
        build_report(folder)


def test_maps_that_do_not_fit_their_description_are_refused(folder):
    path = folder / RUN / "maps" / "maps.json"
    about = json.loads(path.read_text())
    about["layers"][0]["key_grid"] = [5, 5]
    path.write_text(json.dumps(about))
    with pytest.raises(
        RunFolderError, match=r"layer0 has shape \(3, 4, 4, 4, 4\), maps/maps.json says \(3, 4, 4, 5, 5\)"
    ):
        build_report(folder)


def test_a_newer_schema_is_refused(folder):
    path = folder / "compare.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    with pytest.raises(RunFolderError, match="schema 99"):
        build_report(folder)


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"holds neither compare\.json nor a run folder"):
        build_report(tmp_path)
    with pytest.raises(RunFolderError, match="holds no run"):
        build_report_from_runs([tmp_path])
    with pytest.raises(ValueError, match="at least one run folder"):
        build_report_from_runs([])


def test_runs_side_by_side(folder, tmp_path):
    out = build_report_from_runs([folder / RUN, folder / "resnet_mini-s0"], tmp_path / "both.html")
    prose = Page(out.read_text()).prose
    assert out == tmp_path / "both.html"
    assert "were not made as one comparison" in prose
    assert "Against twin" not in prose
    assert "sightline train --model ccnet_resnet_mini --data digits" in prose


def test_one_run_and_a_folder_of_runs(folder):
    assert build_report(folder / RUN) == folder / RUN / "report.html"
    (folder / "compare.json").unlink()
    assert "Four nets were trained" in page_of(folder).prose


def test_one_net_under_two_recipes_is_two_nets(folder):
    other = shutil.copytree(folder / RUN, folder / "faster")
    recipe = json.loads((other / "recipe.json").read_text())
    recipe["recipe"]["lr"] = 0.1
    (other / "recipe.json").write_text(json.dumps(recipe))
    comparison = read_runs([folder / RUN, other])
    assert comparison.models == [f"ccnet_resnet_mini ({RUN})", "ccnet_resnet_mini (faster)"]
    prose = Page(build_report_from_runs([folder / RUN, other]).read_text()).prose
    assert "the runs differ in lr" in prose
    assert "--set lr=0.1" in prose


def test_runs_on_other_data_are_refused(folder):
    path = folder / RUN / "recipe.json"
    recipe = json.loads(path.read_text())
    recipe["data"]["fingerprint"] = "beef"
    path.write_text(json.dumps(recipe))
    with pytest.raises(ValueError, match="other data or another split"):
        build_report_from_runs([folder / RUN, folder / "resnet_mini-s0"])


def test_several_seeds(tmp_path):
    folder = sample.write_comparison(tmp_path, ["resnet_mini", "vit_mini"], (0, 1, 2), **SMALL)
    page = page_of(folder)
    assert "with 3 seeds" in page.prose
    assert "Student's 95% interval" in page.prose
    assert any("band" in attributes.get("class", "") for attributes in page.all("path"))


def test_pictures_wanted_can_be_saved(folder):
    (folder / "pictures.npz").unlink()
    assert "kept beside the runs" in page_of(folder).prose
    wanted = wanted_pictures(folder)
    assert wanted == sorted(set(wanted))
    assert set(wanted) <= set(range(SMALL["tested"]))
    save_pictures(folder, wanted, np.zeros((len(wanted), 8, 8, 3), dtype=np.uint8))
    page = page_of(folder)
    assert "kept beside the runs" not in page.prose
    embedded = {int(one["id"].removeprefix("picture-")) for one in page.all("symbol")}
    assert set(wanted) <= embedded
    with pytest.raises(ValueError, match=r"pictures must be \(1, H, W, 3\) uint8; got \(2, 4, 4, 3\) uint8"):
        save_pictures(folder, [0], np.zeros((2, 4, 4, 3), dtype=np.uint8))
