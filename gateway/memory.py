"""How a worker treats its memory: when to look for cycles, and what to give back to the system; and how much it is.

Decided here: both rarely.  Reference counts free nearly everything of a request;
what lives long (settings, code, connections) has no cycles worth a walk.  And
what one batch frees the next one needs a moment later: given back to the system
each time, it comes back as a page fault for every 4 kB (16 for a sync of 50
samples, a tenth of its time).  The bound is on what is kept, not on what is held.
"""

import ctypes
import gc
import os
import resource
from typing import Final

# By default a collection runs every 700 containers, several times per sync of 50 samples.
_CYCLES_EVERY: Final = 20_000
# Batches and answers stay below the first; of free memory so much is kept.
_OWN_MAPPING_FROM_BYTES: Final = 4 << 20
_FREE_KEPT_BYTES: Final = 64 << 20
# glibc's names for them in mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


class Resident:
    """What this process holds in memory.  Opened once: a process that has run out of descriptors must still be able to say so."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def bytes(self) -> int:
        """Now."""
        return int(os.pread(self._fd, 128, 0).split()[1]) * resource.getpagesize()

    def __del__(self) -> None:
        os.close(self._fd)


def calm() -> None:
    """Look for cycles rarely, and never among what lives as long as the process; keep what is freed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_CYCLES_EVERY, 20, 50)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library than glibc may have none, and does well without
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_FROM_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _FREE_KEPT_BYTES)
