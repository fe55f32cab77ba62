"""The GPU section as far as it runs without one: its cases at a small batch, its rounds with a clock of our own, its table."""

from dataclasses import replace

import pytest
import torch

from sightline.bench import Settings, gpu, gpu_cases, gpu_nets, run, table
from sightline.bench.case import BASELINE


def test_needs_a_gpu():
    with pytest.raises(ValueError, match=r"these cases are for a GPU; got device 'cpu'"):
        gpu.measure(gpu_cases.cases(1)[0], Settings())


@pytest.mark.parametrize("name", ["local_attention 7", "local_relation 7"])
def test_contenders_agree(name):
    case = next(one for one in gpu_cases.cases(1) if one.name == name)
    prepared = case.prepare("cpu")
    rivals = [one for one in prepared.contenders if not one.name.startswith("FlexAttention")]  # compiles for long
    verdicts = gpu.judge(replace(prepared, contenders=rivals), backward=True)
    assert not any(verdicts[one].refused for one in ("sightline", "unfold", "3 x 3 convolution, channels last"))
    baselines = [one for one in rivals if one.kind == BASELINE]
    assert all(one.run(*one.operands).dtype is prepared.operands[0].dtype for one in baselines)


def test_rounds_take_turns_and_stop():
    order = []

    def clock(call, times):
        order.append(call())
        return times * {"fast": 1e-3, "slow": 5e-3}[order[-1]]

    calls = {"fast": lambda: "fast", "slow": lambda: "slow"}
    settings = Settings(rounds=5, seconds=1e9, sample_seconds=0.01)
    found = gpu.samples(calls, settings, clock)
    assert found == {"fast": pytest.approx([1e-3] * 5), "slow": pytest.approx([5e-3] * 5)}
    assert order[4:8] == ["fast", "slow", "slow", "fast"]
    assert len(gpu.samples(calls, replace(settings, seconds=0.01), clock)["slow"]) == gpu.LEAST_ROUNDS


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
    with pytest.raises(ValueError, match="no case of gpu matches"):
        run("gpu", Settings(only="nothing"))


def test_net_steps_run_anywhere(monkeypatch):
    """Without the compiler: a step's arithmetic, its gradients, and names of both libraries."""
    monkeypatch.setattr(torch, "compile", lambda model: model)
    model, images = gpu_nets.build("resnet_mini"), torch.rand(2, 3, 16, 16)
    assert gpu_nets.step(model, images, training=False)().shape[0] == 2
    gpu_nets.step(model, images, training=True)()
    assert all(one.grad is not None for one in model.parameters())
    assert type(gpu_nets.build("timm:test_vit")).__name__ == "VisionTransformer"
    with pytest.raises(ValueError, match="use --device cuda"):
        gpu_nets.measure(gpu_nets.cases(1)[0], Settings())
