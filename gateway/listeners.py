"""The public port's listening sockets: one per worker, opened by the supervisor, inherited.

The kernel spreads new connections over them (SO_REUSEPORT).  They stay open
while workers come and go; closing one would reset what waits in its queue.
"""

import contextlib
import socket

from gateway.errors import ConfigError


class Listeners:
    """`count` sockets on one address."""

    def __init__(self, bind: str, count: int, backlog: int) -> None:
        """Take the address; port 0 picks a free port.  Raises ConfigError where it cannot be had."""
        host, _, port = bind.rpartition(":")
        self._host = host
        self._backlog = backlog
        try:
            family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
            # Without SO_REUSEPORT this fails where another gateway listens, which with it would share its port.
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
            self._sockets = []
            for _ in range(count):
                sock = socket.socket(family, socket.SOCK_STREAM)
                self._sockets.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind(address)
                sock.set_inheritable(True)
                address = sock.getsockname()
        except OSError as exc:
            raise ConfigError(f"http.bind {bind}: {exc.strerror or exc}") from exc

    def listen(self) -> None:
        """Let connections queue.  Before, they are refused: nothing is open that may yet have to be taken back."""
        for sock in self._sockets:
            sock.listen(self._backlog)

    @property
    def fds(self) -> tuple[int, ...]:
        return tuple(sock.fileno() for sock in self._sockets)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._sockets[0].getsockname()[1]}"

    def close(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.close()
