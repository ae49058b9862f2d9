"""Server-sent events: who is told what, and who is let go."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from gateway.ops import stream
from gateway.ops.stream import chunk, event
from tests.screens import Desk

WAIT_S: Final = 20.0


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """As a browser reads them."""
    one: dict[str, Any] = {}
    async for line in answer.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            one[name] = json.loads(value) if name == "data" else value
        elif "event" in one:
            yield one
            one = {}
        else:
            one = {}  # `retry` alone


async def next_of(found: AsyncIterator[dict[str, Any]], name: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        while (one := await anext(found))["event"] != name:
            pass
        return one


async def until(is_so: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():
            await asyncio.sleep(0.01)


def looked(desk: Desk) -> int:
    """How many look, after one more frame: who has gone is noticed when there is something to say."""
    desk.second()
    return len(desk.screen.viewers)


def test_an_event_is_framed_as_the_standard_says() -> None:
    assert event("status", b"{}", 17) == b"id: 17\nevent: status\ndata: {}\n\n"
    assert event("log", b"{}") == b"event: log\ndata: {}\n\n"
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


async def test_a_viewer_is_told_what_was_what_happened_and_what_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for _ in range(3):
        desk.second()
    async with desk.client() as client, client.get("/api/stream") as answer:
        assert (answer.status, answer.content_type, answer.headers["Cache-Control"]) == (200, "text/event-stream", "no-store")
        found = events(answer)
        history, log, status = [await anext(found) for _ in range(3)]
        assert [one["event"] for one in (history, log, status)] == ["history", "log", "status"]
        assert [row[0] for row in history["data"]["rows"]] == [desk.screen.now_ms() - 1_000 * ago for ago in (2, 1, 0)]
        assert log["data"]["entries"][0]["kind"] == "started"
        assert int(status["id"]) == status["data"]["at_ms"] == desk.screen.now_ms()
        await until(lambda: len(desk.screen.viewers) == 1)
        desk.silence("kafka", "kafka-away")
        desk.second()
        assert (await next_of(found, "log"))["data"]["entries"][0]["reason"] == "kafka-away"
        assert (await next_of(found, "status"))["data"]["bottleneck"]["code"] == "kafka"


@pytest.mark.parametrize("by", ["header", "query"])
async def test_who_comes_back_is_told_what_was_missed_and_no_more(tmp_path: Path, by: str) -> None:
    desk = Desk(tmp_path)
    desk.second()
    last = desk.screen.now_ms()
    desk.second()
    desk.screen.happened("reloaded")
    desk.second()
    desk.screen.happened("reload-failed")
    asked: dict[str, Any] = {"headers": {"Last-Event-ID": str(last)}} if by == "header" else {"params": {"last": str(last)}}
    async with desk.client() as client, client.get("/api/stream", **asked) as answer:
        found = events(answer)
        assert [row[0] for row in (await next_of(found, "history"))["data"]["rows"]] == [last + 1_000, last + 2_000]
        assert [entry["kind"] for entry in (await next_of(found, "log"))["data"]["entries"]][-2:] == ["reloaded", "reload-failed"]


async def test_the_browsers_own_id_is_newer_than_the_pages(tmp_path: Path) -> None:
    """The page names one when it connects; the browser connects again by itself, and knows a later one."""
    desk = Desk(tmp_path)
    for _ in range(10):
        desk.second()
    last = desk.screen.now_ms() - 1_000
    async with desk.client() as client, client.get("/api/stream", params={"last": str(last - 5_000)}, headers={"Last-Event-ID": str(last)}) as answer:
        assert len((await next_of(events(answer), "history"))["data"]["rows"]) == 1


async def test_a_day_that_was_missed_is_told_in_bounds(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for _ in range(20_000):
        desk.screen.history.add((desk.clock.now_us // 1_000, *[1.5] * 11))
        desk.clock.advance(1)
    for number in range(500):
        desk.screen.happened("worker-started", worker=number)
    assert len(desk.screen.greeting(0)) < 131_072
    told = json.loads(desk.screen.greeting(0).split(b"data: ")[1].split(b"\n")[0])["rows"]
    assert 300 <= len(told) <= 600
    assert told[-1][0] == desk.screen.history.since(0)[-1][0]


async def test_nothing_is_lost_between_the_greeting_and_the_first_frame(tmp_path: Path) -> None:
    """Whoever arrives while something happens hears of it: they are greeted and written down in one step."""
    desk = Desk(tmp_path)
    desk.second()
    known = []
    greet = desk.screen.viewers._greeting

    def greeting(last: int | None) -> bytes:
        known.append(len(desk.screen.viewers))
        desk.screen.happened("reloaded")
        asyncio.get_running_loop().call_soon(desk.second)
        return greet(last)

    desk.screen.viewers._greeting = greeting
    async with desk.client() as client, client.get("/api/stream") as answer:
        found = events(answer)
        await next_of(found, "status")
        assert (await next_of(found, "log"))["data"]["entries"][0]["kind"] == "reloaded"
    assert known == [0]


async def test_who_is_dead_is_ended_by_the_kernel(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.second()
    async with desk.client() as client, client.get("/api/stream") as answer:
        await next_of(events(answer), "status")
        (transport,) = desk.screen.viewers._viewers
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == stream.UNSEEN_MS


async def test_another_token_ends_every_stream(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.second()
    async with desk.client() as client, client.get("/api/stream") as answer:
        found = events(answer)
        await next_of(found, "status")
        desk.screen.viewers.let_go()
        async with asyncio.timeout(WAIT_S):
            assert [one async for one in _to_its_end(found)] == []
        async with client.get("/api/stream") as again:
            assert again.status == 200


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "", "9" * 40, "٣"])
async def test_an_id_that_is_none_is_a_new_viewer(tmp_path: Path, last: str) -> None:
    desk = Desk(tmp_path)
    desk.second()
    async with desk.client() as client, client.get("/api/stream", params={"last": last}) as answer:
        assert len((await next_of(events(answer), "history"))["data"]["rows"]) == 1


async def test_ten_minutes_are_told_in_few_points_the_newest_among_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for _ in range(1_000):
        desk.second()
    async with desk.client() as client, client.get("/api/stream") as answer:
        rows = (await next_of(events(answer), "history"))["data"]["rows"]
    assert len(rows) <= 120
    assert rows[-1][0] == desk.screen.now_ms()
    assert rows[-1][0] - rows[0][0] >= 590_000


async def test_all_are_told_the_same(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.second()
    async with desk.client() as client:
        answers = [await client.get("/api/stream") for _ in range(5)]
        found = [events(answer) for answer in answers]
        for one in found:
            await next_of(one, "status")
        await until(lambda: len(desk.screen.viewers) == 5)
        desk.second()
        told = [await next_of(one, "status") for one in found]
        assert told == [told[0]] * 5
        assert told[0]["data"]["viewers"] == 5
        for answer in answers:
            answer.close()
        await until(lambda: looked(desk) == 0)


async def test_one_who_does_not_read_is_let_go_and_the_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BEHIND_BYTES_MAX", 65_536)
    desk = Desk(tmp_path)
    desk.second()
    async with desk.client() as client:
        reading = await client.get("/api/stream")
        found = events(reading)
        await next_of(found, "status")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", client.port))
            await loop.sock_sendall(deaf, b"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await until(lambda: len(desk.screen.viewers) == 2)
            dropped = desk.board.supervisor.counter("sluicegate_viewers_dropped_total", "slow")
            async with asyncio.timeout(60):
                while not dropped.value:
                    desk.second()
                    await next_of(found, "status")
            await until(lambda: looked(desk) == 1)
        assert dropped.value == 1
        desk.second()
        await next_of(found, "status")
        reading.close()


async def test_one_too_many_is_told_to_come_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "VIEWERS_MAX", 1)
    desk = Desk(tmp_path)
    desk.second()
    async with desk.client() as client, client.get("/api/stream") as answer:
        await next_of(events(answer), "status")
        async with client.get("/api/stream") as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
    assert desk.board.supervisor.counter("sluicegate_viewers_dropped_total", "full").value == 1


async def test_streams_end_with_the_process(tmp_path: Path) -> None:
    """Else it would wait a minute for them."""
    desk = Desk(tmp_path)
    desk.second()
    async with desk.client() as client:
        answer = await client.get("/api/stream")
        found = events(answer)
        await next_of(found, "status")
        await until(lambda: len(desk.screen.viewers) == 1)
        await desk.screen.viewers.close()
        async with asyncio.timeout(WAIT_S):
            assert [one async for one in _to_its_end(found)] == []
        async with client.get("/api/stream") as refused:
            assert refused.status == 503


async def _to_its_end(found: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    with contextlib.suppress(aiohttp.ClientError):  # cut within a stream that has no end
        async for one in found:
            yield one


async def test_old_http_has_no_streams(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.client() as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET /api/stream HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            assert b" 400 " in await reader.readline()
        writer.close()
