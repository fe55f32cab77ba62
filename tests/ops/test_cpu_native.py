"""The kernel library: why it is not there, which instruction set it takes, what it holds."""

import shutil
import subprocess

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

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


def _backward_calls():
    """Operators of gradients, with what they are called with: tables, logits and weights that are views of other memory."""
    x, turned, norm = torch.randn(1, 8, 5, 6), torch.randn(2, 3, 2).mT, torch.ones(2, 18)
    return {
        "local_attention": ([True] * 5, x, x, x, x, turned, turned, 3, 2, 1, 1, True),
        "vector_attention": ([True] * 2, x, torch.randn(1, 5, 6, 2, 9).permute(0, 3, 4, 1, 2), x, 3, 1, 1, True, 0),
        "window_mapping": (
            [True] * 4 + [False],
            *(torch.randn(1, 3, 3, 4), torch.randn(1, 2, 5, 6), norm[0], norm[0], torch.randn(3, 19)[:, 1:], norm),
            *(3, 1e-5, False),
        ),
    }


@kernels.needs_kernels
@pytest.mark.parametrize("name", _backward_calls())
def test_gradients_lie_in_memory_as_a_compiler_is_told(name):
    """Inductor asserts the strides that the fake kernel has."""
    import sightline.ops.window_mapping  # noqa: F401

    run, arguments = getattr(torch.ops.sightline, f"{name}_backward"), _backward_calls()[name]
    with FakeTensorMode() as mode:
        fake = run(*(mode.from_tensor(one) if isinstance(one, torch.Tensor) else one for one in arguments))
    assert [one.stride() for one in run(*arguments)] == [one.stride() for one in fake]
