"""How connections come in: from a worker's own listener, and from those of workers that are gone.

Decided here: as many as are waiting, at every turn of the event loop.  The loop's own server accepts one
a turn: with turns of 20 ms, on a busy core, that is fifty a second, and a crowd waits in the kernel's
queue, where nobody sees it and nothing refuses it early.
"""

import asyncio
import contextlib
import os
import socket
from typing import Final

from aiohttp import web

from gateway import logs

_AT_ONCE: Final = 64  # then those who are connected have their turn
_WITHOUT_DESCRIPTORS_S: Final = 1.0  # until it is tried again; the queue stays readable, and would keep the loop busy


class Listening:
    """The listeners this worker accepts from."""

    def __init__(self, server: web.Server, fds: tuple[int, ...], backlog: int) -> None:
        """Args: server: makes a connection's protocol; fds: all listeners of the supervisor, inherited."""
        self._server = server
        self._fds = fds
        self._backlog = backlog
        self._accepting: dict[int, socket.socket] = {}
        self._arriving: set[asyncio.Task[object]] = set()
        self._is_stopping = False

    def adopt(self, listener: int) -> None:
        """Accept from the supervisor's listener of this number, unless accepting has ended.  Raises OSError."""
        if listener in self._accepting or self._is_stopping:
            return
        # A copy: the inherited one stays, for the next time, and with it all that queue there.
        sock = socket.socket(fileno=os.dup(self._fds[listener]))
        sock.setblocking(False)
        sock.listen(self._backlog)
        self._accepting[listener] = sock
        self._resume(sock)

    def release(self, listener: int) -> None:
        """Leave it to its own worker again."""
        sock = self._accepting.pop(listener, None)
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()

    async def stop(self) -> None:
        """Accept until nothing is left in the queues, then close them for every process."""
        self._is_stopping = True
        while self._accepting:
            _, sock = self._accepting.popitem()
            asyncio.get_running_loop().remove_reader(sock.fileno())
            while (connected := self._next(sock)) is not None:
                self._connect(connected)
            with contextlib.suppress(OSError):  # shared with one that woke up late, who was quicker
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        if self._arriving:
            await asyncio.wait(self._arriving)

    def _resume(self, sock: socket.socket) -> None:
        if sock in self._accepting.values():
            asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        """The queue has somebody."""
        for _ in range(_AT_ONCE):
            connected = self._next(sock)
            if connected is None:
                return
            self._connect(connected)

    def _next(self, sock: socket.socket) -> socket.socket | None:
        """The next one of the queue; None where it is empty, or nobody can be taken out of it now."""
        while True:
            try:
                connected, _ = sock.accept()
            except ConnectionError:
                continue  # this one hung up in the queue; the next one may not have
            except BlockingIOError:
                return None
            except OSError as exc:
                # No descriptor is free, which is said of an empty queue too: who is in it waits, and no drain ends of it.
                logs.warning("the last connections are not accepted" if self._is_stopping else "connections are not accepted", reason=exc.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(sock.fileno())
                loop.call_later(_WITHOUT_DESCRIPTORS_S, self._resume, sock)
                return None
            connected.setblocking(False)
            return connected

    def _connect(self, connected: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        task: asyncio.Task[object] = loop.create_task(loop.connect_accepted_socket(self._server, connected))
        self._arriving.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[object]) -> None:
        self._arriving.discard(task)
        if not task.cancelled() and isinstance(exc := task.exception(), Exception):
            logs.warning("a connection could not be set up", exc=exc)
