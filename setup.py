"""Build the compiled CPU kernels: one plain shared library, no symbol of Python or torch in it. All else is in pyproject.toml.

Every kernel source is compiled once per instruction set; at run time the best one that the processor knows is taken. Without a
C++ compiler, or with one that lacks vector extensions, installation goes on without kernels and the references compute.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

OPS = Path("sightline/ops")
ONCE = OPS / "native/threads.cpp"
KERNELS = sorted(OPS.glob("*/cpu.cpp"))
HEADERS = sorted(OPS.glob("*/*.h"))
LEVELS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"],
}
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fno-rtti", "-g0"]
FLAGS += ["-fvisibility=hidden", "-fvisibility-inlines-hidden", "-Wno-psabi", "-Wno-unknown-pragmas", "-pthread"]
# GCC 12's own intrinsics warn; clang does not know that warning, GCC not the other.
FLAGS += ["-Wno-maybe-uninitialized", "-Wno-unknown-warning-option"]


def digest() -> str:
    """Name of the sources' content; sightline.ops.native compares it with the sources it finds."""
    text = b"".join(path.read_bytes() for path in sorted([ONCE, *KERNELS, *HEADERS]))
    return hashlib.sha256(text).hexdigest()[:16]


class BuildKernels(build_ext):
    """Compile the sources for every level, in parallel, into one library whose name has no Python tag."""

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", os.sep) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []

    def build_extension(self, ext: Extension) -> None:
        x86 = self.plat_name.endswith(("x86_64", "amd64"))
        levels = LEVELS if x86 else {"baseline": []}
        jobs = [(ONCE, "baseline", [f'-DSIGHTLINE_SOURCES="{digest()}"'])]
        jobs += [(source, level, flags) for source in KERNELS for level, flags in levels.items()]
        extra = os.environ.get("SIGHTLINE_CXXFLAGS", "").split()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda job: self._compile(*job, extra), jobs))
        target = self.get_ext_fullpath(ext.name)
        self.compiler.link_shared_object(objects, target, target_lang="c++", extra_postargs=["-pthread", *extra])

    def _compile(self, source: Path, level: str, flags: list[str], extra: list[str]) -> str:
        folder = os.path.join(self.build_temp, level)
        (compiled,) = self.compiler.object_filenames([str(source)], output_dir=folder)
        if source != ONCE and not newer_group([str(path) for path in (source, *HEADERS, Path("setup.py"))], compiled):
            return compiled
        self.compiler.compile(
            [str(source)],
            output_dir=folder,
            include_dirs=[str(OPS / "native")],
            macros=[("SIGHTLINE_LEVEL", level)],
            extra_postargs=[*FLAGS, *flags, *extra],
        )
        return compiled


class PlatformWheel(bdist_wheel):
    """The library depends on the platform, not on Python's version."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            "sightline.ops.native.kernels",
            [str(path) for path in (ONCE, *KERNELS)],
            depends=[str(path) for path in HEADERS],
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": PlatformWheel},
)
