"""One connection before and between its requests: caps, bounds and deadlines; and all we ask of aiohttp's insides.

Decided here: who may connect, how large a request's head may be and how long it
may take, and how long a client may leave its answers unread.  The body's
deadline is in body.py, where the body is read.

    transport ─▶ Inlet ─▶ Connection ─▶ Parser ─▶ queue of 2 ─▶ accept.py

aiohttp parses.  What it does not bound is bounded here: it counts no
connections, takes 64 headers of 8 kB each and 32 such heads ahead of the one in
hand, gives a head that trickles in 75 s, and waits for ever for a client that
does not read.  No request has a timer of its own: the worker sweeps twice a second.

What is private in aiohttp and used here (3.14; tests/system/test_connections.py and test_hostile.py fail where it changes):
  _parser                the one place where a parser is taken from; replaced before the first byte
  _max_msg_queue_size    where reading pauses, and with the other where it goes on; constants of its module, told to the
  _msg_queue_resume_size parser by argument
  _messages              the queue; only looked at, and its last entry told to be the last
  _waiter                pending exactly while the handler waits for a request
  _request_count         heads parsed; _request_in_progress: one is with accept.py
  _task_handler          the handler's task, looked at once, when it is made
  _reading_paused        a body's reader holds more than it should; only looked at
"""

import asyncio
import ipaddress
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from aiohttp import StreamReader, web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from gateway.board import Slot
from gateway.config import Http
from gateway.errors import Refusal
from gateway.reply import Replies

_RETRY_AFTER_S: Final = 5
# Each may take 8 kB before the head as a whole is too large; an app behind two proxies sends about 25.
_HEADERS_MAX: Final = 64
# Parsed requests that wait while one is in hand: who pipelines more is read no further.  2 is the least that does not pause at every request.
_QUEUE_MAX: Final = 2
# Of a body that nobody has admitted yet, twice this much is taken in.
_BODY_AHEAD_BYTES: Final = 16_384
_EMPTY_LINE: Final = b"\r\n\r\n"


class Peer(NamedTuple):
    """Who is at the other end."""

    address: str  # an IPv4 address as such, also where the socket speaks IPv6
    place: str  # what is counted: the address, of IPv6 its /64, which is what one household or phone is given


def peer_of(address: str) -> Peer:
    """Who an address of a socket is; a Unix socket has none."""
    if ":" not in address:
        return Peer(address, address)
    ip = ipaddress.IPv6Address(address)
    if ip.ipv4_mapped is not None:  # 10.0.0.1 is ::ffff:10.0.0.1 to a socket bound to [::]
        return Peer(str(ip.ipv4_mapped), str(ip.ipv4_mapped))
    return Peer(str(ip), str(ipaddress.IPv6Network((int(ip), 64), strict=False)))


class Connections:
    """All connections of one worker."""

    def __init__(self, settings: Http, replies: Replies, slot: Slot) -> None:
        self._settings = settings
        self._trusted = [ipaddress.ip_network(network) for network in settings.trusted_proxies]
        self._counts = slot.counters_by("sluicegate_connections_total")
        self._refusals = slot.counters_by("sluicegate_refusals_total")
        self._gauge = slot.gauge("sluicegate_connections")
        self._by_place: Tally[str] = Tally()
        self._total = 0
        self._heads: dict[Connection, float] = {}  # that began and are not complete, since when
        self._unread: dict[Connection, float] = {}  # answers that the client does not take, since when
        self.replies = replies

    def counted(self, refusal: Refusal) -> Refusal:
        """The same, on the board: accept.py never sees a request that did not begin."""
        self._refusals[refusal.problem.code].add()
        return refusal

    def enter(self, peer: Peer) -> Refusal | None:
        """Count a connection in, or say why it must go.  The proxies' connections carry many people."""
        if self._total >= self._settings.connections_max:
            self._counts["over_total"].add()
            return self.counted(Refusal("overloaded", "more connections are open than this server holds", retry_after_s=_RETRY_AFTER_S))
        if self._by_place[peer.place] >= self._settings.connections_per_address_max and not self._is_trusted(peer.address):
            self._counts["over_address"].add()
            return self.counted(Refusal("too-many-connections", "close idle connections first", retry_after_s=_RETRY_AFTER_S))
        self._counts["accepted"].add()
        self._total += 1
        self._by_place[peer.place] += 1
        self._gauge.set(self._total)
        return None

    def leave(self, peer: Peer) -> None:
        """Count a connection out that `enter` let in."""
        self._total -= 1
        self._by_place[peer.place] -= 1
        if not self._by_place[peer.place]:
            del self._by_place[peer.place]
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

    def unread(self, connection: "Connection", now_s: float) -> None:
        """Its client does not take what is written; its time runs from here."""
        self._unread.setdefault(connection, now_s)

    def read(self, connection: "Connection") -> None:
        """Its client has taken most of it, or its connection is gone."""
        self._unread.pop(connection, None)

    def sweep(self, now_s: float) -> None:
        """End the connections whose time is up; the worker calls this twice a second."""
        late = []
        for connection, since_s in self._heads.items():
            if not connection.is_idle:
                # This head waits for the request before it: its time runs from when we listen to it.
                self._heads[connection] = now_s
            elif now_s - since_s >= self._settings.headers_timeout_s:
                late.append(connection)
        for connection in late:
            del self._heads[connection]
            connection.end(Refusal("request-timeout", "the request's head did not arrive in time"))
        for connection in [c for c, since_s in self._unread.items() if now_s - since_s >= self._settings.write_timeout_s]:
            del self._unread[connection]
            connection.abort()


class Parser(HttpRequestParser):
    """aiohttp's parser, with a bound for a whole head, and knowing whether one may have begun.

    The bound counts the segments that brought nothing but a part of one head.  What of it came in
    a segment with the request before is not counted, but no segment is longer than the bound
    (Inlet), so a head is never longer than twice that.
    """

    def __init__(self, protocol: RequestHandler, loop: asyncio.AbstractEventLoop, head_bytes_max: int) -> None:
        super().__init__(
            protocol,
            loop,
            _BODY_AHEAD_BYTES,
            max_headers=_HEADERS_MAX,
            payload_exception=web.RequestPayloadError,
            # We unfold bodies ourselves: aiohttp knows no ratio, takes many gzip members, and takes br.
            auto_decompress=False,
            max_msg_queue_size=_QUEUE_MAX,
        )
        self._head_bytes_max = head_bytes_max
        self._head_bytes = 0
        self.body: StreamReader = EMPTY_PAYLOAD  # of the newest request
        self.is_within_head = False

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:  # type: ignore[override]  # the compiled one takes no more either
        """Parse on.  Raises HttpProcessingError, after which nothing is read any more."""
        body = self.body
        read_bytes, is_head = body.total_bytes, body.is_eof()
        try:
            fed: tuple[Sequence[Any], bool, bytes] = HttpRequestParser.feed_data(self, data)
        except HttpProcessingError:
            self._give_up()
            raise
        if fed[0]:
            self._head_bytes = read_bytes = 0
            self.body = body = fed[0][-1][1]
        elif is_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._head_bytes_max:
                self._give_up()
                raise BadHttpMessage("the head is too large")
        # Does it surely end where a request does: with an empty line, with a body after one, or with a body that had begun?
        # Where this cannot be told (the last line of a chunked body came in two) a head counts as begun, and its
        # time runs.  A body made to look like its own end wins no more than the time of an idle connection.
        if data:  # else the parser goes on with what it kept of a segment, which was looked at then
            end = len(data) - (body.total_bytes - read_bytes)
            self.is_within_head = body.is_eof() and not (data.endswith(_EMPTY_LINE, 0, end) or data.endswith(_EMPTY_LINE) or end == 0)
        return fed

    def _give_up(self) -> None:
        """Maybe inside a body: its reader would wait for the rest until its deadline."""
        self.is_within_head = False
        if not self.body.is_eof():
            self.body.set_exception(web.RequestPayloadError("broken framing"))
            self.body.feed_eof()


class Inlet(asyncio.BufferedProtocol):
    """Between the transport and its connection: no segment is longer than a head may be.

    uvloop hands on up to 256 kB at a time, all of which the parser keeps while the queue is full.  One
    buffer serves all: it is read out before the next connection is.  (Connection cannot be a
    BufferedProtocol itself: it is a Protocol by descent, and that wins.)
    """

    def __init__(self, connection: "Connection", buffer: memoryview) -> None:
        self._connection = connection
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it hints at more
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(self._buffer[:nbytes]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def eof_received(self) -> bool:
        return self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


class Connection(RequestHandler):
    """aiohttp's handler of one connection, with our bounds around it."""

    __slots__ = ("_connections", "_head_parser", "_is_refused", "_peer", "_pipe")

    def __init__(self, manager: web.Server, connections: Connections, head_bytes_max: int, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._parser = self._head_parser = Parser(self, self._loop, head_bytes_max)
        self._max_msg_queue_size, self._msg_queue_resume_size = _QUEUE_MAX, _QUEUE_MAX // 2
        self._connections = connections
        self._peer = Peer("", "")
        self._pipe: asyncio.Transport | None = None
        self._is_refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by type, only by behaviour.
        pipe = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self._peer = peer_of(str(name[0]) if isinstance(name, tuple) else "")
        refusal = self._connections.enter(self._peer)
        if refusal is None:
            super().connection_made(transport)
            self._pipe = pipe
            assert self._task_handler is not None
            self._task_handler.add_done_callback(self._has_closed)
            return
        self._is_refused = True
        pipe.write(self._connections.replies.raw(refusal))
        pipe.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._is_refused:
            return
        self._pipe = None
        self._connections.leave(self._peer)
        self._connections.head_ended(self)
        self._connections.read(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.unread(self, self._loop.time())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._connections.read(self)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Whoever reads a body calls this; where nothing was paused it costs a look at the parser for nothing."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _has_closed(self, _: object) -> None:
        """The handler has ended: a transport that is closed waits until all is read, were it for ever."""
        if self._pipe is not None and self._pipe.get_write_buffer_size():
            self._connections.unread(self, self._loop.time())

    def abort(self) -> None:
        """End it though something is not read: close() would wait for that."""
        if self._pipe is not None:
            self._pipe.abort()

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's answers None, and thereby always closes
        """The client will send no more.  True: keep the other way open for the answers it still waits for."""
        if self._is_refused or self.is_idle or not self._head_parser.body.is_eof():
            return False
        if self._messages:
            message, payload = self._messages.pop()
            if isinstance(message, RawRequestMessage):
                message = message._replace(should_close=True)
            self._messages.append((message, payload))
        else:
            self.close()  # after the one in hand
        return True

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        requests = self._request_count
        super().data_received(data)
        if self._request_count != requests:
            self._connections.head_ended(self)
        if self._head_parser.is_within_head:
            self._connections.head_began(self, self._loop.time())

    @property
    def is_idle(self) -> bool:
        """No request is in hand, and none waits to be."""
        return self._request_count == 0 or ((waiter := self._waiter) is not None and not waiter.done())

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
        code, detail = ("bad-request", "not valid HTTP/1.1, or a head larger than we take") if status == 400 else ("internal", "an error that is ours")
        return self._connections.replies.refusal(self._connections.counted(Refusal(code, detail, close=True))).as_response()


class PublicServer(web.Server):
    """aiohttp's low-level server, making our connections."""

    def __init__(self, handler: Any, connections: Connections, settings: Http) -> None:
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=settings.keepalive_s,
            lingering_time=settings.lingering_s,
        )
        self._ours = connections
        self._head_bytes_max = settings.head_bytes_max
        self._buffer = memoryview(bytearray(settings.head_bytes_max))

    def __call__(self) -> Inlet:  # type: ignore[override]  # whoever calls this wants a protocol, and gets one
        return Inlet(Connection(self, self._ours, self._head_bytes_max, loop=self._loop, **self._kwargs), self._buffer)

    def ours(self) -> list[Connection]:
        """The open connections."""
        return [connection for connection in self.connections if isinstance(connection, Connection)]
