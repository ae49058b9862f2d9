"""One connection before and between its requests: caps, and a deadline for the head.

Decided here: who may connect, and how long a request's head may take.  aiohttp
parses; what it does not bound is bounded here: it counts no connections, and
gives a head that trickles in 75 s.  The body's deadline is in accept.py, where
the body is read.
"""

import asyncio
import ipaddress
from collections import Counter as Tally
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.board import Slot
from gateway.config import Http
from gateway.errors import Refusal
from gateway.reply import Replies

_RETRY_AFTER_S: Final = 5


class Connections:
    """All connections of one worker."""

    def __init__(self, settings: Http, replies: Replies, slot: Slot) -> None:
        self._settings = settings
        self._trusted = [ipaddress.ip_network(network) for network in settings.trusted_proxies]
        self._counts = slot.counters_by("sluicegate_connections_total")
        self._refusals = slot.counters_by("sluicegate_refusals_total")
        self._gauge = slot.gauge("sluicegate_connections")
        self._by_address: Tally[str] = Tally()
        self._total = 0
        # Heads that began and are not complete, oldest first: all have the same time.
        self._heads: dict[Connection, float] = {}
        self.replies = replies

    def counted(self, refusal: Refusal) -> Refusal:
        """The same, on the board: accept.py never sees a request that did not begin."""
        self._refusals[refusal.problem.code].add()
        return refusal

    def enter(self, address: str) -> Refusal | None:
        """Count a connection in, or say why it must go.  The proxies' connections carry many people."""
        if self._total >= self._settings.connections_max:
            self._counts["over_total"].add()
            return Refusal("overloaded", "more connections are open than this server holds", retry_after_s=_RETRY_AFTER_S)
        if self._by_address[address] >= self._settings.connections_per_address_max and not self._is_trusted(address):
            self._counts["over_address"].add()
            return Refusal("too-many-connections", "close idle connections first", retry_after_s=_RETRY_AFTER_S)
        self._counts["accepted"].add()
        self._total += 1
        self._by_address[address] += 1
        self._gauge.set(self._total)
        return None

    def leave(self, address: str) -> None:
        """Count a connection out that `enter` let in."""
        self._total -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        self._gauge.set(self._total)

    def _is_trusted(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:  # a Unix socket has no address
            return False
        return any(ip in network for network in self._trusted)

    def head_began(self, connection: "Connection", now_s: float) -> None:
        """A head is incomplete; its time runs from its first byte."""
        self._heads.setdefault(connection, now_s)

    def head_ended(self, connection: "Connection") -> None:
        """The head is complete, or its connection is gone."""
        self._heads.pop(connection, None)

    def has_begun(self, connection: "Connection") -> bool:
        """Whether a head of this connection is incomplete."""
        return connection in self._heads

    def sweep(self, now_s: float) -> None:
        """End the connections whose head takes too long; the worker calls this twice a second."""
        late = [c for c, since_s in self._heads.items() if now_s - since_s >= self._settings.headers_timeout_s]
        for connection in late:
            del self._heads[connection]
            connection.end(Refusal("request-timeout", "the request's head did not arrive in time"))


class Connection(RequestHandler):
    """aiohttp's handler of one connection, with our bounds around it."""

    __slots__ = ("_address", "_connections", "_is_refused")

    def __init__(self, manager: web.Server, connections: Connections, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._connections = connections
        self._address = ""
        self._is_refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by type, only by behaviour.
        pipe = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        refusal = self._connections.enter(self._address)
        if refusal is None:
            super().connection_made(transport)
            return
        self._is_refused = True
        pipe.write(self._connections.replies.raw(refusal))
        pipe.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._is_refused:
            return
        self._connections.leave(self._address)
        self._connections.head_ended(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        requests = self._request_count
        super().data_received(data)
        if self._request_count != requests:
            self._connections.head_ended(self)
            if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
                self._end_broken_body()
        elif requests == 0 or ((waiter := self._waiter) is not None and not waiter.done()):
            # No request is being handled, so these bytes belong to the head of the next one.
            self._connections.head_began(self, self._loop.time())

    def _end_broken_body(self) -> None:
        """The parser gave up, maybe inside a body; its reader would wait for the rest until its deadline."""
        request = self._current_request
        payload = self._messages[-2][1] if len(self._messages) > 1 else request.content if request is not None else None
        if payload is not None and not payload.is_eof():
            payload.set_exception(web.RequestPayloadError("broken framing"))
            payload.feed_eof()

    @property
    def is_busy(self) -> bool:
        """A request is being handled, or waits for it."""
        return self._request_in_progress or bool(self._messages)

    @property
    def is_due(self) -> bool:
        """Its first request, or the rest of one that began, is still to come."""
        return self._request_count == 0 or self._connections.has_begun(self)

    @property
    def is_kept(self) -> bool:
        """It has had a request before the one in hand."""
        return self._request_count > 1

    def end(self, refusal: Refusal) -> None:
        """Answer what never became a request, and close."""
        if self.transport is not None:
            self.transport.write(self._connections.replies.raw(self._connections.counted(refusal)))
        self.force_close()

    def handle_error(self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None) -> web.StreamResponse:
        """What aiohttp could not parse.  Its own message quotes the request, so ours says less."""
        del request, exc, message
        code, detail = ("bad-request", "not valid HTTP/1.1") if status == 400 else ("internal", "an error that is ours")
        return self._connections.replies.refusal(self._connections.counted(Refusal(code, detail, close=True)))


class PublicServer(web.Server):
    """aiohttp's low-level server, making our connections."""

    def __init__(self, handler: Any, connections: Connections, settings: Http) -> None:
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=settings.keepalive_s,
            # Each may take 8 kB before its request is anything at all; an app behind two proxies sends about 25.
            max_headers=64,
            lingering_time=settings.lingering_s,
            # We unfold bodies ourselves: aiohttp knows no ratio, takes many gzip members, and takes br.
            auto_decompress=False,
        )
        self._ours = connections

    def __call__(self) -> Connection:
        return Connection(self, self._ours, loop=self._loop, **self._kwargs)

    def ours(self) -> list[Connection]:
        """The open connections."""
        return [connection for connection in self.connections if isinstance(connection, Connection)]
