"""The GPU section as far as it runs without one: its cases at a small batch, a clock of our own, its table."""

from dataclasses import replace

import pytest
import torch

import sightline.bench.sections as running
from sightline.bench import Settings, gpu, gpu_cases, gpu_nets, run, table
from sightline.bench import measure as measuring
from sightline.bench.case import BASELINE, FORWARD, KIN, Case
from sightline.bench.machine import Machine
from tests.bench.test_gate import prepared


def test_needs_a_gpu():
    with pytest.raises(ValueError, match=r"these cases are for a GPU; got device 'cpu'"):
        gpu.measure(gpu_cases.cases(1)[0], Settings())


@pytest.mark.parametrize("name", ["local_attention 7", "local_relation 7"])
def test_contenders_agree(name):
    case = next(one for one in gpu_cases.cases(1) if one.name == name)
    made = case.prepare("cpu")
    rivals = [one for one in made.contenders if not one.name.startswith("FlexAttention")]  # compiles for long
    verdicts = measuring.judge(replace(made, contenders=rivals), backward=True)
    assert not any(verdicts[one].refused for one in ("sightline", "unfold", "3 x 3 convolution, channels last"))
    baselines = [one for one in rivals if one.kind == BASELINE]
    assert all(one.run(*one.operands).dtype is made.operands[0].dtype for one in baselines)


def test_mappings_and_concatenation_agree():
    """As far as a CPU can tell: the modules' gamma, and concatenation by its two backends."""
    mapping = gpu_cases._mapping(7, 64, 1).prepare("cpu")
    eager = [one for one in mapping.contenders if not one.name.endswith("compiled")]
    found = measuring.judge(replace(mapping, contenders=eager), backward=False)
    assert not found["modules"].refused
    assert "CUDA device" in found["sightline"].refused or found["sightline"].forward is not None
    assert mapping.macs == 7**2 * 49 * 16 * (16 + 8)
    pairs = gpu_cases._concatenation(28, 16, 1).prepare("cpu")
    assert [name for name, one in measuring.judge(pairs, backward=True).items() if not one.refused] == [
        "sightline",
        "sightline reference",
    ]


def test_no_case_begins_after_the_minutes(monkeypatch, tmp_path):
    from sightline import bench
    from sightline.cli.bench import _shown

    def run(section, settings, report, keep):
        measured = {"schema": 1, "section": section, "environment": {}, "cases": []}
        for name in ("a", "b"):
            measured["cases"].append({"name": name})
            keep(measured)
        return measured

    monkeypatch.setattr(bench, "run", run)
    assert len(_shown("gpu", Settings(), None, "")["cases"]) == 2
    assert len(_shown("gpu", Settings(), tmp_path / "a.json", "", end=0.0)["cases"]) == 1
    assert '"a"' in (tmp_path / "a.json").read_text()


def test_a_case_is_measured_by_the_clock_it_is_given():
    """As far as it goes without a GPU: events replaced, peaks known, the case's own tensors on the CPU."""

    def twice(call, times):
        call()
        return 2e-3 * times

    case = Case("squares", "3 of 4 x 5", 3, prepared, directions=(FORWARD,))
    found = measuring.compare(case, Settings(rounds=3, sample_seconds=0.01, memory=False), twice)
    right = next(one for one in found["contenders"] if one["name"] == "right")
    assert right["seconds"] == {"forward": [2e-3] * 3}
    assert found["batch"] == 3


def test_kin_is_not_compared():
    made = prepared()
    contenders = [replace(one, kind=KIN) for one in made.contenders if one.name == "wrong"]
    assert not measuring.judge(replace(made, contenders=contenders), backward=True)["wrong"].refused


def test_a_machine_of_the_case_itself_is_kept(monkeypatch):
    section = running.Section("", gpu_cases.cases, lambda case, settings: {"name": case.name, "machine": "its own"})
    monkeypatch.setattr(running, "SECTIONS", {"gpu": section})
    monkeypatch.setattr(running, "peaks", lambda device: Machine(1.0, 1.0, 1))
    assert {case["machine"] for case in running.run("gpu", Settings())["cases"]} == {"its own"}


def test_table_shows_the_share_of_the_limit():
    contender = {"kind": "ours", "note": "", "refused": "", "error": {}, "memory": {}}
    contenders = [
        {**contender, "name": "sightline", "seconds": {"forward": [2e-3] * 3}},
        {**contender, "name": "conv", "kind": "baseline", "seconds": {"forward": [4e-3] * 3}},
    ]
    machine = {"matmul_gflops": 1e6, "copy_gbytes": 1e3}  # 1 ms by operations, 0.5 ms by bytes
    case = {"name": "a", "macs": 5e11, "bytes_moved": 5e8, "machine": machine, "contenders": contenders}
    rows = table.section_rows({"section": "gpu", "cases": [case]})
    assert [row["of limit"] for row in rows] == ["50%", ""]
    assert [row["of baseline"] for row in rows] == ["0.50", "1.00"]


def test_all_leaves_it_out_on_a_cpu():
    from sightline.cli.bench import _sections

    assert not {"gpu", "gpu_nets"} & set(_sections("all", Settings()))
    assert "gpu" in _sections("all", Settings(device="cuda"))
    assert _sections("cuda", Settings(device="cuda")) == ["gpu", "gpu_nets"]
    with pytest.raises(ValueError, match="no case of gpu matches"):
        run("gpu", Settings(only="nothing"))


def test_net_steps_run_anywhere(monkeypatch):
    """Without the compiler: a step's arithmetic, its gradients, and names of both libraries."""
    modes = []
    monkeypatch.setattr(torch, "compile", lambda model, mode: modes.append(mode) or model)
    model, images = gpu_nets.build("resnet_mini"), torch.rand(2, 3, 16, 16)
    assert gpu_nets.step(model, images, training=False)().shape[0] == 2
    gpu_nets.step(model, torch.rand(gpu_nets.SMALL + 1, 3, 16, 16), training=False)
    assert modes == ["reduce-overhead", None]
    gpu_nets.step(model, images, training=True)()
    assert all(one.grad is not None for one in model.parameters())
    assert type(gpu_nets.build("timm:test_vit")).__name__ == "VisionTransformer"
    with pytest.raises(ValueError, match="use --device cuda"):
        gpu_nets.measure(gpu_nets.cases(1)[0], Settings())
