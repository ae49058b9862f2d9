"""What the tests of the operators' port share: readings, and a port whose world is set by hand."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp.test_utils import TestClient, TestServer

from gateway import config
from gateway.acts import Audit
from gateway.board import Board
from gateway.core.light import INDEX
from gateway.core.sign import Acts, Sign
from gateway.ops import readings
from gateway.ops.access import Access
from gateway.ops.fleet import Fleet
from gateway.ops.readings import Probed, Readiness, Reading, RoomReading, Seating
from gateway.ops.rooms import RoomCalls
from gateway.ops.screen import Screen
from gateway.ops.server import OpsPort
from gateway.pacer import Pacer, State
from gateway.probes import Asker, Found
from ratelimit.store import StoreAway
from tests.fakes import FakeClock

TOKEN: Final = "b3BlcmF0b3JzLXRva2VuLW9wZXJhdG9ycw"
BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}
SETTINGS: Final = config.Room(name="walk", epoch=1)
WELL: Final = Probed("ok", "redis-ok", 0.002, 0.001)


def seating(worker: int = 0, **changes: Any) -> Seating:
    """A worker that serves."""
    return Seating(worker, "serving", 1, is_ready=True, silent_s=0.1, ended_s=None)._replace(**changes)


def state(sign: Sign | None, **changes: Any) -> State:
    """What the pacer knows, of a store that answers."""
    return State(sign, 0.2, sign.acts if sign else Acts(), None, is_away=False)._replace(**changes)


def board_seeing(*reasons: str, name: str = "kafka") -> Board:
    """A board whose workers post these reasons."""
    board = Board.create(workers=max(len(reasons), 1))
    for slot, reason in zip(board.slots, reasons, strict=False):
        slot.gauge(f"sluicegate_{name}_reason").set(INDEX[reason])
    return board


def reading(board: Board, now_s: float = 100.0, **changes: Any) -> Reading:
    """All is well, and there is no room."""
    workers = [seating(index) for index in range(board.workers)]
    at_ms = 1_769_519_405_000 + round(now_s * 1_000)
    return Reading(at_ms, now_s, Readiness("", workers), board.totals(), readings.gauges(board), WELL, None, 0.01, 70_000_000, 0, "here:1", [])._replace(
        **changes
    )


def room(sign: Sign | None, settings: config.Room = SETTINGS, **changes: Any) -> RoomReading:
    return RoomReading(settings, state(sign, **changes))


class FakeProbe:
    """Finds what a test says."""

    def __init__(self, reason: str) -> None:
        self.found = Found(reason, 0.001)
        self.asked = 0
        self.is_closed = False

    async def ask(self) -> Found:
        self.asked += 1
        return self.found

    async def close(self) -> None:
        self.is_closed = True


class FakeTown:
    """One dict that machines share."""

    def __init__(self) -> None:
        self.said: dict[str, tuple[int, bytes]] = {}
        self.is_away = False

    async def say(self, name: str, summary: bytes) -> list[tuple[int, bytes]]:
        if self.is_away:
            raise StoreAway("away")
        self.said[name] = (0, summary)
        return [said for other, said in self.said.items() if other != name]

    async def close(self) -> None:
        """Nothing is open."""


class Desk:
    """The port, and all that it shows."""

    def __init__(
        self,
        directory: Path,
        *,
        board: Board | None = None,
        pacer: Pacer | None = None,
        clock: FakeClock | None = None,
        token: str = TOKEN,
        is_open: bool = True,
        why: str = "",
    ) -> None:
        self.clock = clock or FakeClock()
        self.board = board or board_seeing("ok")
        self.why = why
        self.workers = [seating(index) for index in range(self.board.workers)]
        self.token = token
        self.room: RoomReading | None = None
        self._pacer = pacer
        askers = [Asker(FakeProbe(reason), self.clock.clock) for reason in ("ok", "redis-ok")]
        for asker, reason in zip(askers, ("ok", "redis-ok"), strict=True):
            asker.found = Found(reason, 0.001)
        self.kafka, self.redis = askers
        self.fleet = Fleet(FakeTown(), "here:1", self.board)
        self.screen = Screen(self.board, lambda: Readiness(self.why, self.workers), self._room, self.kafka, self.redis, self.fleet, self.clock.clock)
        access = Access(lambda: self.token, self.clock.clock, is_open=is_open)
        self.calls = RoomCalls(lambda: SETTINGS, pacer, access, self.screen, self.board.supervisor)
        if pacer is not None:
            pacer.on_act = lambda acts, reason: self.screen.told(acts.version, reason)
        self.port = OpsPort(self.board, self.screen, self.calls, access, Audit(directory))

    def _room(self) -> RoomReading | None:
        return self.room or (RoomReading(SETTINGS, self._pacer.state) if self._pacer else None)

    def second(self) -> None:
        """One more frame, a second later."""
        self.clock.advance(1)
        self.screen.look()

    def silence(self, name: str, reason: str) -> None:
        """A probe finds this from now on."""
        setattr(getattr(self, name), "found", Found(reason, math.nan))  # noqa: B010 - by name

    @asynccontextmanager
    async def client(self, prepare: Callable[["Desk"], None] = lambda _: None) -> AsyncIterator["TestClient[Any, Any]"]:
        """Over a real socket."""
        prepare(self)
        async with TestClient(TestServer(self.port.application())) as client:
            yield client
