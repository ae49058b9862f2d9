"""How a worker treats its memory: when to look for cycles, and what to give back to the system; and how much it is.

Decided here: both rarely.  Reference counts free nearly everything of a request;
what lives long (settings, code, connections) has no cycles worth a walk.  And
what one batch frees the next one needs a moment later: given back to the system
each time, it comes back as a page fault for every 4 kB (16 for a sync of 50
samples, a tenth of its time).  The bound is on what is kept, not on what is held.
"""

import ctypes
import gc
import resource
from pathlib import Path
from typing import Final

# By default a collection runs every 700 containers, several times per sync of 50 samples.
_CYCLES_EVERY: Final = 20_000
# Batches and answers stay below the first; of free memory so much is kept.
_OWN_MAPPING_FROM_BYTES: Final = 4 << 20
_FREE_KEPT_BYTES: Final = 64 << 20
# glibc's names for them in mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


_STATM: Final = Path("/proc/self/statm")


def resident_bytes() -> int:
    """What this process holds in memory now."""
    return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()


def calm() -> None:
    """Look for cycles rarely, and never among what lives as long as the process; keep what is freed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_CYCLES_EVERY, 20, 50)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library than glibc may have none, and does well without
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_FROM_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _FREE_KEPT_BYTES)
