"""The screen's heart: once a second everything is read, folded into a frame, remembered, posted and sent.

    board, pacer, probes ─▶ Reading ─▶ Fold ─▶ Frame ─┬─▶ viewers (stream.py)
                                                      ├─▶ history, events (what changed)
                                                      └─▶ the supervisor's gauges, so /metrics says the same

Decided here: when, and in which order.  A frame follows each new sign of the room, which comes once a second and
just after an operator's act, so what is shown is as fresh as what is known; without a room, once a second.
"""

import asyncio
import math
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import msgspec

from gateway.board import Board
from gateway.clock import Clock, cpu_s
from gateway.core.act import differences
from gateway.core.light import Colour
from gateway.core.sign import Acts
from gateway.memory import Resident
from gateway.metrics import DEPENDENCIES
from gateway.ops import events, readings
from gateway.ops.events import Events
from gateway.ops.fleet import Fleet
from gateway.ops.frame import POINT, Frame, Point, point
from gateway.ops.history import History
from gateway.ops.readings import Probed, Readiness, Reading, RoomReading
from gateway.ops.status import Fold
from gateway.ops.stream import Viewers, event
from gateway.probes import Asker

PERIOD_S: Final = 1.0
SOONEST_S: Final = 0.25  # between two frames: acts in a row are shown together
LATEST_S: Final = 1.25  # the room's sign is late: its store may be away
_GREETING_MS: Final = 600_000  # a new viewer is told the last ten minutes ..
_GREETING_POINTS: Final = 120  # .. in so many points, and one that comes back what it missed ..
_MISSED_POINTS: Final = 600  # .. in so many; /api/history has the others
_GREETING_ENTRIES: Final = 100
_RETRY_MS: Final = 1_000

_encode = msgspec.json.encode


class Screen:
    """What the operators' port shows.

    Args:
        readiness: what the supervisor knows of its workers.
        room: the configured room and what the pacer knows of it; None where there is none.
        kafka, redis: the probes; run here.
        fleet: the other machines; run here too.
    """

    def __init__(
        self,
        board: Board,
        readiness: Callable[[], Readiness],
        room: Callable[[], RoomReading | None],
        kafka: Asker,
        redis: Asker,
        fleet: Fleet,
        clock: Clock,
    ) -> None:
        self._board = board
        self._readiness = readiness
        self._room = room
        self._probes = {"kafka": kafka, "redis": redis}
        self._fleet = fleet
        self._clock = clock
        self._fold = Fold(self.now_ms(), _version())
        self._looked_s, self._used_s, self._cpu = clock.monotonic_s(), cpu_s(), 0.0
        self._resident = Resident()
        self._told_seq = 0  # the newest entry that viewers know
        self._acts: Acts | None = None
        self._refused_s: dict[str, float] = {}  # by code, of which there are a few: when one was written down
        self._said = (0, "")  # version and reason of the last act that was said here
        self._news = asyncio.Event()
        self.events = Events()
        self.history = History()
        self.viewers = Viewers(self.greeting, board.supervisor)
        self.frame: Frame | None = None
        self.happened("started")

    async def run(self) -> None:
        """For ever; the caller makes it a task and cancels it.  What it raises is a bug."""
        try:
            async with asyncio.TaskGroup() as loops:
                for asker in self._probes.values():
                    loops.create_task(asker.run())
                loops.create_task(self._fleet.run(lambda: self.frame))
                loops.create_task(self._look())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # its frames are what the log needs

    async def close(self) -> None:
        """After `run` was cancelled."""
        for asker in self._probes.values():
            await asker.close()
        await self._fleet.close()

    def has_news(self, *_: object) -> None:
        """The room's sign is new: show it."""
        self._news.set()

    def happened(self, kind: str, **members: object) -> None:
        """Write down what the supervisor saw."""
        self.events.add(self.now_ms(), kind, **members)

    def refused(self, code: str) -> bool:
        """Write down a refused call; False: one for the same reason is less than a second old, and who guesses tokens fills no disk."""
        now_s = self._clock.monotonic_s()
        if now_s - self._refused_s.get(code, -math.inf) < 1.0:
            return False
        self._refused_s[code] = now_s
        self.happened("act-refused", code=code)
        return True

    def told(self, act_version: int, reason: str) -> None:
        """Why the act with this version was said; what it changed is seen when the frame is made."""
        self._said = (act_version, reason)

    def reading(self) -> Reading:
        """Everything, as it stands now."""
        found = {name: asker.found for name, asker in self._probes.items()}
        return Reading(
            self.now_ms(),
            self._clock.monotonic_s(),
            self._readiness(),
            self._board.totals(),
            readings.gauges(self._board),
            Probed(found["kafka"].reason, found["redis"].reason, found["kafka"].took_s, found["redis"].took_s),
            self._room(),
            self._cpu,
            self._resident.bytes(),
            len(self.viewers),
            self._fleet.name,
            self._fleet.others,
        )

    def greeting(self, last_id: int | None) -> bytes:
        """What a new viewer is told."""
        if last_id is None:
            points = _thinned(self.history.since(self.now_ms() - _GREETING_MS), _GREETING_POINTS)
            entries = self.events.last(_GREETING_ENTRIES)
        else:
            points = _thinned(self.history.since(last_id), _MISSED_POINTS)
            entries = self.events.since(last_id)[-_GREETING_ENTRIES:]
        said = [b"retry: %d\n\n" % _RETRY_MS, event("history", table(points)), event("log", _encode({"entries": entries}))]
        if self.frame is not None:
            said.append(event("status", _encode(self.frame), self.frame.at_ms))
        return b"".join(said)

    async def _look(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(SOONEST_S)
            waits_s = (LATEST_S if self._room() else PERIOD_S) - SOONEST_S
            try:
                async with asyncio.timeout(waits_s):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()

    def look(self) -> None:
        """One frame: made, compared with the one before, kept and sent."""
        self._measure_self()
        reading = self.reading()
        before, self.frame = self.frame, self._fold.frame(reading)
        for kind, members in events.changes(before, self.frame):
            self.events.add(reading.at_ms, kind, **members)
        self._note_act(reading)
        self.history.add(point(self.frame))
        self._post(self.frame, reading.probed)
        said = event("status", _encode(self.frame), self.frame.at_ms)
        if new := self.events.after(self._told_seq):
            self._told_seq = self.events.seq
            said = event("log", _encode({"entries": new})) + said
        self.viewers.send(said)

    def _note_act(self, reading: Reading) -> None:
        """An act is seen by its version, whichever machine's operator said it."""
        acts = reading.room.state.acts if reading.room else None
        before, self._acts = self._acts, acts
        if before is None or acts is None or acts.version == before.version:
            return
        reason = self._said[1] if self._said[0] == acts.version else ""
        self.events.add(reading.at_ms, "act", version=acts.version, changed=differences(before, acts), reason=reason)

    def _measure_self(self) -> None:
        now_s, used_s = self._clock.monotonic_s(), cpu_s()
        if now_s - self._looked_s >= SOONEST_S:
            self._cpu = (used_s - self._used_s) / (now_s - self._looked_s)
            self._looked_s, self._used_s = now_s, used_s

    def _post(self, frame: Frame, probed: Probed) -> None:
        """What the screen shows and no worker knows, for /metrics."""
        slot, room = self._board.supervisor, frame.room
        values: dict[str, float | None] = {
            "supervisor_cpu_ratio": frame.supervisor.cpu,
            "supervisor_memory_bytes": frame.supervisor.memory_mb * 1e6,
            "viewers": frame.viewers,
            "room_waiting_oldest_seconds": room.oldest_wait_s if room else None,
        }
        for name, value in values.items():
            slot.gauge(f"sluicegate_{name}").set(_or_nan(value))
        for estimate, value in (("p50", room.p50_s if room else None), ("p90", room.p90_s if room else None)):
            slot.gauge("sluicegate_room_estimate_seconds", estimate).set(_or_nan(value))
        for name in DEPENDENCIES:
            slot.gauge("sluicegate_light", name).set(Colour[frame.lights[name].colour.upper()])
        for name, seconds in (("kafka", probed.kafka_s), ("redis", probed.redis_s)):
            slot.gauge("sluicegate_probe_seconds", name).set(seconds)

    def now_ms(self) -> int:
        """The time of now, as frames and entries carry it."""
        return self._clock.now_us() // 1_000


def table(points: list[Point]) -> bytes:
    """Points as JSON: what their numbers are, once, and the numbers."""
    return _encode({"fields": POINT, "rows": points})


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _thinned(points: list[Point], most: int) -> list[Point]:
    """At most so many of them, evenly, the newest among them."""
    step = -(-len(points) // most) or 1
    return points[::-1][::step][::-1]


def _version() -> str:
    try:
        return version("sluicegate")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "unknown"
