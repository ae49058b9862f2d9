"""What one connection may hold and for how long, asked over real sockets; what it says is test_hostile's matter."""

import asyncio
import contextlib
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic

import pytest
import pytest_asyncio

from devstack import Devstack
from tests.system.gateway import Gateway, running, signup, sync
from tests.system.raw import Piece, exchange, parse, refused, request

Topics = Callable[..., Awaitable[dict[str, str]]]

HEAD_BYTES_MAX = 16_384
HTTP = {"headers_timeout_s": 1, "write_timeout_s": 1, "lingering_s": 0.5}
GET = request("GET", "/v1/notices")
LONG = request("GET", "/v1/openapi.json")  # a long answer: fills the kernel's buffers soon
PART = b"GET /v1/notices HTTP/1.1\r\nHost: gate"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(stack: Devstack, fresh_topics: Topics, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One worker that takes half a second for a sync: time enough to do something meanwhile."""
    deliver = {"linger_ms": 500} | await fresh_topics()
    async with running(tmp_path_factory.mktemp("connections"), stack.kafka.bootstrap, deliver=deliver, process={"workers": 1}, http=HTTP) as it:
        yield it


def post(gateway: Gateway, *headers: str) -> bytes:
    return request("POST", "/v1/syncs", json.dumps(sync()).encode(), *headers, token=gateway.token("member"))


def resident_bytes(gateway: Gateway) -> int:
    [pid] = gateway.worker_pids()
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


async def connections(gateway: Gateway) -> float:
    return (await gateway.metrics())['sluicegate_connections{worker="0"}']


async def all_gone(gateway: Gateway, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while await connections(gateway):
            await asyncio.sleep(0.05)


async def push(sock: socket.socket, sent: bytes, *, until_s: float) -> None:
    """Send without reading, until the other side takes no more, closes, or the time is over."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout_at(loop.time() + until_s):
            while True:
                await loop.sock_sendall(sock, sent)


@contextlib.asynccontextmanager
async def deaf(gateway: Gateway, sent: bytes, clients: int, *, until_s: float) -> AsyncIterator[None]:
    """Clients that pipeline as much as is taken and never read, for a while."""
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(socket.socket()) for _ in range(clients)]
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            sock.connect(gateway.public_address)
            sock.setblocking(False)
        await asyncio.gather(*(push(sock, sent, until_s=until_s) for sock in socks))
        yield


# How much a head may hold


def head(bytes_long: int, fields: int = 4, target: bytes = b"/v1/notices") -> bytes:
    """A GET whose head is exactly so long, in so many long fields."""
    start = b"GET " + target + b" HTTP/1.1\r\nHost: gateway\r\n"
    room = bytes_long - len(start) - 2
    lines = [b"X-%03d: " % n + b"a" * (room // fields - 9) + b"\r\n" for n in range(fields)]
    lines[-1] = lines[-1][:-2] + b"a" * (room - sum(map(len, lines))) + b"\r\n"
    return start + b"".join(lines) + b"\r\n"


@pytest.mark.parametrize("pause_s", [None, 0.02], ids=["at once", "in pieces"])
async def test_a_head_is_bounded_as_a_whole(gateway: Gateway, pause_s: float | None) -> None:
    """Exactly the bound passes; beyond it, only what comes with what is read at a time, and never twice the bound."""

    def pieces(bytes_long: int) -> Sequence[Piece]:
        whole = head(bytes_long, fields=8)
        assert len(whole) == bytes_long
        if pause_s is None:
            return [whole]
        return [piece for at in range(0, len(whole), 4_096) for piece in (whole[at : at + 4_096], pause_s)]

    taken = await exchange(gateway.public_address, *pieces(HEAD_BYTES_MAX), answers=1)
    assert taken.only.status == 200
    done = await exchange(gateway.public_address, *pieces(2 * HEAD_BYTES_MAX + 1))
    refused(done.only, "bad-request")  # at its deadline it would be another code
    assert done.closed


PIPELINED = {
    "heads too large": head(55 * 8_000, 55),
    "heads": head(16_000, target=b"/v1/openapi.json"),
    "bodies": request("POST", "/nowhere", b"a" * 200_000),
}


@pytest.mark.parametrize("sent", PIPELINED.values(), ids=PIPELINED)
async def test_pipelining_without_reading_holds_little_memory(gateway: Gateway, sent: bytes) -> None:
    """55 fields of 8 kB took 30 MB a connection; of all kinds, 20 connections now stay below 30 MB together."""
    before = resident_bytes(gateway)
    async with deaf(gateway, sent * 4, clients=20, until_s=0.9):
        grown = resident_bytes(gateway) - before
    print(f"{grown / 1e6:.1f} MB")
    assert grown < 30e6
    await all_gone(gateway, 20)


# Answers that nobody reads


async def test_who_does_not_read_is_ended_in_time(gateway: Gateway) -> None:
    async with deaf(gateway, LONG * 100, clients=3, until_s=1.2):
        await all_gone(gateway, 20)


async def test_a_closed_connection_does_not_wait_for_ever_to_be_read(gateway: Gateway) -> None:
    """Its last answer may rest between the kernel's buffer and the mark where writing pauses: one of these numbers of answers makes it so."""
    last = request("GET", "/v1/openapi.json", b"", "Connection: close")
    with contextlib.ExitStack() as held:
        for count in range(40, 60):
            sock = held.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            sock.connect(gateway.public_address)
            sock.sendall(LONG * (count - 1) + last)
        await all_gone(gateway, 20)


async def test_who_reads_late_but_reads_gets_every_answer(gateway: Gateway) -> None:
    """Longer than the deadline in all, but never that long without reading."""
    count = 400
    reader, writer = await asyncio.open_connection(*gateway.public_address)
    writer.write(LONG * count)
    received = bytearray()
    while received.count(b"HTTP/1.1 200") < count:
        if len(received) < 8_000_000:
            await asyncio.sleep(0.2)
        received += await reader.readexactly(1_000_000) if len(received) < 8_000_000 else await reader.read(1_000_000)
    writer.transport.abort()


async def test_a_drain_does_not_wait_for_who_does_not_read(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    settings = {"workers": 1, "drain_lag_s": 0.2}
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), process=settings, http=HTTP | {"write_timeout_s": 2}) as gateway:
        started_s = monotonic()
        async with deaf(gateway, LONG * 100, clients=3, until_s=0.5):
            assert await gateway.stop(signal.SIGTERM) == 0
        assert 2 < monotonic() - started_s < 20  # it did wait for them, and not as long as process.drain_s


# Heads that stop


def whole(gateway: Gateway, kind: str) -> Sequence[Piece]:
    """One good request, in the ways one can arrive."""
    coding = ["Transfer-Encoding: chunked"] if "chunk" in kind else ["Expect: 100-continue"] if kind == "expect" else []
    head_, _, body = post(gateway, *coding).partition(b"\r\n\r\n")
    head_ += b"\r\n\r\n"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    ways: dict[str, Sequence[Piece]] = {
        "get": [GET],
        "length": [head_ + body],
        "many": [GET * 9],
        "in three": [head_, 0.05, body[:20], 0.05, body[20:]],
        "expect": [head_, 0.1, body],
        "chunked": [head_ + chunked],
        "chunks apart": [head_, 0.05, chunked],
        "chunks that end late": [head_ + chunked[:-2], 0.05, chunked[-2:]],
        "an end in two": [GET[:-2], 0.05, GET[-2:]],
    }
    return ways[kind]


KINDS = ("get", "many", "length", "in three", "expect", "chunked", "chunks apart", "chunks that end late", "an end in two")
STATUSES = {"get": [200], "many": [200] * 9, "an end in two": [200]}


async def test_a_second_head_has_its_deadline_whenever_it_begins(gateway: Gateway) -> None:
    """With the end of the request before, while that is handled, and after it."""

    async def one(kind: str, pause_s: float) -> None:
        *before, last = whole(gateway, kind)
        assert isinstance(last, bytes)
        after: list[Piece] = [last + PART] if not pause_s else [last, pause_s, PART]
        done = await exchange(gateway.public_address, *before, *after, wait_s=20)
        case = kind, pause_s, done
        assert [answer.status for answer in done.answers if answer.status >= 200] == [*STATUSES.get(kind, [202]), 408], case
        assert done.closed, case

    await asyncio.gather(*(one(kind, pause_s) for kind in KINDS for pause_s in (0.0, 0.1, 0.8)))


async def test_whole_requests_leave_no_clock_running(gateway: Gateway) -> None:
    """Idle for longer than a head may take, and still served."""

    async def one(kind: str) -> None:
        done = await exchange(gateway.public_address, *whole(gateway, kind), 2.5, *whole(gateway, kind), answers=18 if kind == "many" else 2, wait_s=20)
        assert [answer.status for answer in done.answers if answer.status >= 200] == STATUSES.get(kind, [202]) * 2, (kind, done)

    await asyncio.gather(*(one(kind) for kind in KINDS))


async def test_two_at_once_are_answered_after_a_body_that_came_late(gateway: Gateway) -> None:
    """The second one waited for whatever might come next."""
    done = await exchange(gateway.public_address, *whole(gateway, "in three"), 0.8, GET * 2, 0.5, GET * 3, answers=6, wait_s=20)
    assert [answer.status for answer in done.answers] == [202] + [200] * 5, done


# Half-closed


async def half_closed(gateway: Gateway, *pieces: Piece) -> list[int]:
    """Send, shut our side, and read to the end: the statuses.  A connection that waited for more would be told 408, or be kept for 75 s."""
    reader, writer = await asyncio.open_connection(*gateway.public_address)
    for piece in pieces:
        if isinstance(piece, bytes):
            writer.write(piece)
        else:
            await asyncio.sleep(piece)
    writer.write_eof()
    async with asyncio.timeout(20):
        received = await reader.read()
    writer.close()
    return [answer.status for answer in parse(received)]


async def test_a_client_that_has_said_all_gets_its_answers(gateway: Gateway) -> None:
    """And then the end of its connection: nobody is left who could ask."""
    once = post(gateway)
    rows: list[tuple[list[Piece], list[int]]] = [
        ([once], [202]),
        ([once, 0.1], [202]),
        ([GET], [200]),
        ([GET * 2 + once], [200, 200, 202]),
        ([once + GET, 0.1], [202, 200]),
        ([once + PART], [202]),
        ([GET * 50], [200] * 50),
        ([once, 0.1, b"garbage\r\n\r\n"], [202, 400]),
    ]
    for pieces, statuses in rows:
        assert await half_closed(gateway, *pieces) == statuses, pieces
    await all_gone(gateway, 20)


async def test_half_a_request_and_half_a_connection_end_at_once(gateway: Gateway) -> None:
    for sent in (b"", PART, post(gateway)[:-5]):
        assert await half_closed(gateway, sent, 0.05) == []
    await all_gone(gateway, 20)


# Who is counted, and as what


async def test_an_ipv4_client_of_an_ipv6_socket_is_what_it_is(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    http = {"bind": "[::]:0", "connections_per_address_max": 1, "trusted_proxies": ["127.0.0.9/32"]}
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), process={"workers": 1}, http=http) as gateway:
        address = "127.0.0.1", gateway.public_address[1]
        for source, code in (("127.0.0.2", "too-many-connections"), ("127.0.0.9", None)):
            with socket.create_connection(address, source_address=(source, 0)):
                done = await exchange(address, GET, answers=1, source=source)
                if code is None:
                    assert done.only.status == 200
                else:
                    refused(done.only, code)
        metrics = await gateway.metrics()
    assert metrics['sluicegate_refusals_total{code="too-many-connections"}'] == 1


async def test_an_application_that_is_not_valid_is_counted(gateway: Gateway) -> None:
    name = 'sluicegate_events_total{outcome="invalid",topic="signups"}'
    before = (await gateway.metrics())[name]
    form = json.dumps(signup("0190a6f0-0000-7000-8000-000000000000", phone="none")).encode()
    refused((await exchange(gateway.public_address, request("POST", "/v1/signups", form), answers=1)).only, "invalid")
    assert (await gateway.metrics())[name] == before + 1
