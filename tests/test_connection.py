"""Who is turned away before a request is made of the head, and who never is.  All else of a connection: system/test_connections.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import pytest
from aiohttp import web
from aiohttp.http import RawRequestMessage

from gateway.config import Http
from gateway.connection import PublicServer
from gateway.connections import Connections
from gateway.reply import Replies
from tests.fakes import new_slot

NO: Final = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
SETTINGS: Final = Http()
SYNC: Final = b"POST /v1/syncs HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\n{}"


class Desk:
    """A front that turns all away while it is pressed, and serves slowly where it is told to."""

    def __init__(self) -> None:
        self.is_open = False
        self.asked = 0
        self.handled = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def turned_away(self, message: RawRequestMessage) -> bytes | None:
        self.asked += 1
        return None if message.path == "/let-through" else NO

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.handled += 1
        await self.may_answer.wait()
        await request.read()
        return web.Response(status=202)


@asynccontextmanager
async def served(desk: Desk, settings: Http = SETTINGS) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Connections]]:
    """One connection to it, over a real socket."""
    connections = Connections(settings, Replies("w"), new_slot())
    server = PublicServer(desk, connections, settings)
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


async def test_who_is_let_through_is_handled() -> None:
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        writer.write(SYNC.replace(b"/v1/syncs", b"/let-through"))
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


async def test_a_body_still_to_come_has_a_handler() -> None:
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        writer.write(SYNC[:-1])
        while not desk.handled:
            await asyncio.sleep(0.001)
        writer.write(SYNC[-1:])
        assert await status(reader) == 202
        assert desk.asked == 0


async def test_answers_keep_the_order_of_their_requests() -> None:
    """Two in one segment, and one that comes while another is in hand, wait for their turn."""
    desk = Desk()
    async with served(desk) as (reader, writer, _):
        writer.write(SYNC + SYNC)
        assert await statuses(reader, 2) == [202, 202]
        desk.is_open = True
        desk.may_answer.clear()
        writer.write(SYNC)
        while desk.handled < 3:
            await asyncio.sleep(0.001)
        desk.is_open = False
        writer.write(SYNC)
        await asyncio.sleep(0.05)
        desk.may_answer.set()
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
        writer.write(SYNC[:20])
        await asyncio.sleep(0.02)
        writer.write(SYNC[20:])
        assert await status(reader) == 503
        connections.sweep(asyncio.get_running_loop().time() + 3_600)
        writer.write(SYNC)
        assert await status(reader) == 503
