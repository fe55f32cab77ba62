"""The kernel library: why it is not there, which instruction set it takes, what it holds."""

import shutil
import subprocess

import pytest
import torch

from sightline.ops import native
from tests.ops import kernels


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SIGHTLINE_ISA", "none", "turned off by SIGHTLINE_ISA=none"),
        ("SIGHTLINE_ISA", "mmx", "SIGHTLINE_ISA=mmx names no instruction set of this processor; it has: .*baseline"),
        ("SIGHTLINE_KERNELS", "/nowhere.so", r"were not built \(/nowhere.so is missing\); with g\+\+ or clang"),
        ("SIGHTLINE_KERNELS", __file__, "can not be loaded"),
    ],
)
def test_the_objection_names_cause_and_remedy(variable, value, message, monkeypatch):
    if native.objection is not None and value == "mmx":
        pytest.skip(native.objection)
    monkeypatch.setenv(variable, value)
    library, _, objection = native._load()
    assert library is None
    assert objection is not None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(objection)


@kernels.needs_kernels
def test_a_library_of_other_sources_is_not_used(monkeypatch):
    monkeypatch.setattr(native, "_digest", lambda: "0" * 16)
    assert "built from other sources" in str(native._load()[2])


@kernels.needs_kernels
def test_levels():
    assert native.levels()[-1] == "baseline"
    before = native.level
    with native.use_level("baseline"):
        assert native.level == "baseline"
    assert native.level == before
    with (
        pytest.raises(ValueError, match=r"no kernels for the instruction set 'sse9'; here there are: .*baseline"),
        native.use_level("sse9"),
    ):
        pass


@kernels.needs_kernels
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_the_library_holds_no_symbol_of_python_or_torch():
    path = native.FOLDER / "kernels.so"
    wanted = subprocess.run(["nm", "-D", "--undefined-only", path], capture_output=True, text=True, check=True).stdout
    assert "GOMP" not in wanted
    assert not any(part in wanted for part in (" Py", " _Py", "c10", "torch", "at4"))


@kernels.needs_kernels
def test_threads_without_openmp_give_the_same(monkeypatch):
    """Where torch has no OpenMP runtime, the library starts threads of its own."""
    from sightline.ops import local_attention

    q, k, v = (torch.randn(3, 4, 9, 8) for _ in range(3))
    expected = local_attention(q, k, v, kernel_size=3, backend="cpu")
    threads = torch.get_num_threads()
    native._library.sightline_set_openmp(None)
    try:
        torch.set_num_threads(3)
        assert torch.equal(local_attention(q, k, v, kernel_size=3, backend="cpu"), expected)
    finally:
        torch.set_num_threads(threads)
        native._join_openmp(native._library)
