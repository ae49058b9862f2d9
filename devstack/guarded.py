"""Our end of a guard (guard.py): start a command, signal it, wait for it, let go of it.

Nothing here knows what the command is.  When this process dies, however it dies, the
guard sees the lifeline close and ends the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

_GUARD = Path(__file__).with_name("guard.py")
# A Python without imports starts in 20 ms; the rest is for a machine on its knees.
_GUARD_START_S = 30.0


class GuardedProcess:
    """A running command under its guard; made by `start_guarded`."""

    def __init__(
        self,
        pid: int,
        guard: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Take over the lifeline of a guard that has reported `pid` as started."""
        self.pid = pid
        self._guard = guard
        self._lifeline = writer
        self._ended = asyncio.create_task(self._read_end(reader))

    @property
    def has_ended(self) -> bool:
        """True once the command is gone, and everything of its process group with it."""
        return self._ended.done()

    async def wait(self) -> int:
        """Return the command's exit code, -N when signal N ended it; cancelling is safe."""
        return await asyncio.shield(self._ended)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command itself; nothing happens if it has ended."""
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self) -> int:
        """Let go of the lifeline and wait; the guard ends the command (see guard.py)."""
        with contextlib.suppress(OSError):  # it has just ended by itself
            self._lifeline.write_eof()
        return await self.wait()

    async def _read_end(self, reader: asyncio.StreamReader) -> int:
        line = await reader.readline()
        await reader.read()  # until the guard is gone too, so that the wait below is short
        self._lifeline.close()
        self._guard.wait()
        # Without a last word somebody killed the guard, and the kernel the command.
        return int(line.split()[1]) if line.startswith(b"ended ") else -signal.SIGKILL


async def start_guarded(
    command: Sequence[str],
    *,
    grace_s: float,
    output: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    held_fds: Sequence[int] = (),
) -> GuardedProcess:
    """Start `command` under a guard, in a session of its own, with stdin closed.

    `output` takes its stdout and stderr; None lets it write to ours.  `held_fds` are kept
    open by the guard (not by the command) until it ends: the data directory's lock.

    Raises:
        StartFailed: the command could not be executed.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        guard = _spawn_guard(command, theirs.fileno(), grace_s, output, env, held_fds)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        async with asyncio.timeout(_GUARD_START_S):
            line = (await reader.readline()).decode()
    except BaseException:
        writer.close()  # cancelled, or too late: the guard sees the lifeline end
        raise
    if not line.startswith("started "):
        writer.close()
        guard.wait()
        raise StartFailed(f"could not run {command[0]}: {line.removeprefix('failed ').strip()}")
    return GuardedProcess(int(line.split()[1]), guard, reader, writer)


def _spawn_guard(
    command: Sequence[str],
    lifeline_fd: int,
    grace_s: float,
    output: IO[bytes] | None,
    env: Mapping[str, str] | None,
    held_fds: Sequence[int],
) -> subprocess.Popen[bytes]:
    # subprocess, not asyncio's: that one kills its process when the event loop is closed,
    # and a guard that is killed cannot end its server gently.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_GUARD), str(lifeline_fd), str(grace_s), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=None if env is None else dict(env),
        pass_fds=(lifeline_fd, *held_fds),
        # A terminal's Ctrl-C goes to every process of the foreground group.  The guard is
        # not in it: whether the server ends is its owner's decision.
        start_new_session=True,
    )
