"""The allocator's setting: a freed block is used again, so that its pages are not cleared anew."""

import os
import subprocess
import sys

import pytest

PAGES = """
import resource
from sightline.cli.allocator import keep_freed_memory
print(keep_freed_memory())
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytearray(64 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(**environment: str) -> tuple[bool, int]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    result = subprocess.run(
        [sys.executable, "-c", PAGES], env=clean | environment, capture_output=True, text=True, check=True
    )
    taken, faults = result.stdout.split()
    return taken == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_a_block_that_was_freed_is_used_again() -> None:
    taken, kept = _run()
    if not taken:
        pytest.skip("this system's C library has no mallopt")
    left_alone, returned = _run(MALLOC_MMAP_THRESHOLD_="131072")
    assert not left_alone, "the user's own setting must stand"
    assert kept < returned / 5
