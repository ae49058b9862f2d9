"""One connection before and between its requests; and what we ask of aiohttp's insides.

Decided here: what of aiohttp's handler of a connection is replaced.  How much a
head may hold is decided in parser.py, who may connect and which deadlines run in
connections.py, and what is answered at once in accept.py.

    transport ─▶ Inlet ─▶ Connection ─▶ Parser ─▶ queue of 2 ─▶ accept.py
                              │ │
                              │ └─▶ answered at once: places and joins; under overload, who is turned away
                              └─▶ Connections: caps, deadlines

What is private in aiohttp and used here (3.14; tests/system/test_connections.py and test_hostile.py fail where it changes):
  _parser                the one place where a parser is taken from; replaced before the first byte
  _max_msg_queue_size    where reading pauses, and with the other where it goes on; constants of its module, of which the
  _msg_queue_resume_size parser is told by argument (parser.py)
  _messages              the queue; only looked at, and its last entry told to be the last
  _waiter                pending exactly while the handler waits for a request
  _request_count         heads parsed, those answered at once too; _request_in_progress: one is with accept.py
  _next_keepalive_close_time  when an idle connection ends; moved on by a request that was answered at once
  _keepalive_timeout     by so much
  _task_handler          the handler's task, looked at once, when it is made; cancelled where what waits behind an answer is not to be heard
  _process_keepalive     ends an idle connection; not while an answer of which aiohttp knows nothing is being made
  _make_error_handler    answers what could not be parsed; not before such an answer
  _reading_paused        a body's reader holds more than it should; only looked at
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway import logs
from gateway.config import Http
from gateway.connections import Connections
from gateway.core.address import Peer, peer_of
from gateway.errors import Refusal
from gateway.parser import QUEUE_MAX, Inlet, Parser
from gateway.reply import Answer

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Front(Protocol):
    """Who answers: accept.py."""

    def may_answer(self, segment: bytes) -> bool:
        """The quick look, whether `at_once` could have something to say."""

    def at_once(self, segment: bytes, peer_address: str, *, is_kept: bool) -> bytes | Coroutine[Any, Any, Answer] | None:
        """The whole answer to a request before it is one, or what will make it; None: parse it, and `handle` answers it."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to any other."""


class Connection(RequestHandler):
    """aiohttp's handler of one connection, with our bounds around it."""

    __slots__ = ("_connections", "_front", "_head_parser", "_is_refused", "_pipe", "in_hand", "peer")

    def __init__(self, manager: web.Server, front: Front, connections: Connections, head_bytes_max: int, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._parser = self._head_parser = Parser(self, self._loop, head_bytes_max)
        self._front = front
        self._max_msg_queue_size, self._msg_queue_resume_size = QUEUE_MAX, QUEUE_MAX // 2
        self._connections = connections
        self.peer: Peer = peer_of("")  # at the other end of the socket: where that is one of our proxies, not yet who asks
        self._pipe: asyncio.Transport | None = None
        self._is_refused = False
        self.in_hand: asyncio.Task[None] | None = None  # an answer past aiohttp that is still being made: the next one waits for it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by type, only by behaviour.
        pipe = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self.peer = peer_of(str(name[0]) if isinstance(name, tuple) else "")
        refusal = self._connections.enter(self.peer)
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
        self._connections.leave(self.peer)
        self._connections.head_ended(self)
        self._connections.read(self)
        if self.in_hand is not None and self._task_handler is not None:
            self._task_handler.cancel()  # what waits behind it is asked by nobody any more
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
        elif self.in_hand is not None:
            # Only then is it sure whether one waits behind it: for a turn of the loop it is in no queue and not in progress.
            self.in_hand.add_done_callback(lambda _: self.force_close() if self.is_idle else self.close())
        else:
            self.close()  # after the one in hand
        return True

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self._answered(data):
            return
        requests = self._request_count
        super().data_received(data)
        if self._request_count != requests or not self._head_parser.is_within_head:
            self._connections.head_ended(self)
        if self._head_parser.is_within_head:
            self._connections.head_began(self, self._loop.time())

    def _answered(self, data: bytes) -> bool:
        """Answer at once what needs no parser, if this is the only request here and its connection stays."""
        if not self._front.may_answer(data) or not self._head_parser.is_between or not self.is_idle:
            return False
        if self.writing_paused or self._pipe is None or self._pipe.is_closing():
            return False
        answer = self._front.at_once(data, self.peer.address, is_kept=self._request_count > 0)
        if answer is None:
            return False
        self._request_count += 1
        if isinstance(answer, bytes):
            self._wrote(answer)
        else:
            self.in_hand = self._loop.create_task(self._answer(answer))
        return True

    async def _answer(self, making: Awaitable[Answer]) -> None:
        """Write it when it is made, whatever has come meanwhile."""
        try:
            answer = await making
        except asyncio.CancelledError:
            self._end_here()  # as aiohttp does with a handler that is
            raise
        except Exception as exc:  # noqa: BLE001 - the last door: else the client would wait for ever
            logs.error("an answer failed", exc=exc)
            answer = self._internal()
        self.in_hand = None
        if self._pipe is None or self._pipe.is_closing():
            return  # nobody listens any more
        self._wrote(answer.text())
        if answer.keep_alive is False:
            self._end_here()

    def _end_here(self) -> None:
        """End it with the answer that was in hand: what has come behind that is not heard."""
        self.force_close()
        if self._task_handler is not None:
            self._task_handler.cancel()

    def _wrote(self, answer: bytes) -> None:
        assert self._pipe is not None
        self._pipe.write(answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout

    def _process_keepalive(self) -> None:
        if self.in_hand is not None:  # nothing that aiohttp knows of
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def in_order(self, handler: Handler, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """The handler's answer, after the one that is in hand."""
        return handler(request) if self.in_hand is None else _after(self.in_hand, handler, request)

    def _make_error_handler(self, err_info: Any) -> Handler:
        return partial(self.in_order, super()._make_error_handler(err_info))

    @property
    def is_idle(self) -> bool:
        """No request is in hand, and none waits to be."""
        return self.in_hand is None and (self._request_count == 0 or ((waiter := self._waiter) is not None and not waiter.done()))

    @property
    def is_busy(self) -> bool:
        """A request is being handled, or waits for it."""
        return self._request_in_progress or bool(self._messages) or self.in_hand is not None

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
        del request, message
        if self._pipe is None and isinstance(exc, ConnectionError):
            raise exc  # gone in the middle of its body: nobody is refused anything, and aiohttp ends what is left
        if status != 400:
            return self._internal().as_response()
        return self._refused(Refusal("bad-request", "not valid HTTP/1.1, or a head larger than we take", close=True)).as_response()

    def _internal(self) -> Answer:
        return self._refused(Refusal("internal", "an error that is ours", close=True))

    def _refused(self, refusal: Refusal) -> Answer:
        return self._connections.replies.refusal(self._connections.counted(refusal))


async def _after(earlier: "asyncio.Task[None]", handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.wait([earlier])
    return await handler(request)


class PublicServer(web.Server):
    """aiohttp's low-level server, making our connections."""

    def __init__(self, front: Front, connections: Connections, settings: Http) -> None:
        super().__init__(
            self._handle,
            access_log=None,
            keepalive_timeout=settings.keepalive_s,
            lingering_time=settings.lingering_s,
        )
        self._front = front
        self._ours = connections
        self._head_bytes_max = settings.head_bytes_max
        self._buffer = memoryview(bytearray(settings.head_bytes_max))

    def _handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """In the order of the requests."""
        return cast("Connection", request.protocol).in_order(self._front.handle, request)

    def __call__(self) -> Inlet:  # type: ignore[override]  # whoever calls this wants a protocol, and gets one
        return Inlet(Connection(self, self._front, self._ours, self._head_bytes_max, loop=self._loop, **self._kwargs), self._buffer)

    def ours(self) -> list[Connection]:
        """The open connections."""
        return [connection for connection in self.connections if isinstance(connection, Connection)]
