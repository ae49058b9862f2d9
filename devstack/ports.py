"""Ports on 127.0.0.1 that stay ours for as long as the stack lives, restarts included.

A port that was free when asked need not be free when the server binds it, three seconds
later (Kafka): another stack may be starting at the same time.  So stacks lease ports from
each other by a lock file per port, and ask the kernel only about everybody else.
"""

from __future__ import annotations

import os
import random
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StartFailed
from .locks import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
KAFKA_PORT = 9092
REDIS_PORT = 6379
# Below the range from which Linux (32768..) and macOS (49152..) take the ports of outgoing
# connections: one of those could otherwise sit on our port while its server is restarting.
_SPARE_PORTS = range(20_000, 32_000)
_TRIES = 200  # 200 busy ports in a row out of 12,000 mean something else is wrong


class PortLease:
    """One port, kept from other stacks until released."""

    def __init__(self, port: int, lock: FileLock) -> None:
        """Wrap a port whose lock is held; made by `lease_port`."""
        self.port = port
        self._lock = lock

    def release(self) -> None:
        """Let other stacks have the port."""
        self._lock.release()


def lease_port(usual: int | None = None) -> PortLease:
    """Lease the usual port when it is free, else any spare one.

    Raises:
        StartFailed: no free port was found.
    """
    for port in _candidates(usual):
        lock = FileLock(_lock_dir() / str(port))
        if not lock.try_take():
            continue
        if _can_bind(port):
            return PortLease(port, lock)
        lock.release()
    raise StartFailed(f"no free port on {HOST}: tried {usual} and {_TRIES} of {_SPARE_PORTS}")


def _candidates(usual: int | None) -> Iterator[int]:
    if usual is not None:
        yield usual
    yield from random.sample(_SPARE_PORTS, _TRIES)


def _lock_dir() -> Path:
    # One directory per user: another user's files could not be opened.  Between users the
    # kernel's answer alone decides, as it does for every program that is not a devstack.
    return Path(tempfile.gettempdir()) / f"devstack-ports-{os.getuid()}"


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: old connections in TIME_WAIT must not cost us the usual port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            # Linux lets two sockets bind one port like this as long as neither listens.
            probe.listen(1)
        except OSError:
            return False
    return True
