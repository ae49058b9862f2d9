"""An HTTP/1.1 client for a load generator: one greenlet sends one request and waits for the whole of its answer.

A keep-alive connection carries one request at a time; when none is idle another is opened, for a crowd does not wait
for each other's connections either.  The one that was used last is used next.  No redirects, cookies, proxies or
compression: what the gateway does not do.  No request is repeated here: what to do without an answer is users.py's.

`parsed` is pure: bytes in, an answer or None (more is to come) out, however the bytes were cut.
Nothing here imports Locust, which would patch the standard library of whoever does.
"""

import errno
import socket as std_socket
import ssl as std_ssl
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import gevent
from gevent import socket, ssl

from loadtests.recording import CUT, NO_ANSWER

PATIENCE_S: Final = 20.0  # for one answer, its connection's making included: a knock is held for five seconds at most
ANSWER_BYTES_MAX: Final = 8_388_608  # far beyond any receipt: who says more is not the gateway
IDLE_MAX: Final = 16_384  # connections kept: the crowd of a surge, not of the day
_READ_BYTES: Final = 65_536
_HEAD_END: Final = b"\r\n\r\n"
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS})  # this machine has no more to give


class UnreadableAnswerError(ValueError):
    """The server answered something this client does not know."""


class Parsed(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[str, str]  # those that anybody asks for
    body: bytes
    is_kept: bool  # the connection may carry another request


class Answer(NamedTuple):
    """What came of one request; instants of the sender's clock."""

    status: int  # of HTTP, or NO_ANSWER, CUT
    headers: dict[str, str]
    body: bytes
    sent_s: float  # its first byte; where it came to none, when it was taken up
    done_s: float


# Pure: bytes → an answer


def parsed(received: bytes, *, is_end: bool = False) -> Parsed | None:
    """The answer that `received` begins with; None: it is not all there.

    Args:
        is_end: the server has closed, which ends a body without a length.

    Raises:
        UnreadableAnswerError: this is no answer, or more than one.
    """
    head_end = received.find(_HEAD_END)
    if head_end < 0:
        if len(received) > _READ_BYTES:
            raise UnreadableAnswerError("no end of headers")
        return None
    head = received[:head_end]
    if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
        raise UnreadableAnswerError(f"status line {head[:40]!r}")
    status, begin = int(head[9:12]), head_end + len(_HEAD_END)
    if status < 200:
        return parsed(received[begin:], is_end=is_end)  # interim: the answer is still to come
    lowered = head.lower()
    found = _body(status, lowered, received, begin, is_end=is_end)
    if found is None:
        return None
    body, end, has_length = found
    if end != len(received):
        raise UnreadableAnswerError("an answer nobody asked for")
    is_kept = has_length and head.startswith(b"HTTP/1.1") and _field(lowered, b"connection") != b"close"
    retry_after = _field(lowered, b"retry-after") if status >= 202 else None
    return Parsed(status, {"Retry-After": retry_after.decode("latin-1")} if retry_after else {}, body, is_kept)


def _body(status: int, lowered: bytes, received: bytes, begin: int, *, is_end: bool) -> tuple[bytes, int, bool] | None:
    """(body, where it ends, whether its end was told before)."""
    if status in (204, 304):
        return b"", begin, True
    length = _field(lowered, b"content-length")
    if length is not None:
        if not length.isdigit():
            raise UnreadableAnswerError(f"Content-Length {length[:20]!r}")
        end = begin + int(length)
        return (received[begin:end], end, True) if end <= len(received) else None
    if _field(lowered, b"transfer-encoding") == b"chunked":
        return _unchunked(received, begin)
    return (received[begin:], len(received), False) if is_end else None


def _field(lowered: bytes, name: bytes) -> bytes | None:
    begin = lowered.find(b"\r\n" + name + b":")
    if begin < 0:
        return None
    begin += len(name) + 3
    end = lowered.find(b"\r\n", begin)
    return (lowered[begin:] if end < 0 else lowered[begin:end]).strip()


def _unchunked(received: bytes, at: int) -> tuple[bytes, int, bool] | None:
    """Source: RFC 9112, 7.1."""
    parts: list[bytes] = []
    while (line_end := received.find(b"\r\n", at)) >= 0:
        try:
            size = int(received[at:line_end].partition(b";")[0], 16)
        except ValueError:
            raise UnreadableAnswerError(f"chunk size {received[at:line_end][:20]!r}") from None
        begin = line_end + 2
        if size == 0:
            if received[begin : begin + 2] == b"\r\n":
                return b"".join(parts), begin + 2, True
            trailer_end = received.find(_HEAD_END, line_end)
            return None if trailer_end < 0 else (b"".join(parts), trailer_end + len(_HEAD_END), True)
        if len(received) < begin + size + 2:
            return None
        parts.append(received[begin : begin + size])
        at = begin + size + 2
    return None


# The sockets


class Sender:
    """Connections to one gateway, as many as there are requests at once."""

    def __init__(self, url: str, clock: Callable[[], float], *, patience_s: float = PATIENCE_S) -> None:
        """Find the address once: a crowd has its own caches.

        Raises:
            OSError, ValueError: there is no such host; this is no such URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url}: want http://HOST or https://HOST")
        self.host, self.prefix = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
        self._name = parts.hostname
        self._family, _, _, _, self._address = socket.getaddrinfo(
            parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), 0, socket.SOCK_STREAM
        )[0]
        self._tls = _tls() if parts.scheme == "https" else None
        self._clock, self._patience_s = clock, patience_s
        self._idle: list[socket.socket] = []
        self.in_flight = self.opened = 0
        self.errors: dict[str, int] = {}  # of this machine, or of what was read: the harness's own trouble

    def send(self, content: bytes) -> Answer:
        """One request and its answer; whatever goes wrong is an answer's status."""
        began_s = sent_s = self._clock()
        connection: socket.socket | None = None
        status, found = CUT, None
        self.in_flight += 1
        patience = gevent.Timeout.start_new(self._patience_s)
        try:
            connection = self._kept() or self._connected()
            sent_s = self._clock()
            connection.sendall(content)
            found = _answer(connection)
        except gevent.Timeout as expired:
            if expired is not patience:
                raise
            status = NO_ANSWER
        except OSError as error:
            if error.errno in _OURS:
                self._went_wrong(str(error))
        except UnreadableAnswerError as error:
            self._went_wrong(str(error))
        finally:
            patience.close()
            self.in_flight -= 1
            if connection is not None and (found is None or not found.is_kept or len(self._idle) >= IDLE_MAX):
                connection.close()
        if found is None:
            return Answer(status, {}, b"", sent_s if connection is not None else began_s, self._clock())
        if found.is_kept and len(self._idle) < IDLE_MAX and connection is not None:
            self._idle.append(connection)
        return Answer(found.status, found.headers, found.body, sent_s, self._clock())

    def close(self) -> None:
        """Let the idle ones go."""
        while self._idle:
            self._idle.pop().close()

    def _went_wrong(self, words: str) -> None:
        if words in self.errors or len(self.errors) < 20:
            self.errors[words] = self.errors.get(words, 0) + 1

    def _kept(self) -> socket.socket | None:
        """An idle connection that the server has not closed meanwhile."""
        while self._idle:
            connection = self._idle.pop()
            if _is_alive(connection):
                return connection
            connection.close()
        return None

    def _connected(self) -> socket.socket:
        connection = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            connection.connect(self._address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.opened += 1
            return connection if self._tls is None else self._tls.wrap_socket(connection, server_hostname=self._name)
        except BaseException:
            connection.close()
            raise


def _answer(connection: socket.socket) -> Parsed:
    received = connection.recv(_READ_BYTES)
    found = parsed(received) if received else None
    while found is None:
        more = connection.recv(_READ_BYTES)
        received += more
        if len(received) > ANSWER_BYTES_MAX:
            raise UnreadableAnswerError(f"more than {ANSWER_BYTES_MAX} bytes")
        found = parsed(received, is_end=not more)
        if found is None and not more:
            raise ConnectionResetError("closed before the answer's end")
    return found


def _is_alive(connection: socket.socket) -> bool:
    """A closed one, or one with bytes nobody asked for, is readable; so is a TLS one with a ticket, which is no harm to lose."""
    try:
        connection._sock.recv(1, std_socket.MSG_PEEK | std_socket.MSG_DONTWAIT)  # noqa: SLF001 - gevent's own would wait
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _tls() -> ssl.SSLContext:
    """The machine's certificates, or those of SSL_CERT_FILE."""
    context = ssl.SSLContext(std_ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context
