"""The run folder: whole files or none, and errors that say what to do."""

import errno
import json
import os
import subprocess
import sys

import pytest

from sightline import runs
from sightline.runs import RunFolder, RunFolderError, atomic_file, atomic_write, environment


def test_write_and_read_back(tmp_path):
    run = RunFolder(tmp_path / "deep" / "run")
    assert not run.exists()
    assert run.log() == []
    run.write("recipe", {"a": [1, 2]})
    assert run.exists()
    assert run.read("recipe.json") == run.read("recipe") == {"schema": 1, "a": [1, 2]}
    assert sorted(p.name for p in run.path.iterdir()) == ["recipe.json"]


def test_finished_only_with_finished_metrics(tmp_path):
    run = RunFolder(tmp_path)
    assert not run.finished()
    run.write("metrics", {"finished": False})
    assert not run.finished()
    run.write("metrics", {"finished": True})
    assert run.finished()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is missing; is .* a run folder"),
        ('{"schema": 1, "a"', "is damaged"),
        ("[1]", "JSON object was expected, not list"),
        ('{"a": 1}', 'no integer "schema"'),
        ('{"schema": true}', 'no integer "schema"'),
        ('{"schema": 99}', r"has schema 99; this sightline reads up to 1\. Update"),
        (b"\xff\xfe\x00", "can not be read"),
    ],
)
def test_unreadable_files_are_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "env.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunFolderError, match=message) as caught:
        RunFolder(tmp_path).read("env")
    assert "env.json" in str(caught.value)


def test_log_grows_and_names_a_damaged_line(tmp_path):
    run = RunFolder(tmp_path)
    run.append_log({"epoch": 0})
    run.append_log({"epoch": 1})
    assert run.log() == [{"epoch": 0}, {"epoch": 1}]
    run.write_log([{"epoch": 0}])
    assert run.log() == [{"epoch": 0}]
    run.file("log.jsonl").write_text('{"epoch": 0}\n{"ep')
    with pytest.raises(RunFolderError, match=r"log\.jsonl, line 2 is damaged"):
        run.log()


def test_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunFolder(tmp_path).write("metrics", {"loss": float("nan")})
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "Free some space, then resume"), (errno.EACCES, "choose a folder that you may write to")],
)
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, number, message, moment):
    path = tmp_path / "metrics.json"
    atomic_write(path, "old")

    def refuse(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, moment, refuse)
    with pytest.raises(RunFolderError, match=message) as caught:
        atomic_write(path, "new")
    assert "metrics.json" in str(caught.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_a_fault_inside_the_block_leaves_nothing(tmp_path):
    def write_half() -> None:
        with atomic_file(tmp_path / "a.bin") as handle:
            handle.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match="a file stands where a folder is needed"):
        RunFolder(tmp_path / "run").write("recipe", {})


def test_environment_names_versions_and_no_paths():
    content = environment()
    assert {
        "sightline",
        "commit",
        "python",
        "torch",
        "torchvision",
        "timm",
        "platform",
        "cpu",
        "threads",
        "device",
        "date",
    } == set(content)
    text = json.dumps(content)
    assert os.path.expanduser("~") not in text
    assert os.getcwd() not in text


def test_commit_is_ours_or_none(monkeypatch, tmp_path):
    commit = environment()["commit"]
    assert commit is None or len(commit.removesuffix("-dirty")) == 40
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)  # somebody else's checkout
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "runs.py"))
    assert environment()["commit"] is None


def test_reading_runs_needs_no_torch():
    code = "import sightline.runs, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_is_held_by_one_process_and_free_when_that_is_killed(tmp_path):
    run = RunFolder(tmp_path / "runs" / "one")
    program = (
        "import sys, time; from sightline.runs import RunFolder\n"
        "with RunFolder(sys.argv[1]).held(): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, run.path], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with (
            pytest.raises(RunFolderError, match=r"another process trains into .*one; let it end or stop it"),
            run.held(),
        ):
            pytest.fail("two hold it")
        holder.kill()
    with run.held():
        run.write("recipe", {})
    with run.held():
        assert run.exists()
