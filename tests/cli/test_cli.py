"""The command as people use it: output, piping, errors, exit codes. One smoke comparison serves all tests of trained runs."""

import csv
import io
import json
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from sightline import create_model, save_pretrained
from sightline.cli import main
from sightline.cli.output import Format, show
from sightline.cli.predict import _files
from sightline.data import load_splits
from sightline.recipes import get, override
from sightline.train import train

NETS = "resnet_mini,vit_mini"


@dataclass(frozen=True)
class Answer:
    """What a call of the command printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def sightline(*arguments: str | Path, cwd: Path | None = None) -> Answer:
    """Run the command in this process (starting Python and torch anew would take most of the time), its output not a terminal."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["sightline", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(cwd if cwd is not None else Path.cwd()),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Answer(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """A finished smoke comparison of two nets on the digits."""
    folder = tmp_path_factory.mktemp("cli") / "compared"
    answer = sightline(
        "compare", "--data", "digits", "--models", NETS, "--recipe", "digits_smoke", "--out", folder, "--format", "json"
    )
    assert answer.returncode == 0, answer.stderr
    return folder, answer


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with two good pictures and three files that only look like pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 255, (90, 68), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "grey.png")
    Image.fromarray(np.stack([noise] * 3, -1)).save(folder / "colour.jpg")
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.png").touch()
    whole = (folder / "colour.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def test_help_teaches_with_examples():
    answer = sightline("--help")
    assert answer.returncode == 0
    for verb in ("demo", "models", "train", "evaluate", "predict", "compare", "report", "cost", "convert", "doctor"):
        assert verb in answer.stdout
        assert "Examples:" in sightline(verb, "--help").stdout, verb


def test_models_in_three_formats():
    rows = json.loads(sightline("models", "san_mini*", "--format", "json").stdout)
    assert [row["model"] for row in rows] == ["san_mini_pairwise", "san_mini_patchwise"]
    assert rows[0]["parameters"] > 100_000
    table = sightline("models", "--family", "sasa").stdout
    assert "sasa_resnet_mini" in table
    assert "\x1b[" not in table
    read = list(csv.DictReader(io.StringIO(sightline("models", "vit*", "--format", "csv").stdout)))
    assert read[0]["family"] == "ViT"


def test_cost_adds_up():
    answer = json.loads(sightline("cost", "sasa_resnet_mini", "--image-size", "24", "40", "--format", "json").stdout)
    assert answer["image_size"] == [24, 40]
    assert answer["macs"] > sum(op["macs"] for op in answer["ops"]) > 0


def test_cost_of_a_net_is_that_of_its_own_images():
    own = json.loads(sightline("cost", "aa_wide_resnet28_10", "--format", "json").stdout)
    assert own["image_size"] == [32, 32]
    assert own["parameters"] == 36_048_980  # 100 classes
    people = sightline("cost", "aa_wide_resnet28_10").stdout
    assert "36.2 M parameters (ours -0.4%)" in people
    assert "36.2" not in sightline("cost", "aa_wide_resnet28_10", "--num-classes", "10").stdout.partition("layer")[0]


def test_cost_of_all_in_its_formats():
    rows = json.loads(sightline("cost", "lrnet?6", "--all", "--format", "json").stdout)
    assert [(row["model"], row["printed_parameters_millions"], row["flops_per_mac"]) for row in rows] == [
        ("lrnet26", "14.7", 1)
    ]
    assert rows[0]["flops_off"] == pytest.approx(rows[0]["macs"] / 2.6e9 - 1)
    table = sightline("cost", "--all", "--family", "ccnet", "--markdown").stdout.splitlines()
    assert table[0].startswith("| model | image | parameters |")
    assert {len(line.split(" | ")) for line in table} == {9}
    assert len(table) == 2 + 3


def test_doctor_finds_the_machine_well():
    answer = sightline("doctor")
    assert answer.returncode == 0
    assert "local_attention" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("cost", "sasa_resnet_mni"), 1, "sasa_resnet_mini"),
        (("cost",), 2, "--all"),
        (("cost", "vit_mini", "--family", "vit"), 2, "--family"),
        (("cost", "nothing*", "--all"), 1, "no model matches"),
        (("models", "nothing*"), 1, "no model matches"),
        (("models", "--family", "nobody"), 1, "there are: convolution"),
        (("train",), 2, "--model"),
        (("train", "--model", "vit_mini", "--data", "nowhere/"), 1, "nowhere"),
        (("train", "--model", "vit_mini", "--data", "digits", "--set", "lrr=1"), 1, "did you mean"),
        (("compare", "--data", "digits", "--models", "deit_mini_distilled"), 1, "distilled from resnet_mini"),
        (("train", "--model", "vit_mni", "--data", "nowhere"), 1, "did you mean vit_mini"),
        (("compare", "--models", "vit_mni", "--data", "nowhere"), 1, "did you mean vit_mini"),
        (("predict", "--run", "nowhere", "a.png"), 1, "nowhere"),
        (("report", "nowhere"), 1, "nowhere"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_errors_are_one_clear_sentence(arguments, code, message, tmp_path):
    answer = sightline(*arguments, cwd=tmp_path)
    assert answer.returncode == code
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not answer.stdout


def test_comparison_writes_runs_and_report(comparison):
    folder, answer = comparison
    assert [line["model"] for line in json.loads(answer.stdout)] == NETS.split(",")
    for net in NETS.split(","):
        run = folder / f"{net}-s0"
        for name in ("recipe.json", "env.json", "log.jsonl", "metrics.json", "cost.json", "predictions.npz"):
            assert (run / name).stat().st_size > 0
        assert (run / "maps" / "maps.json").exists()
    page = (folder / "report.html").read_text()
    assert "vit_mini" in page


def test_finished_runs_are_reused_and_others_are_not(comparison):
    folder, _ = comparison
    before = (folder / "vit_mini-s0" / "model.safetensors").stat().st_mtime_ns
    common = ("compare", "--data", "digits", "--models", NETS, "--recipe", "digits_smoke", "--out", folder)
    again = sightline(*common)
    assert again.returncode == 0, again.stderr
    assert "reusing the finished run" in again.stderr
    assert (folder / "vit_mini-s0" / "model.safetensors").stat().st_mtime_ns == before
    other = sightline(*common, "--epochs", "3")
    assert other.returncode == 1
    assert "epochs is 2 there and 3 now" in other.stderr
    assert "--again" in other.stderr


def test_a_folder_with_a_run_is_refused_before_anything_is_decoded(comparison):
    answer = sightline("train", "--model", "vit_mini", "--data", "nowhere", "--out", comparison[0] / "vit_mini-s0")
    assert (answer.returncode, "holds a run already" in answer.stderr) == (1, True)


def test_an_interrupt_says_how_to_go_on(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    out = tmp_path / "a run"
    with monkeypatch.context() as patched:
        patched.setattr("sightline.cli.progress.Display.training", stop)
        call = ("train", "--model", "resnet_mini", "--data", "digits", "--recipe", "digits_smoke", "--set", "epochs=1")
        answer = sightline(*call, "--out", out)
    assert (answer.returncode, answer.stderr.splitlines()[-1]) == (
        130,
        f"Interrupted: `sightline train --out '{out}' --resume` continues it",
    )
    assert sightline("train", "--out", out, "--resume").returncode == 0
    monkeypatch.setattr("sightline.cli.opened.open_net", stop)
    answer = sightline("predict", "--run", out, out)
    assert (answer.returncode, answer.stderr) == (1, f"Error: no picture lies in the folder {out}\n")
    Image.new("L", (8, 8)).save(out / "a.png")
    answer = sightline("predict", "--run", out, out)
    assert (answer.returncode, answer.stderr) == (130, "Interrupted\n")


def test_a_run_is_resumed_as_it_began(tmp_path):
    """Its options come from the folder, the default folder is found, and another recipe is refused."""
    recipe = override(get("digits_smoke"), ["epochs=1"])
    data = load_splits("digits", train_limit=recipe.train_limit, test_limit=recipe.test_limit)
    options = {"depth": 1, "dim": 8, "heads": 1}
    train(recipe, "vit_mini", data, tmp_path / "runs" / "vit_mini", model_options=options)
    for arguments in (("--out", "runs/vit_mini"), ("--model", "vit_mini")):
        answer = sightline("train", *arguments, "--resume", cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
    other = sightline("train", "--out", "runs/vit_mini", "--resume", "--recipe", "kd_digits_smoke", cwd=tmp_path)
    assert other.returncode == 1
    assert "this is not the run that began here" in other.stderr


def test_robustness_of_a_run_and_of_weights_by_name(comparison, tmp_path):
    folder, _ = comparison
    quick = ("--limit", "40", "--attack-limit", "12", "--attack-eps", "4", "--attack-eps-l2", "", "--attack-steps", "2",
             "--ensemble-steps", "3", "--queries", "3")  # fmt: skip
    run = folder / "resnet_mini-s0"
    answer = sightline("evaluate", "--run", run, "--robustness", *quick, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    content = json.loads(answer.stdout)
    assert "[0%] robustness: rotated 90" in answer.stderr
    kept = json.loads((run / "robustness.json").read_text())
    assert kept == content
    assert (kept["model"], kept["data"]["split"], kept["n"], len(kept["attacked"])) == ("resnet_mini", "test", 40, 12)
    table = sightline(
        "evaluate", "--model", "resnet_mini", "--weights", run / "model.safetensors", "--data", "digits",
        "--robustness", *quick, "--out", tmp_path / "other.json",
    )  # fmt: skip
    assert "worst case, largest change 4/255" in table.stdout
    other = json.loads((tmp_path / "other.json").read_text())
    assert [one["accuracy"] for one in other["shifts"]] == [one["accuracy"] for one in content["shifts"]]
    page = sightline("report", run, "--out", tmp_path / "page.html")
    assert page.returncode == 0
    assert "How they stand up" in (tmp_path / "page.html").read_text()
    (run / "robustness.json").unlink()


def test_evaluate_asks_for_one_net_and_known_words(comparison):
    run = comparison[0] / "vit_mini-s0"
    for arguments, message in (
        ((), "give a run folder, or --model NAME with --weights"),
        ((run, "--model", "vit_mini"), "give a run folder, or --model NAME with --weights"),
        ((run, "--run", run), "one run, please"),
        ((run, "--split", "tset"), "--split is train, val, test or all; got 'tset'"),
        ((run, "--attack-eps", "1;2"), "--attack-eps is a list of numbers"),
    ):
        answer = sightline("evaluate", *arguments)
        assert answer.returncode == 2
        assert message in " ".join(answer.stderr.replace("│", " ").split())


def test_strange_data_are_evaluated_whole_and_own_data_are_not(comparison, tmp_path):
    for label in range(10):
        for number in range(3):
            file = tmp_path / "strange" / f"digit_{label}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 20 * label + number, dtype=np.uint8)).save(file)
    run = comparison[0] / "vit_mini-s0"
    answer = sightline("evaluate", run, "--format", "json")
    assert json.loads(answer.stdout)[0]["split"] == "test"
    names = json.loads((run / "recipe.json").read_text())["data"]["classes"]
    for label, name in enumerate(names):
        (tmp_path / "strange" / f"digit_{label}").rename(tmp_path / "strange" / name)
    answer = sightline("evaluate", run, "--data", tmp_path / "strange", "--format", "json")
    assert answer.returncode == 0, answer.stderr
    assert [json.loads(answer.stdout)[0][key] for key in ("split", "n")] == ["all", 30]
    answer = sightline("evaluate", run, "--data", tmp_path / "strange", "--split", "test", "--format", "json")
    assert json.loads(answer.stdout)[0]["n"] < 30


def test_evaluate_names_what_it_leaves_out(comparison, tmp_path):
    for n in range(60):
        (tmp_path / str(n % 10)).mkdir(exist_ok=True)
        Image.new("L", (8, 8), n).save(tmp_path / str(n % 10) / f"{n}.png")
    (tmp_path / "0" / "bad.png").write_text("this is no picture")
    call = ["evaluate", comparison[0] / "resnet_mini-s0", "--data", tmp_path, "--format", "json"]
    refused = sightline(*call)
    assert (refused.returncode, "bad.png" in refused.stderr) == (1, True)
    answer = sightline(*call, "--max-unreadable", "0.1")
    assert json.loads(answer.stdout)[0]["n"] == 60
    assert "Left out: 0/bad.png: not a picture" in answer.stderr


def test_a_few_pictures_of_some_classes_are_evaluated(comparison, tmp_path):
    run = comparison[0] / "vit_mini-s0"
    names = json.loads((run / "recipe.json").read_text())["data"]["classes"]
    for count, name in enumerate((names[7], names[2]), 1):
        (tmp_path / "few" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), 99, dtype=np.uint8)).save(tmp_path / "few" / name / "one.png")
        answer = sightline("evaluate", run, "--data", tmp_path / "few", "--format", "json")
        assert answer.returncode == 0, answer.stderr
        (row,) = json.loads(answer.stdout)
        assert (row["split"], row["n"]) == ("all", count)
    (tmp_path / "few" / name / "bad.png").write_text("this is no picture")
    answer = sightline("evaluate", run, "--data", tmp_path / "few", "--format", "json", "--max-unreadable", "0.5")
    assert (json.loads(answer.stdout)[0]["n"], f"Left out: {name}/bad.png" in answer.stderr) == (2, True)
    (tmp_path / "few" / name / "bad.png").unlink()
    (tmp_path / "few" / "zebra").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / "few" / "zebra" / "one.png")
    answer = sightline("evaluate", run, "--data", tmp_path / "few")
    assert answer.returncode == 1
    assert "the net knows no 'zebra'; it knows" in answer.stderr


def test_a_runs_robustness_is_about_its_own_data(comparison, tmp_path):
    """And what can not be written is found out before the work."""
    run = comparison[0] / "resnet_mini-s0"
    names = json.loads((run / "recipe.json").read_text())["data"]["classes"]
    for name in names:
        (tmp_path / "other" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), 50, dtype=np.uint8)).save(tmp_path / "other" / name / "one.png")
    quick = ("--robustness", "--limit", "4", "--attack-limit", "0")
    answer = sightline("evaluate", run, "--data", tmp_path / "other", *quick)
    assert answer.returncode == 2
    assert "name a file with --out" in " ".join(answer.stderr.replace("│", " ").split())
    assert not (run / "robustness.json").exists()
    answer = sightline("evaluate", run, *quick, "--out", tmp_path)
    assert answer.returncode == 1
    assert "cannot write" in answer.stderr
    assert "rotated 90" not in answer.stderr
    answer = sightline("evaluate", run, "--limit", "4")
    assert answer.returncode == 2


def test_evaluate_repeats_the_recorded_accuracy(comparison):
    folder, _ = comparison
    recorded = json.loads((folder / "vit_mini-s0" / "metrics.json").read_text())["test"]
    answer = sightline("evaluate", folder / "vit_mini-s0", "--format", "json")
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads(answer.stdout)
    if row["n"] == recorded["n"]:
        assert row["accuracy"] == pytest.approx(recorded["accuracy"], abs=1e-4)


def test_predict_names_what_it_skips(comparison, pictures):
    run = comparison[0] / "resnet_mini-s0"
    answer = sightline("predict", "--run", run, pictures, "--top", "2", "--format", "json")
    assert answer.returncode == 1
    rows = json.loads(answer.stdout)
    assert {Path(row["file"]).name for row in rows} == {"grey.png", "colour.jpg"}
    assert [row["rank"] for row in rows] == [1, 2, 1, 2]
    for name in ("text.jpg", "empty.png", "truncated.jpg"):
        assert name in answer.stderr
    assert "3 of 5 files" in answer.stderr
    answer = sightline("predict", "--run", run, pictures / "text.jpg", "--format", "json")
    assert (answer.returncode, json.loads(answer.stdout)) == (1, [])


def test_predict_takes_globs_and_succeeds_quietly(comparison, pictures):
    run = comparison[0] / "vit_mini-s0"
    answer = sightline("predict", "--run", run, f"{pictures}/*.png", pictures / "colour.jpg", "--format", "csv")
    assert answer.returncode == 1  # the empty png is among them
    good = sightline("predict", "--run", run, pictures / "grey.png", pictures / "colour.jpg", "--format", "csv")
    assert good.returncode == 0
    assert good.stderr == ""
    assert len(list(csv.DictReader(io.StringIO(good.stdout)))) == 2


@pytest.mark.parametrize("arguments", ["models --format csv", "models --help", "--version"])
def test_a_reader_that_leaves_early_is_no_error(arguments):
    pipe = f"{sys.executable} -c 'from sightline.cli import main; main()' {arguments} | true"
    answer = subprocess.run(["bash", "-c", f"set -o pipefail; {pipe}"], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_names_that_look_like_markup_stay_whole(capsys):
    show([{"file": "a[bold].jpg"}, {"file": "b[/x].jpg"}], Format.TABLE)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == ["file", "a[bold].jpg", "b[/x].jpg"]


def test_a_name_that_is_no_text_is_printed(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "argv", ["sightline", "models", "vit_mini"])
    monkeypatch.setattr("sightline.cli.models.show", lambda *_, **__: print("caf\udce9.jpg"))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert stdout.buffer.getvalue() == b"caf\\udce9.jpg\n"


def test_a_net_of_grey_images_is_refused_in_words(tmp_path, pictures):
    save_pretrained(create_model("resnet_mini", num_classes=3, in_chans=1), tmp_path / "grey")
    for verb in ("predict", "explain"):
        answer = sightline(verb, "--run", tmp_path / "grey", pictures / "grey.png", cwd=tmp_path)
        assert (answer.returncode, "takes images of 1 channels" in answer.stderr) == (1, True)


def test_resuming_where_nothing_is(tmp_path):
    answer = sightline("train", "--out", tmp_path / "no", "--resume")
    assert (answer.returncode, "holds no run to resume" in " ".join(answer.stderr.replace("│", "").split())) == (
        2,
        True,
    )


def test_predict_skips_what_is_hidden(tmp_path):
    for name in ("a.png", "._a.png", "__MACOSX/a.png", ".thumbs/a.png", "deep/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert _files([str(tmp_path)]) == [tmp_path / "a.png", tmp_path / "deep/b.png"]
