"""Run a command that does not outlive who started it, were that killed with -9: a city's load must not go on alone.

    python -I -S tethered.py PARENT_PID COMMAND...

It asks the kernel for a SIGKILL when the parent dies (PR_SET_PDEATHSIG) and becomes the command, which keeps that wish
and the process id.  A launcher and no preexec_fn: the harness has threads, and what runs between fork and exec in such
a process may wait for ever for a lock of one of them.  Forked children do not inherit the wish: `when_forked`.

The kernel watches the parent's THREAD that forked, so who starts this does it from the main one (as asyncio does).
Linux; on other systems nobody watches.  Standard library only.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def command(argv: Sequence[str]) -> list[str]:
    """The same command, tethered to this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def when_forked() -> None:
    """Whatever this process forks from now on dies with it."""
    os.register_at_fork(after_in_child=partial(die_with, os.getpid()))


def die_with(parent_pid: int) -> None:
    """Be killed when the parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before prctl could know
        os._exit(1)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is what is wanted
