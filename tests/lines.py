"""One line in virtual time: the store that several workers share, and the workers before it.

Line        tests/memory_room.py by the loop's clock; keeps what was asked, takes its time, loses answers
Desk        a worker's room with all that belongs to it; dies without a word
ticking     desks that tick for as long as a test's block lasts
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from msgspec import structs

from gateway import config
from gateway.accept import Front
from gateway.admit import Admission
from gateway.board import Slot as BoardSlot
from gateway.core.address import Proxies, peer_of
from gateway.core.event import Forge
from gateway.core.sign import Acts, Joined, Refused, Sign, Slot
from gateway.core.ticket import Key, Office
from gateway.core.turn import token_us_of
from gateway.deliver import Deliverer
from gateway.documents import Documents
from gateway.errors import RoomAway
from gateway.identity import Identity
from gateway.kafka import Topic, key_hash
from gateway.limits import Limits
from gateway.reply import Answer, Replies
from gateway.room import WaitingRoom, files_in, policy_of
from gateway.room_store import Notes, Seen
from gateway.whereabouts import Whereabouts
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from tests.fakes import FakeBroker, VirtualLoop, count, new_slot
from tests.memory_room import MemoryRoom

SETTINGS: Final = config.Room(name="signup", epoch=1, floor_per_s=10, fleet_workers_max=2)
"""10/s: a lobby of thirty, a burst of two."""
OFFICE: Final = Office("signup", 1, [Key("t1", b"k" * 32)], b"j" * 32)
T = TypeVar("T")


class Inline(ThreadPoolExecutor):
    """Does at once what a thread would: virtual time does not wait for one."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def virtual_loop() -> VirtualLoop:
    """The test's, whose files are written at once."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.set_default_executor(Inline())
    return loop


class Line(MemoryRoom):
    """A MemoryRoom whose time goes on by itself."""

    def __init__(self, settings: config.Room = SETTINGS) -> None:
        self._clock = virtual_loop().clock
        self.step_us = 0  # by which its machine's clock has stepped
        self.latency_s: Callable[[], float] = lambda: 0.0  # of each way
        self.loses: Callable[[], bool] = lambda: False  # an answer, when all is done
        self.calls: list[tuple[str, Any]] = []
        super().__init__(policy_of(settings), token_us_of(settings.floor_per_s))

    @property
    def now_us(self) -> int:
        return self._clock.now_us() + self.step_us

    @now_us.setter
    def now_us(self, _: int) -> None:
        """It is the loop's."""

    def asked(self, name: str) -> list[Any]:
        """What calls of this name were about."""
        return [about for call, about in self.calls if call == name]

    async def say(self, version: int, *, is_paused: bool = False, is_closed: bool = False) -> None:
        """The operator speaks."""
        assert await self.act(Acts(version, is_paused, is_closed=is_closed))

    async def join(self, ids: Sequence[bytes], seen: Seen, owed: int = 0) -> list[Joined | Refused]:
        return await self._call("join", list(ids), partial(super().join, ids, seen, owed))

    async def tick(self, notes: Notes, seen: Seen) -> Sign:
        return await self._call("tick", notes, partial(super().tick, notes, seen))

    async def door(self, places: Sequence[int], seen: Seen) -> list[Slot | Refused]:
        return await self._call("door", list(places), partial(super().door, places, seen))

    async def recover(self, sign: Sign | None, margin: int, given: Iterable[tuple[int, int]] = ()) -> Sign:
        given = list(given)
        return await self._call("recover", given, partial(super().recover, sign, margin, given))

    async def owners(self, claims: Sequence[tuple[str, str]]) -> list[str]:
        return await self._call("owners", claims, partial(super().owners, claims))

    async def close(self) -> None:
        """One worker of several lets go of it."""

    async def _call(self, name: str, about: object, work: Callable[[], Awaitable[T]]) -> T:
        self.calls.append((name, about))
        await asyncio.sleep(self.latency_s())
        answer = await work()
        await asyncio.sleep(self.latency_s())
        if self.loses():
            raise RoomAway("the answer was lost")
        return answer


class Desk:
    """One worker of so many: its room, its counters, its file."""

    def __init__(self, line: Line, directory: Path, index: int = 0, workers: int = 2, settings: config.Room = SETTINGS) -> None:
        self.slot: BoardSlot = new_slot()
        self.room = WaitingRoom(settings, line, OFFICE, files_in(directory, settings, index), virtual_loop().clock, self.slot, workers)
        self.ticks: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.ticks = asyncio.get_running_loop().create_task(self.room.run())

    async def stop(self) -> None:
        """Its ticks end; one that had died of a mistake is told."""
        if self.ticks is not None:
            ticks, self.ticks = self.ticks, None
            ticks.cancel()
            [end] = await asyncio.gather(ticks, return_exceptions=True)
            assert isinstance(end, asyncio.CancelledError), end

    def knocks(self, result: str) -> int:
        return count(self.slot, "sluicegate_room_knocks_total", result)

    def joins(self, result: str) -> int:
        return count(self.slot, "sluicegate_room_joins_total", result)


@asynccontextmanager
async def ticking(*desks: Desk) -> AsyncIterator[None]:
    """They have ticked once, and tick on."""
    for desk in desks:
        desk.start()
    await asyncio.sleep(0.05)
    yield
    for desk in desks:
        await desk.stop()


class Told(NamedTuple):
    """What a client reads."""

    status: int
    headers: Mapping[str, str]
    cookies: Mapping[str, str]  # name → all behind it
    text: str

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))


class Entrance:
    """One worker: its desk, and the front whose parts are the real ones but for broker and Redis."""

    asks_at_once = False  # what may be is answered past the parser
    answered_at_once = 0

    def __init__(self, line: Line, directory: Path, settings: config.Room = SETTINGS, *policies: config.LimitPolicy) -> None:
        self.loop = virtual_loop()
        clock = self.loop.clock
        self.line = line
        self.desk = Desk(line, directory, workers=1, settings=settings)
        slot = self.desk.slot
        topics = [Topic(name, 1, copies=3, in_sync_min=2, batch_bytes_max=1_000_000) for name in ("syncs.v1", "signups.v1")]
        self.broker = FakeBroker(*topics)
        self.deliverer = Deliverer(config.Deliver(), self.broker, clock, slot)
        self.admission = Admission(10**8, self.deliverer, clock, slot)
        limiter = Limiter(MemoryStore(clock.now_us), worker="w", monotonic_s=self.loop.time)
        self.front = Front(
            config.Http(),
            admission=self.admission,
            identity=Identity(config.Identity(), (), key_hash, slot),
            limits=Limits(config.Limits(policies=policies), b"s" * 32, limiter, slot, has_passes=True),
            proxies=Proxies(("192.0.2.1/32",)),
            deliverer=self.deliverer,
            forge=Forge("w"),
            documents=Documents("", 60),
            replies=Replies("w"),
            whereabouts=Whereabouts(b"s" * 32, (), {}),
            clock=clock,
            slot=slot,
            room=self.desk.room,
        )

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes | StreamReader = b"", *, is_kept: bool = False) -> web.BaseRequest:
        """From 192.0.2.1; bytes are all here, of a stream what was fed."""
        stream = body if isinstance(body, StreamReader) else self.stream()
        if isinstance(body, bytes):
            if body:
                stream.feed_data(body)
            stream.feed_eof()
        if method == "POST":
            headers = {"Content-Length": str(len(body)) if isinstance(body, bytes) else "200", **headers}
        request = make_mocked_request(method, path, {"Host": "x", **headers}, payload=stream, loop=self.loop)
        connection = cast("Any", request.protocol)
        connection.peer, connection.is_kept = peer_of("192.0.2.1"), is_kept
        return request

    def stream(self) -> StreamReader:
        protocol = BaseProtocol(self.loop)
        protocol.transport = asyncio.Transport()  # a connection that is there, and nothing comes from it
        return StreamReader(protocol, 2**16, loop=self.loop)

    async def ask(self, method: str, path: str, body: bytes | StreamReader = b"", *, is_kept: bool = False, **headers: str) -> Told:
        """Header names have _ for -."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        answer = await self._at_once(method, path, named, body, is_kept=is_kept) if self.asks_at_once and isinstance(body, bytes) else None
        if answer is None:
            handled = await self.front.handle(self.request(method, path, named, body, is_kept=is_kept))
            assert isinstance(handled, Answer)
            answer = handled.text()
        head, _, text = answer.decode().partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        cookies = [value.partition("=") for name, value in pairs if name == "Set-Cookie"]
        return Told(int(status.split()[1]), dict(pairs), {name: rest for name, _, rest in cookies}, text)

    async def _at_once(self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, is_kept: bool) -> bytes | None:
        lines = {"Host": "x", **({"Content-Length": str(len(body))} if method == "POST" else {}), **headers}
        segment = "\r\n".join([f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in lines.items()), "", ""]).encode() + body
        made = self.front.at_once(segment, "192.0.2.1", is_kept=is_kept) if self.front.may_answer(segment) else None
        self.answered_at_once += made is not None
        return made if made is None or isinstance(made, bytes) else (await made).text()


@asynccontextmanager
async def entrance(directory: Path, *policies: config.LimitPolicy, **settings: Any) -> AsyncIterator[Entrance]:
    """It ticks, and its broker is there."""
    of = structs.replace(SETTINGS, **settings)
    door = Entrance(Line(of), directory, of, *policies)
    await door.deliverer.start(is_strict=True)
    async with ticking(door.desk):
        yield door
    assert (door.deliverer.failed(), door.admission.bodies_bytes) == (None, 0)
    await door.deliverer.stop()
