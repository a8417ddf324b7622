"""Gives the memory of large bodies back to the system as soon as they are done with."""

import ctypes
from typing import Final

LARGE_BYTES: Final = 1 << 20
"""From this size on memory is asked of the system alone, and given back alone; what it costs is little beside reading
so much."""

_M_MMAP_THRESHOLD: Final = -3
"""See mallopt(3)."""


def give_back_large_memory() -> bool:
    """For this process; whether its C library has such a setting: glibc has.

    By itself it takes the first large block that is freed for a sign that more will come, and from then on keeps up to
    64 MiB for them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES) == 1
