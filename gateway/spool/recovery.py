"""A directory recovered while others use the disk's thread too: in steps, and with the pauses that its disk is given."""

import asyncio
from collections.abc import Callable
from functools import partial

from gateway.core.backlog import Backlog
from gateway.disk import Disk
from gateway.spool.segments import Recovered, Segments


async def recovered(disk: Disk, segments: Segments, backlog: Backlog, on_step: Callable[[], object] = lambda: None) -> Recovered:
    """What is in it.  Args: on_step: called when the disk has answered.  Raises OSError, and ConfigError as `Segments.recovering` does."""
    steps = segments.recovering(backlog)
    while True:
        found = await disk.run(partial(next, steps))
        on_step()
        if isinstance(found, Recovered):
            return found
        if found:
            await asyncio.sleep(found)
