"""The Triton kernels by Triton's interpreter, in a process of its own: it must be chosen before triton is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sightline.ops import local_attention
from sightline.ops import triton_support as support
from sightline.ops.triton_support import tune

FOLDER = Path(__file__).parent
needs_no_interpreter = pytest.mark.skipif(support.INTERPRETING, reason="the interpreter runs")


@pytest.mark.skipif(not support.INSTALLED, reason="triton is not installed")
@needs_no_interpreter
def test_kernels_by_the_interpreter():
    files = sorted(str(path) for path in FOLDER.glob("test_triton_*.py"))
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow", *files]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@needs_no_interpreter
def test_import_leaves_the_kernels_alone():
    program = (
        "import sys, sightline.ops, sightline.layers; sys.exit(any(one.endswith('.kernels') for one in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.skipif(support.INTERPRETING or torch.cuda.is_available(), reason="kernels can run here")
def test_named_backend_raises_where_there_is_no_gpu(monkeypatch):
    q, k, v = (torch.randn(1, 4, 3, 3) for _ in range(3))
    with pytest.raises(NotImplementedError, match=r"backend 'triton' of local_attention: there is no CUDA device"):
        local_attention(q, k, v, kernel_size=3, backend="triton")
    monkeypatch.setattr(support, "INSTALLED", False)
    with pytest.raises(NotImplementedError, match=r"triton is not installed; install triton"):
        local_attention(q, k, v, kernel_size=3, backend="triton")


@pytest.mark.skipif(not support.INSTALLED, reason="triton is not installed")
@needs_no_interpreter
def test_a_launch_asks_for_its_kind_and_takes_the_choice(monkeypatch):
    from sightline.ops.local_relation import kernels

    asked, started = [], []

    def fastest(kind, choices, start):
        asked.append(kind)
        return choices[1]

    class Kernel:
        __module__, __name__ = kernels.forward.__module__, kernels.forward.__name__

        def __getitem__(self, grid):
            return lambda *arguments, **options: started.append((grid, options))

    monkeypatch.setattr(tune, "fastest", fastest)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    choices = ({"num_warps": 4}, {"num_warps": 2})
    grid = lambda options: (options["K"], options["num_warps"])  # noqa: E731
    support.launch(Kernel(), grid, torch.zeros(1), 3, device=torch.device("cpu"), choices=choices, K=7)
    assert asked == ["a card: sightline.ops.local_relation.kernels.forward, torch.float32, K=7"]
    assert started == [((7, 2), {"K": 7, "num_warps": 2, "enable_fp_fusion": True})]


class TestTune:
    """The choice of configurations, with a clock of our own."""

    @pytest.fixture(autouse=True)
    def folder(self, monkeypatch, tmp_path):
        monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("SIGHTLINE_TUNE", raising=False)
        monkeypatch.setattr(tune, "_known", None)

    def choose(self, times, kind="kind"):
        asked = []

        def seconds(call):
            call()
            if isinstance(times[asked[-1]], Exception):
                raise times[asked[-1]]
            return times[asked[-1]]

        candidates = [{"num_stages": place} for place in range(len(times))]
        return tune.fastest(kind, candidates, lambda one: asked.append(one["num_stages"]), seconds), asked

    def test_takes_the_fastest_and_remembers(self, monkeypatch):
        assert self.choose([3.0, 1.0, 2.0]) == ({"num_stages": 1}, [0, 1, 2])
        assert self.choose([0.0, 1.0, 2.0]) == ({"num_stages": 1}, [])
        monkeypatch.setattr(tune, "_known", None)  # another process
        assert self.choose([0.0, 1.0, 2.0]) == ({"num_stages": 1}, [])
        assert self.choose([0.0, 1.0, 2.0], "other")[0] == {"num_stages": 0}
        assert len(json.loads(tune.path().read_text())) == 2

    def test_what_does_not_fit_is_passed_over(self):
        refusal = type("OutOfResources", (Exception,), {})("shared memory")
        assert self.choose([refusal, 5.0])[0] == {"num_stages": 1}
        with pytest.raises(RuntimeError, match="no configuration of large fits this card"):
            self.choose([refusal, refusal], "large")

    def test_damaged_file_and_no_tuning(self, monkeypatch):
        tune.path().parent.mkdir()
        tune.path().write_text("[1")
        assert self.choose([3.0, 1.0])[0] == {"num_stages": 1}
        monkeypatch.setenv("SIGHTLINE_TUNE", "0")
        assert self.choose([3.0, 1.0], "other") == ({"num_stages": 0}, [])
