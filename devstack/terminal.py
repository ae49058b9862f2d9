"""Taking the terminal's Ctrl-C for ourselves, away from a `make` that started us.

A terminal sends Ctrl-C to every process of its foreground group.  Under `make run` that is
make AND us: make would report "Error 130", or give up waiting while we still stop the
servers.  So we move into a group of our own, make that one the foreground, and give the
terminal back at the end; then Ctrl-C is ours alone, and make sees a command that ended
with 0.  Started from a shell's prompt we already lead our group and change nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


_IGNORED = (signal.SIGTTOU, signal.SIGTSTP)


@contextlib.contextmanager
def own_foreground() -> Iterator[None]:
    """Hold the terminal's foreground for a block, if we share it with who started us."""
    group = os.getpgrp()
    if not _shares_foreground(group):
        yield
        return
    # Whoever calls tcsetpgrp from the background is stopped by SIGTTOU; giving the terminal
    # back at the end happens from exactly there.  And Ctrl-Z would now stop us alone, with
    # make waiting and no shell to say `fg` to: better that it does nothing.
    old = {number: signal.signal(number, signal.SIG_IGN) for number in _IGNORED}
    os.setpgid(0, 0)
    os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the terminal was closed, or make is gone
            os.tcsetpgrp(sys.stdin.fileno(), group)
            os.setpgid(0, group)
        for number, handler in old.items():
            signal.signal(number, handler)


def _shares_foreground(group: int) -> bool:
    """Say whether our group is in front on stdin's terminal, led by somebody else."""
    try:
        is_in_front = os.tcgetpgrp(sys.stdin.fileno()) == group
    except (OSError, ValueError):  # not a terminal, not ours, or closed
        return False
    return is_in_front and group != os.getpid()
