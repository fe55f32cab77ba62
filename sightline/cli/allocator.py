"""Keep freed memory for the next step instead of handing it back to the system after every tensor (Linux with glibc).

glibc returns each large block to the system when it is freed, and the system clears every page of the next one anew: a training
step on a CPU then spends up to half its time in the kernel. The process is a command's own, so the choice is ours to make; a
program that imports sightline can make the same one with MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1 in its environment.
"""

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of mallopt's parameters, from malloc.h


def keep_freed_memory() -> bool:
    """Tell the allocator; whether it took it. False where there is no glibc, or where the environment sets it already."""
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, -1))
