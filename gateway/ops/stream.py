"""GET /api/stream: server-sent events to everybody who looks at the screen.

Decided here: who gets what when, and who is let go.  What is said is made once for all (screen.py) and written to
each viewer's transport as it is: a thousand viewers cost a thousand writes a second, and no worker anything.

    on connection   retry, history, log, status      history and log since Last-Event-ID, where it is known
    then            status each second, log entries as they come

    slow   more than BEHIND_BYTES_MAX unsent: ended; it connects again and is told what it missed
    dead   what it was sent is not acknowledged for UNSEEN_MS: the kernel ends it
    full   beyond VIEWERS_MAX: 503, nobody else is disturbed

Source: the HTML standard, "Server-sent events".
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from aiohttp import HttpVersion11, web

from gateway.board import Slot
from gateway.errors import Refusal

VIEWERS_MAX: Final = 2_000
BEHIND_BYTES_MAX: Final = 262_144  # a minute of frames of 4 kB
UNSEEN_MS: Final = 20_000
_RETRY_AFTER_S: Final = 10
HEADERS: Final = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(name: str, data: bytes, id_: int | None = None) -> bytes:
    """One event.  Args: data: JSON, which has no line breaks."""
    head = b"" if id_ is None else b"id: %d\n" % id_
    return b"%bevent: %b\ndata: %b\n\n" % (head, name.encode(), data)


def chunk(text: bytes) -> bytes:
    """As one chunk of HTTP/1.1's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(text), text)


class Viewers:
    """All open streams.

    Args:
        greeting: what one is told first, given the id of the last event it saw (None: it is new).
    """

    def __init__(self, greeting: Callable[[int | None], bytes], slot: Slot) -> None:
        self._greeting = greeting
        self._dropped = slot.counters_by("sluicegate_viewers_dropped_total")
        self._viewers: dict[asyncio.Transport, asyncio.Event] = {}
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._viewers)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One viewer, until it or we end it.  Raises Refusal: there are too many, or its HTTP has no streams."""
        if request.version < HttpVersion11:
            raise Refusal("bad-request", "want HTTP/1.1")
        if self._is_closing or len(self._viewers) >= VIEWERS_MAX:
            self._dropped["full"].add()
            raise Refusal("overloaded", f"{VIEWERS_MAX} look at the screen already", retry_after_s=_RETRY_AFTER_S)
        response = web.StreamResponse(headers=HEADERS)
        response.enable_chunked_encoding()
        await response.prepare(request)
        transport = request.transport
        if transport is None or transport.is_closing() or self._is_closing:
            return response
        _watch_for_death(transport)
        # Greeted and written down in one step: nothing is said in between, to the others alone.
        transport.write(chunk(self._greeting(last_id(request))))
        gone = self._viewers[transport] = asyncio.Event()
        try:
            await gone.wait()
        finally:
            self._viewers.pop(transport, None)
            transport.abort()  # there is no end of a stream: who lives connects again
        return response

    def send(self, text: bytes) -> None:
        """To everybody, now; who is too far behind is let go."""
        framed = chunk(text)
        for transport, gone in list(self._viewers.items()):
            if transport.is_closing():
                gone.set()
            elif transport.get_write_buffer_size() > BEHIND_BYTES_MAX:
                self._dropped["slow"].add()
                gone.set()
            else:
                transport.write(framed)

    def let_go(self) -> None:
        """End every stream: who still may look is back within a second."""
        for gone in self._viewers.values():
            gone.set()

    async def close(self, _: object = None) -> None:
        """Let everybody go, and nobody in: the process ends."""
        self._is_closing = True
        self.let_go()


def last_id(request: web.Request) -> int | None:
    """Of the last event that a viewer saw: what the browser says, or the page where the browser has given up; the newer of the two."""
    told = (request.headers.get("Last-Event-ID", ""), request.query.get("last", ""))
    return max((int(text) for text in told if text.isascii() and text.isdigit() and len(text) <= 15), default=None)


def _watch_for_death(transport: asyncio.Transport) -> None:
    """A phone that went into a tunnel says no goodbye: what is not acknowledged ends it."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSEEN_MS)
