"""`run`: the stack in the foreground, and one command that uses it.

    start the stack → run the command → it ends → stop the stack → exit with its code

A signal (Ctrl-C, SIGTERM, a closed terminal) before the command runs cancels the start,
and we exit with 128 + its number.  Afterwards it is forwarded to the command as SIGTERM,
and the command's way of ending decides: a gateway that drains and exits 0 makes this 0.
The end of our parent (a `make` that was killed) counts as a SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from .errors import with_log_tail
from .guarded import GuardedProcess, start_guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .server import Server
    from .stack import Devstack

# Only when we are killed with -9: on a signal the command takes what it needs.
_CHILD_GRACE_S = 10.0
_PARENT_EVERY_S = 1.0
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Signals:
    """Where a signal goes: to the task that starts the stack, then to the command."""

    def __init__(self, starting: asyncio.Task[int]) -> None:
        self._starting = starting
        self.child: GuardedProcess | None = None
        self.interrupted_by: signal.Signals | None = None
        for number in _FORWARDED:
            asyncio.get_running_loop().add_signal_handler(number, self._arrived, number)
        self._watch_parent(os.getppid())

    def _watch_parent(self, parent: int) -> None:
        if os.getppid() != parent:
            self._arrived(signal.SIGTERM)
        else:
            asyncio.get_running_loop().call_later(_PARENT_EVERY_S, self._watch_parent, parent)

    def _arrived(self, number: signal.Signals) -> None:
        if self.child is not None:
            self.child.signal(signal.SIGTERM)
        elif self.interrupted_by is None:
            self.interrupted_by = number
            self._starting.cancel()


async def run(stack: Devstack, command: Sequence[str], say: Callable[[str], None]) -> int:
    """Run `command` beside the stack and return the code to exit with.

    Raises:
        DevstackError: the stack or the command could not be started.
    """
    task: asyncio.Task[int] | None = asyncio.current_task()
    assert task is not None
    signals = _Signals(task)
    try:
        async with stack:
            say("; ".join(f"{server.name} {server.address}" for server in stack.servers))
            return await _run_child(stack, command, say, signals)
    except asyncio.CancelledError:
        if signals.interrupted_by is None:
            raise
        return 128 + signals.interrupted_by


async def _run_child(stack: Devstack, command: Sequence[str], say: Callable[[str], None], signals: _Signals) -> int:
    # stdout and stderr are ours: the command's READY line must not wait in a pipe.
    child = await start_guarded(command, grace_s=_CHILD_GRACE_S, env=_environment(stack))
    signals.child = child
    ours = [server for server in stack.servers if server.is_ours]
    watches = [asyncio.create_task(_tell_of_end(server, say)) for server in ours]
    try:
        code = await child.wait()
    finally:
        for watch in watches:
            watch.cancel()
        await child.stop()
    return code if code >= 0 else 128 - code


def _environment(stack: Devstack) -> dict[str, str]:
    variables = {"kafka": "GATEWAY_KAFKA_BOOTSTRAP", "redis": "GATEWAY_REDIS_URL"}
    return {
        **os.environ,
        **{variables[server.name]: server.address for server in stack.servers},
    }


async def _tell_of_end(server: Server, say: Callable[[str], None]) -> None:
    # Said, not acted upon: going on without it is what the gateway is for.
    code = await server.wait_unasked_end()
    say(with_log_tail(f"{server.name} ended by itself with code {code}", server.log_path))
