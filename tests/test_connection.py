"""Who is answered before it is parsed, and who never is.  All else of a connection: system/test_connections.py."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import pytest
from aiohttp import web

from gateway.config import Http
from gateway.connection import Connection, PublicServer
from gateway.connections import Connections
from gateway.core.head import read_sync
from gateway.reply import Answer, Replies
from tests.fakes import count, new_slot

NO: Final = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
SETTINGS: Final = Http()
SYNC: Final = b"POST /v1/syncs HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Desk:
    """A front that turns all away while it is pressed, but those whose answer is slow; and serves slowly where it is told to."""

    server: PublicServer

    def __init__(self) -> None:
        self.slot = new_slot()
        self.is_open = False
        self.asked = 0
        self.kept: list[bool] = []  # who asked: has its connection had a request before?
        self.handled = self.finished = 0
        self.fails: Exception | None = None  # where it serves
        self.closes = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    @property
    def connection(self) -> Connection:
        [connection] = self.server.ours()
        return connection

    @property
    def internal(self) -> int:
        """Errors of ours that were told."""
        return count(self.slot, "sluicegate_refusals_total", "internal")

    def may_answer(self, segment: bytes) -> bool:
        return bool(segment) and not self.is_open

    def at_once(self, segment: bytes, peer_address: str, *, is_kept: bool) -> bytes | Coroutine[Any, Any, Answer] | None:
        assert peer_address == "127.0.0.1"
        head = read_sync(segment)
        if head is None:
            return None
        self.asked += 1
        self.kept.append(is_kept)
        if head.authorization == "let through":
            return None
        return self._made(head.authorization) if head.authorization in ("slow", "broken") else NO

    async def _made(self, kind: str) -> Answer:
        await self.may_go_on.wait()
        if kind == "broken":
            raise KeyError("a mistake of ours")
        return Answer(201, b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n", b"", closes=self.closes)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.handled += 1
        await self.may_go_on.wait()
        self.finished += 1
        if self.fails is not None:
            raise self.fails
        await request.read()
        return web.Response(status=202)


@asynccontextmanager
async def served(desk: Desk, settings: Http = SETTINGS) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Connections]]:
    """One connection to it, over a real socket."""
    connections = Connections(settings, Replies("w"), desk.slot)
    server = desk.server = PublicServer(desk, connections, settings)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    try:
        yield reader, writer, connections
    finally:
        writer.close()
        listening.close()
        await server.shutdown(1)


async def status(reader: asyncio.StreamReader) -> int:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return int(head.split()[1])


def reset(writer: asyncio.StreamWriter) -> None:
    """Go without a word: an end of what is sent alone would leave the other way open."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def statuses(reader: asyncio.StreamReader, count: int) -> list[int]:
    return [await status(reader) for _ in range(count)]


async def test_who_comes_alone_is_answered_without_a_handler_and_the_connection_goes_on() -> None:
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        for _ in range(5):  # more than the queue holds: none of them stays in it
            writer.write(SYNC)
            assert await status(reader) == 503
        assert desk.handled == 0
        desk.is_open = True
        writer.write(SYNC)
        assert await status(reader) == 202
        assert (desk.handled, desk.asked) == (1, 5)
        desk.is_open = False
        writer.write(SYNC)
        assert await status(reader) == 503
        assert desk.kept == [False] + [True] * 5


async def test_who_is_let_through_is_handled() -> None:
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        writer.write(SYNC.replace(b"Bearer t", b"let through"))
        assert await status(reader) == 202
        assert (desk.asked, desk.handled) == (1, 1)


@pytest.mark.parametrize(
    "request_bytes",
    [
        SYNC.replace(b"HTTP/1.1", b"HTTP/1.0"),
        SYNC.replace(b"Host: gateway", b"Host: gateway\r\nConnection: close"),
        SYNC.replace(b"Host: gateway", b"Host: gateway\r\nConnection: upgrade\r\nUpgrade: h2c"),
    ],
    ids=["http/1.0", "close", "upgrade"],
)
async def test_a_connection_that_ends_or_changes_after_it_has_a_handler(request_bytes: bytes) -> None:
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        writer.write(request_bytes)
        assert await status(reader) == 202
        assert (desk.asked, desk.handled) == (0, 1)


@pytest.mark.parametrize("cut", [1, 20, SYNC.index(b"\r\n\r\n") + 2, len(SYNC) - 2, len(SYNC) - 1])
async def test_what_comes_in_parts_has_a_handler(cut: int) -> None:
    """And so does what follows the first part, however much it looks like a request of its own."""
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        writer.write(SYNC[:cut])
        await asyncio.sleep(0.02)
        writer.write(SYNC[cut:])
        assert await status(reader) == 202
        assert (desk.asked, desk.handled) == (0, 1)
        writer.write(SYNC)
        assert await status(reader) == 503


async def test_a_sync_inside_a_head_is_none() -> None:
    """It is what that head's last line says; a proxy in front has seen one request, and waits for one answer."""
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        for _ in range(2):
            writer.write(SYNC)
            assert await status(reader) == 503
        writer.write(b"GET /x HTTP/1.1\r\nHost: gateway\r\nX: ")
        await asyncio.sleep(0.02)
        writer.write(SYNC)
        assert await status(reader) == 400  # for its second Host
        assert desk.asked == 2


async def test_who_does_not_read_or_is_closed_upon_is_not_answered_at_once() -> None:
    """Else who only writes would fill our memory."""
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        writer.write(SYNC)
        assert await status(reader) == 503
        desk.connection.pause_writing()
        writer.write(SYNC)
        await asyncio.sleep(0.02)
        assert (desk.asked, desk.handled) == (1, 1)
        desk.connection.resume_writing()
        assert await status(reader) == 202
        writer.write(SYNC)
        assert await status(reader) == 503
        connection = desk.connection
        assert connection.transport is not None
        connection.transport.close()
        connection.data_received(SYNC)  # what the kernel had already
        assert desk.asked == 2


@pytest.mark.parametrize("framing", [b"Content-Length: %d" % (len(SYNC) + 2), b"Transfer-Encoding: chunked"], ids=["length", "chunked"])
async def test_a_sync_inside_a_body_is_none(framing: bytes) -> None:
    """Somebody's body may be anything; answering it would answer a request nobody made."""
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        first, last = (b"%x\r\n" % len(SYNC), b"\r\n0\r\n\r\n") if b"chunked" in framing else (b"{", b"}")
        writer.write(SYNC.replace(b"Content-Length: 2", framing)[:-2] + first)
        await asyncio.sleep(0.02)
        writer.write(SYNC)
        await asyncio.sleep(0.02)
        assert desk.asked == 0
        writer.write(last)
        assert await status(reader) == 202
        writer.write(SYNC)
        assert await status(reader) == 503
        assert (desk.asked, desk.handled) == (1, 1)


async def test_answers_keep_the_order_of_their_requests() -> None:
    """Two in one segment, and one that comes while another is in hand, wait for their turn."""
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        writer.write(SYNC + SYNC)
        assert await statuses(reader, 2) == [202, 202]
        desk.is_open = True
        desk.may_go_on.clear()
        writer.write(SYNC)
        while desk.handled < 3:
            await asyncio.sleep(0.001)
        desk.is_open = False
        writer.write(SYNC)
        await asyncio.sleep(0.05)
        desk.may_go_on.set()
        assert await statuses(reader, 2) == [202, 202]
        assert desk.asked == 0


async def test_a_connection_that_gets_nothing_but_refusals_lives_as_long_as_any() -> None:
    """Its idle time runs from the last of them, not from its beginning."""
    desk = Desk()
    async with served(desk, msgspec.structs.replace(SETTINGS, keepalive_s=1)) as (reader, writer, _):
        for _ in range(25):
            writer.write(SYNC)
            assert await status(reader) == 503
            await asyncio.sleep(0.1)


async def test_who_was_turned_away_has_had_a_request() -> None:
    """A drain need not wait for the first one of this connection; and its head is not timed on."""
    desk = Desk()
    async with served(desk) as (reader, writer, connections):
        writer.write(SYNC)
        assert await status(reader) == 503
        connections.sweep(asyncio.get_running_loop().time() + 3_600)
        writer.write(SYNC)
        assert await status(reader) == 503


SLOW: Final = SYNC.replace(b"Bearer t", b"slow")
BROKEN_HEAD: Final = b"GARBAGE\x00\r\n\r\n"


async def keep_waiting(desk: Desk, writer: asyncio.StreamWriter, *segments: bytes) -> None:
    """Send each in a segment of its own; what is answered slowly waits until it may go on."""
    desk.may_go_on.clear()
    for segment in segments:
        writer.write(segment)
        await asyncio.sleep(0.02)


async def test_what_comes_while_an_answer_is_made_waits_for_it() -> None:
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        for behind in (SYNC, SLOW, SYNC[:30], SYNC + SLOW):
            await keep_waiting(desk, writer, SLOW, behind)
            desk.may_go_on.set()
            writer.write(SYNC[30:] if behind == SYNC[:30] else b"")
            assert await statuses(reader, 1 + max(1, behind.count(b"{}"))) == [201] + [202] * max(1, behind.count(b"{}"))
        assert (desk.asked, desk.handled) == (4, 5)
        for wanted in (202, 503):  # where two with bodies end is not sure before the next one has come
            writer.write(SYNC)
            assert await status(reader) == wanted


@pytest.mark.parametrize("pause_s", [None, 0.02], ids=["at once", "later"])
async def test_who_will_send_no_more_hears_the_answer_that_is_being_made(pause_s: float | None) -> None:
    """And whatever waits behind it, be it in the queue, on its way from there or in progress."""
    for behind, wanted in ((b"", [201]), (SYNC, [201, 202]), (SYNC * 2, [201, 202, 202]), (BROKEN_HEAD, [201, 400])):
        desk = Desk()
        async with served(desk) as (reader, writer, _):
            await keep_waiting(desk, writer, SLOW)
            writer.write(behind)
            if pause_s is not None:
                await asyncio.sleep(pause_s)
            writer.write_eof()
            await asyncio.sleep(0.02)
            desk.may_go_on.set()
            assert await statuses(reader, len(wanted)) == wanted
            assert b"HTTP/1.1 " not in await asyncio.wait_for(reader.read(), 5)


async def test_what_cannot_be_parsed_waits_for_it_too() -> None:
    """Else who reads answers in order would take the 400 for its join's, and never hear the other."""
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        await keep_waiting(desk, writer, SLOW, BROKEN_HEAD)
        desk.may_go_on.set()
        assert await statuses(reader, 2) == [201, 400]
        await asyncio.wait_for(reader.read(), 5)


async def test_an_answer_that_fails_is_an_error_of_ours_and_ends_the_connection() -> None:
    for behind in (b"", SYNC):
        desk = Desk()
        async with served(desk) as (reader, writer, _):
            await keep_waiting(desk, writer, SYNC.replace(b"Bearer t", b"broken"), behind)
            desk.may_go_on.set()
            told = await asyncio.wait_for(reader.read(), 5)
            assert told.startswith(b"HTTP/1.1 500 ")
            assert told.count(b"HTTP/1.1 ") == told.count(b"Connection: close\r\n") == 1
            assert (desk.internal, desk.handled) == (1, 0)


async def test_an_answer_that_is_given_up_ends_the_connection() -> None:
    for behind in (b"", SYNC):
        desk = Desk()
        async with served(desk) as (reader, writer, _):
            await keep_waiting(desk, writer, SLOW, behind)
            assert desk.connection.in_hand is not None
            desk.connection.in_hand.cancel()
            assert await asyncio.wait_for(reader.read(), 5) == b""
            assert desk.handled == 0


async def test_what_waits_for_a_client_that_has_gone_is_not_handled() -> None:
    desk = Desk()
    async with served(desk) as (_, writer, _):
        await keep_waiting(desk, writer, SLOW)
        making = desk.connection.in_hand
        assert making is not None
        writer.write(SYNC)
        await asyncio.sleep(0.02)
        reset(writer)
        await asyncio.sleep(0.02)
        assert desk.server.ours() == []
        desk.may_go_on.set()
        await making  # its place is taken all the same
        await asyncio.sleep(0.02)
        assert (desk.asked, desk.handled, desk.internal) == (1, 0, 0)


@pytest.mark.parametrize("end", [reset, asyncio.StreamWriter.write_eof])
async def test_who_goes_in_the_middle_of_a_body_is_no_error_of_ours(end: Callable[[asyncio.StreamWriter], None]) -> None:
    desk = Desk()
    async with served(desk) as (_, writer, _):
        writer.write(SYNC[:-1])
        while not desk.handled:
            await asyncio.sleep(0.001)
        end(writer)
        while desk.server.ours():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert desk.internal == 0


async def test_who_is_handled_and_goes_is_handled_to_the_end() -> None:
    """What was promised to the store is kept; and a mistake of ours is one, whoever is there to hear of it."""
    for fails, wanted in ((None, 0), (KeyError("a mistake of ours"), 1)):
        desk = Desk()
        desk.is_open, desk.fails = True, fails
        async with served(desk) as (_, writer, _):
            desk.may_go_on.clear()
            writer.write(SYNC)
            while not desk.handled:
                await asyncio.sleep(0.001)
            connection = desk.connection
            reset(writer)
            while connection.transport is not None:
                await asyncio.sleep(0.001)
            desk.may_go_on.set()
            await asyncio.sleep(0.02)
            assert (desk.finished, desk.internal) == (1, wanted)


async def test_a_connection_that_somebody_else_lost_is_a_mistake_of_ours() -> None:
    desk = Desk()
    desk.is_open, desk.fails = True, ConnectionResetError("not the client's")
    async with served(desk) as (reader, writer, _):
        writer.write(SYNC)
        assert await status(reader) == 500
        assert desk.internal == 1


async def test_behind_an_answer_that_ends_the_connection_nothing_is_heard() -> None:
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        desk.closes = True
        await keep_waiting(desk, writer, SLOW, SYNC)
        desk.may_go_on.set()
        told = await asyncio.wait_for(reader.read(), 5)
        assert told.count(b"HTTP/1.1") == told.count(b"Connection: close\r\n") == 1
        assert desk.handled == 0


async def test_a_connection_is_busy_and_not_idle_while_an_answer_is_made() -> None:
    """However long: it is neither closed for its idle time nor by a drain; and who has gone meanwhile is no trouble."""
    desk = Desk()
    async with served(desk, msgspec.structs.replace(SETTINGS, keepalive_s=0.1)) as (reader, writer, connections):
        await keep_waiting(desk, writer, SLOW)
        assert [desk.connection.is_busy] == [True]
        await asyncio.sleep(0.35)
        connections.sweep(asyncio.get_running_loop().time() + 3_600)
        desk.may_go_on.set()
        assert await status(reader) == 201
        assert [desk.connection.is_busy] == [False]
        await keep_waiting(desk, writer, SLOW)
        writer.transport.abort()
        await asyncio.sleep(0.02)
        desk.may_go_on.set()
        await asyncio.sleep(0.02)
        assert desk.asked == 2
