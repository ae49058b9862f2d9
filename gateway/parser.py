"""The bytes of one connection on their way to be requests: how much of a head is taken, and where one may have begun.

Decided here: how large a request's head may be, how many may wait, how much of a
body nobody has asked for yet is taken in.  How long a head may take is decided in
connections.py; the body's own bounds are in body.py, where it is read.

    transport ─▶ Inlet ─▶ Connection ─▶ Parser ─▶ queue of 2 ─▶ accept.py

aiohttp parses.  What it does not bound is bounded here: it takes 64 headers of
8 kB each, and 32 such heads ahead of the one in hand.

Nothing private in aiohttp is used here; what its parser is silent about (is it
between two requests?) is read off the bytes.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

# Each may take 8 kB before the head as a whole is too large; an app behind two proxies sends about 25.
_HEADERS_MAX: Final = 64
# Parsed requests that wait while one is in hand: who pipelines more is read no further (one more may be parsed).  2 is the least that does not pause at every request.
QUEUE_MAX: Final = 2
# Of a body that nobody has admitted yet, twice this much is taken in.
_BODY_AHEAD_BYTES: Final = 16_384
_EMPTY_LINE: Final = b"\r\n\r\n"


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
            # One more than pauses the transport: of a body that ends after its request has left the queue
            # aiohttp goes on counting one (never more).  Else it would hold back what it is never asked for again.
            max_msg_queue_size=QUEUE_MAX + 1,
        )
        self._head_bytes_max = head_bytes_max
        self._head_bytes = 0
        self.body: StreamReader = EMPTY_PAYLOAD  # of the newest request
        self._is_chunked = False  # that body
        self.is_within_head = False
        self._waiting = 0  # requests in the queue
        self._is_held = False  # something may be held back because of them
        self._kept = b""  # of what came last: what has to be looked at with what comes next
        self._body_bytes = 0  # of the newest request in what is kept

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
            self._waiting += len(fed[0])
            self._head_bytes = self._body_bytes = read_bytes = 0
            message, self.body = fed[0][-1]
            self._is_chunked = message.chunked
        elif is_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._head_bytes_max:
                self._give_up()
                raise BadHttpMessage("the head is too large")
        if data or self._is_held:
            self._look(data, self._body_bytes + self.body.total_bytes - read_bytes, has_new_head=bool(fed[0]))
        return fed

    @property
    def is_between(self) -> bool:
        """All that came were whole requests, and none waits: what comes next begins one."""
        return self._waiting == 0 and not self._kept and not self.is_within_head and self.body.is_eof()

    def message_consumed(self) -> None:
        """One request has left the queue."""
        self._waiting -= 1
        HttpRequestParser.message_consumed(self)

    def _look(self, data: bytes, body_bytes: int, *, has_new_head: bool) -> None:
        """Does what came end where a request does: with an empty line, with a body of known length after one, or within such a body?

        aiohttp does not say, but the last bytes do; three of those before are kept, as an empty line may come in two
        segments.  While the queue is full something may be held back, so all is kept and looked at afterwards.
        An empty line too many is taken for the beginning of a head.

        A body that holds empty lines can be made to look like its own end when the next head has begun.  That wins this
        head the time of an idle connection, and nothing else: its rest must not be taken for a request of its own.  So
        what is kept is dropped, and `is_between` is true, only at an end that cannot be so made.
        """
        seen = self._kept + data if self._kept else data
        self._is_held = self._waiting >= QUEUE_MAX
        if self._is_held:
            self._kept, self._body_bytes, self.is_within_head = seen, body_bytes, False
            return
        end = len(seen) - (0 if self._is_chunked else body_bytes)
        is_within_body = end <= 3 and body_bytes > 0
        has_ended = seen.endswith(_EMPTY_LINE, 0, max(end, 0)) or is_within_body
        # Where a chunked body ends, aiohttp does say.  And the newest head has ended at `end` or before it: if not before
        # the first empty line that was seen, and that is there, nothing but its body has come since.
        has_one_head = has_new_head and seen.find(_EMPTY_LINE) + len(_EMPTY_LINE) == end
        is_sure = self._is_chunked or not body_bytes or is_within_body or has_one_head
        self.is_within_head = self.body.is_eof() and not has_ended
        self._kept, self._body_bytes = b"" if has_ended and is_sure and self.body.is_eof() else seen[-3:], 0

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

    def __init__(self, connection: asyncio.Protocol, buffer: memoryview) -> None:
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

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
