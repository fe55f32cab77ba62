"""A section from its cases to JSON, to a file that is renewed case by case, to tables; the command."""

import json
import math
from types import MappingProxyType

import pytest
import torch
from torch import nn

import sightline.bench.sections as running
from sightline.bench import SECTIONS, Settings, table
from sightline.bench.case import Case
from sightline.bench.measure import measure
from sightline.bench.nets import NetCase, check
from sightline.bench.nets import measure as measure_nets
from sightline.bench.read import baseline, fastest, memory_ratio, named, ratio
from sightline.bench.scaling import cases as growths
from sightline.bench.scaling import measure as measure_growth
from sightline.bench.sections import Section, run
from sightline.bench.store import measured_at, merge, read, write
from tests.bench.test_gate import FAST, prepared
from tests.cli.test_cli import sightline as command


@pytest.fixture
def small(monkeypatch):
    """Two cases of a section in place of all."""
    cases = [Case("squares", "3 of 4 x 5", 3, prepared, quick=True), Case("more squares", "the same", 3, prepared)]
    section = Section("squares", lambda: cases, measure)
    monkeypatch.setattr(running, "SECTIONS", MappingProxyType({**SECTIONS, "ops": section}))
    monkeypatch.setattr(running, "peaks", lambda device: running_machine())


def running_machine():
    from sightline.bench.machine import Machine

    return Machine(100.0, 20.0, 64)


def settings(**options) -> Settings:
    return Settings(**{**vars(FAST), **options})


def test_every_case_has_a_name_of_its_own():
    for name, section in SECTIONS.items():
        names = [case.name for case in section.cases()]
        assert len(set(names)) == len(names) > 1, name
        assert any(case.quick for case in section.cases()), name


def test_a_section_is_plain_data(small):
    steps = []
    measured = json.loads(json.dumps(run("ops", settings(), steps.append), allow_nan=False))
    assert set(measured) == {"schema", "section", "settings", "environment", "cases"}
    assert [case["name"] for case in measured["cases"]] == ["squares", "more squares"]
    assert {"cpu", "threads", "torch", "commit", "date"} <= set(measured["environment"])
    assert measured["cases"][0]["machine"] == {"matmul_gflops": 100.0, "copy_gbytes": 20.0, "side": 64}
    assert [(one.done, one.total) for one in steps] == [(0, 2), (0, 2), (1, 2), (2, 2)]
    rows = table.section_rows(measured)
    assert len(rows) == 26
    assert rows[2]["note"].startswith("wrong")
    assert rows[2]["forward ms"] == ""
    assert "100 GFLOP/s" in table.headline(measured)


def test_quick_and_only(small):
    assert [one["name"] for one in run("ops", settings(quick=True))["cases"]] == ["squares"]
    assert [one["name"] for one in run("ops", settings(only="more*"))["cases"]] == ["more squares"]
    with pytest.raises(ValueError, match=r"no case of ops matches 'x\*'; there are: squares, more squares"):
        run("ops", settings(only="x*"))
    with pytest.raises(ValueError, match="there is no section 'op'"):
        run("op", settings())
    with pytest.raises(ValueError, match="positive"):
        settings(rounds=0)


def test_a_file_is_renewed_case_by_case(small, tmp_path):
    path = tmp_path / "ops.json"
    first = run("ops", settings())
    write(path, merge(path, first))
    again = run("ops", settings(only="more*"))
    again["environment"]["commit"] = "another"
    write(path, merge(path, again))
    kept = read(path)
    assert [case["name"] for case in kept["cases"]] == ["squares", "more squares"]
    assert [case["commit"] for case in kept["cases"]] == [first["environment"]["commit"], "another"]
    again["environment"]["threads"] = 64
    with pytest.raises(ValueError, match="threads"):
        merge(path, again)
    with pytest.raises(ValueError, match="has the section ops, not nets"):
        merge(path, again | {"section": "nets"})
    path.write_text("[]")
    with pytest.raises(ValueError, match="no measurements"):
        merge(path, first)


def test_the_command(small, tmp_path):
    options = ("--rounds", "3", "--seconds", "0.1", "--quick", "--no-memory")
    answer = command("bench", "ops", *options, "--out", tmp_path / "ops.json")
    assert answer.returncode == 0, answer.stderr
    assert "[1/1] ops: squares" in answer.stderr
    assert "by multiplication" in answer.stdout
    assert read(tmp_path / "ops.json")["settings"]["rounds"] == 3
    again = command("bench", "ops", *options, "--out", tmp_path / "ops.json", "--resume", "--format", "json")
    assert again.returncode == 0, again.stderr
    commit = read(tmp_path / "ops.json")["environment"]["commit"]
    assert len(json.loads(again.stdout)["cases"]) == (1 if commit is None or commit.endswith("-dirty") else 0)
    assert "there is no section" in command("bench", "opps").stderr
    if not torch.cuda.is_available():
        assert "sees no GPU" in command("bench", "ops", "--device", "cuda").stderr


def test_an_interrupt_keeps_what_has_ended(small, tmp_path, monkeypatch):
    def interrupted(case, chosen):
        if case.name == "more squares":
            raise KeyboardInterrupt
        return measure(case, chosen)

    monkeypatch.setattr(running, "SECTIONS", {"ops": Section("squares", running.SECTIONS["ops"].cases, interrupted)})
    options = ("--rounds", "3", "--seconds", "0.1", "--no-memory", "--out", tmp_path / "ops.json")
    answer = command("bench", "ops", *options)
    assert answer.returncode == 130
    assert "the cases that had ended are in" in answer.stderr
    kept = read(tmp_path / "ops.json")
    assert [case["name"] for case in kept["cases"]] == ["squares"]
    assert kept["cases"][0]["took"] >= 0


def test_a_file_of_another_machine_is_refused_before_anything_is_measured(small, tmp_path):
    path = tmp_path / "ops.json"
    first = run("ops", settings())
    write(path, merge(path, first | {"environment": first["environment"] | {"threads": 640}}))
    answer = command("bench", "ops", "--out", path)
    assert answer.returncode == 1
    assert "was measured with threads 640" in answer.stderr
    assert "squares" not in answer.stderr


def test_only_cases_of_a_known_commit_are_left_out(small, tmp_path):
    path, first = tmp_path / "ops.json", run("ops", settings())
    for commit, names in (("abc", ("squares", "more squares")), ("abc-dirty", ()), (None, ())):
        path.unlink(missing_ok=True)
        write(path, merge(path, first | {"environment": first["environment"] | {"commit": commit}}))
        assert measured_at(path, commit) == names


def fixed() -> dict:
    """A case whose times are known."""

    def one(name: str, kind: str, times: list[float] | None, memory: int = 0) -> dict:
        return {
            "name": name,
            "kind": kind,
            "note": "",
            "refused": "" if times else "wrong: off",
            "error": {"forward": None, "backward": None},
            "seconds": {"forward": times} if times else {},
            "memory": {"forward": memory} if times else {},
        }

    contenders = [
        one("sightline", "ours", [2.0, 4.0, 3.0], 10),
        one("unfold", "rival", None),
        one("slow convolution", "baseline", [9.0, 9.0, 9.0], 5),
        one("convolution", "baseline", [4.0, 16.0, 3.0], 20),
    ]
    return {"name": "x", "batch": 2, "macs": 3 * 10**9, "contenders": contenders}


def test_reading():
    case = fixed()
    best = baseline(case, "forward")
    assert best is not None
    assert best["name"] == "convolution"
    found = ratio(named(case, "sightline"), best, "forward")
    assert found is not None
    assert (found.median, found.low, found.high) == (0.5, 0.25, 1.0)  # round by round: 2/4, 4/16, 3/3
    assert memory_ratio(named(case, "sightline"), best, "forward") == 0.5
    assert ratio(named(case, "unfold"), best, "forward") is None
    assert fastest([case["contenders"][1]], "forward") is None
    row = table.rows(case)[0]
    assert (row["forward ms"], row["of baseline"], row["GFLOP/s"]) == ("3000 (2000..4000)", "0.50", "2")


def test_growth_on_small_maps(monkeypatch):
    from sightline.bench import scaling

    monkeypatch.setattr(scaling, "SIDES", (8, 16))
    for growth in growths():
        case = measure_growth(growth, settings(memory=False))
        ours = case["contenders"][0]
        assert ours["sides"] == [8, 16], growth.name
        assert math.isfinite(ours["slope"])


def test_nets_are_checked_before_they_are_timed(monkeypatch):
    case = measure_nets(NetCase("small training", ("resnet_mini", "sasa_resnet_mini"), 16, 2, True, True), settings())
    twin, net = case["contenders"]
    assert (twin["kind"], net["kind"]) == ("baseline", "ours")
    assert net["macs"] > 0
    assert len(net["seconds"]["forward + backward"]) == 3
    assert table.section_rows({"section": "nets", "cases": [case]})[1]["of baseline"]

    class Drifting(nn.Module):
        """A net that computes something else in float64."""

        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Conv2d(3, 4, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(x).flatten(1) * (1.0 if x.dtype == torch.float64 else 1.01)

    assert "logits off by" in check(Drifting(), 16).refused
    hidden = Drifting()
    nn.init.zeros_(hidden.last.weight)
    nn.init.zeros_(hidden.last.bias)
    assert "logits off by" in check(hidden, 16).refused
