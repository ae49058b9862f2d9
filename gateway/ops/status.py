"""One reading after the other → one frame after the other: the numbers of the screen, and what limits most.

Pure: readings come in, a frame goes out; what has to be remembered for it (five seconds of counters, an hour of
error budget, when places were given) is kept in `Fold`.  The lights are lights.py's, the form is frame.py's.

    rates        counters of now and of five seconds ago; a counter never goes backwards, whatever is killed
    oldest wait  the place that is called next was given when the tail passed it: remembered, so null where
                 that was before this process began
    bottleneck   the first that applies, from what stops everybody to what bounds the door's rate; red before amber
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.board import Totals
from gateway.core.light import Colour, Reason
from gateway.core.place import people_ahead, people_in_line, wait_s
from gateway.core.sign import Sign
from gateway.ops import rates
from gateway.ops.fleet import SHOWN_MAX
from gateway.ops.frame import (
    VERSION,
    Bottleneck,
    Frame,
    Light,
    Objective,
    RoomNumbers,
    Slo,
    SpoolNumbers,
    SupervisorNumbers,
    Traffic,
    Unacked,
    WorkerNumbers,
)
from gateway.ops.lights import Lights, is_fresh, is_silent, lights, not_able
from gateway.ops.readings import Reading, RoomReading

WINDOW_S: Final = 5.0
BURN_EVERY_S: Final = 10.0
_CORE_FULL_LAG_S: Final = 0.05  # as sluicegate_loop_lag_seconds says
_CORE_FULL_RATIO: Final = 0.9
_GIVEN_MAX: Final = 16_384  # instants at which places were given: four hours and a half of one a second, then half as fine

# What may limit most, in the order in which it is asked.
BOTTLENECKS: Final = (
    *("starting", "draining", "no-worker", "worker", "kafka", "room-store", "redis", "spool", "closed", "paused", "overload", "core"),
    *("told", "acks-stopped", "spool-filling", "downstream", "floor", "ceiling", "climbing", "lag-unknown", "none"),
)
_WHY: Final = {"starting": "starting", "draining": "draining", "no worker answers": "no-worker"}
_LIGHTS: Final = (("kafka", "kafka"), ("room", "room-store"), ("redis", "redis"), ("spool", "spool"))
_TAKES_NOTHING: Final = ("spool-full", "spool-failed")
_LIMITS_NOBODY: Final = ("spool-aside", "spool-rejected")  # they may be there for days, for a person, and everything else goes on
_PACES: Final = {"consumption": "downstream"}  # the others are called as the pace calls them


class Past(NamedTuple):
    """What rates are counted from."""

    now_s: float
    totals: Totals
    sign: Sign | None
    spooled: int  # records


class Fold:
    """What one frame needs of those before it."""

    def __init__(self, started_ms: int, version: str) -> None:
        self._started_ms = started_ms
        self._version = version
        self._past: deque[Past] = deque()
        self._spent: deque[rates.Spent] = deque(maxlen=int(3_600 / BURN_EVERY_S) + 2)
        self._given: deque[tuple[float, int]] = deque()  # (now_s, the tail then), where it had grown
        self._lights: dict[str, Light] = {}

    def frame(self, reading: Reading) -> Frame:
        """The next one.  Readings come in the order of their time."""
        found = lights(reading)
        past = self._remember(reading)
        traffic = rates.traffic(past.totals, reading.totals, max(reading.now_s - past.now_s, 1e-9))
        room = self._room(reading.room, reading, past) if reading.room else None
        workers = _workers(reading)
        self._lights = {name: self._light(name, reason, reading.at_ms) for name, reason in found.items()}
        return Frame(
            VERSION,
            reading.at_ms,
            self._started_ms,
            self._version,
            not reading.readiness.why,
            reading.readiness.why,
            bottleneck(reading, found, room, traffic),
            self._lights,
            room,
            traffic,
            rates.ack(past.totals, reading.totals),
            Unacked(_ms(max((one.unacked_age_s for one in reading.gauges), default=0.0)), int(sum(one.in_flight_bytes for one in reading.gauges))),
            _spool(reading, past),
            self._slo(reading),
            max((one.lag_ms for one in workers), default=0.0),
            workers,
            SupervisorNumbers(round(reading.cpu, 3), _mb(reading.memory_bytes)),
            reading.viewers,
            reading.machine,
            reading.machines[:SHOWN_MAX],
            len(reading.machines),
        )

    def _remember(self, reading: Reading) -> Past:
        """The past that the rates of now are counted from: the newest that is five seconds old, or the oldest there is."""
        sign = reading.room.state.sign if reading.room else None
        self._past.append(Past(reading.now_s, reading.totals, sign, _waiting(reading)))
        while len(self._past) > 1 and self._past[1].now_s <= reading.now_s - WINDOW_S:
            self._past.popleft()
        if sign is not None:
            self._remember_tail(sign, reading.now_s)
        if not self._spent or reading.now_s - self._spent[-1].now_s >= BURN_EVERY_S:
            self._spent.append(rates.spent(reading.totals, reading.now_s))
        return self._past[0]

    def _remember_tail(self, sign: Sign, now_s: float) -> None:
        """Only what the head has not passed is asked for again."""
        if not self._given or sign.tail != self._given[-1][1]:
            self._given.append((now_s, sign.tail))
        while len(self._given) > 1 and self._given[1][1] <= sign.head:
            self._given.popleft()
        if len(self._given) > _GIVEN_MAX:
            self._given = deque([*list(self._given)[:-1:2], self._given[-1]])

    def _oldest_s(self, sign: Sign, now_s: float) -> float | None:
        """How long the place at the head has been waiting: since the first instant at which the tail was beyond it."""
        if sign.head >= sign.tail:
            return 0.0
        if self._given[0][1] > sign.head:
            return None  # it was given before this process looked
        return next(now_s - at_s for at_s, tail in self._given if tail > sign.head)

    def _room(self, room: RoomReading, reading: Reading, past: Past) -> RoomNumbers:
        settings, state = room.settings, room.state
        sign, acts = state.sign, state.acts
        through_per_s, joins_per_s = _moved(sign, past.sign) if sign and past.sign and is_fresh(state) else (None, None)
        p50_s, p90_s = wait_s(sign, people_ahead(sign, sign.tail)) if sign else (None, None)
        return RoomNumbers(
            settings.name,
            settings.epoch,
            sign is not None,
            max(acts, sign.acts if sign else acts, key=lambda said: said.version).state,  # the store follows within a tick
            people_in_line(sign) if sign else None,
            sign.tail - sign.head if sign else None,
            sign.called if sign else None,
            sign.head if sign else None,
            sign.tail if sign else None,
            _rounded(self._oldest_s(sign, reading.now_s)) if sign else None,
            _rounded(p50_s),
            _rounded(p90_s),
            _rounded(sign.pace.rate_per_s) if sign else None,
            settings.floor_per_s,
            settings.ceiling_per_s,
            acts.told_per_s,
            sign.pace.reason.value if sign else "",
            sign.pace.since_us // 1_000 if sign else None,
            through_per_s,
            joins_per_s,
            _rounded(sign.leaving_per_s * people_in_line(sign)) if sign else None,
            state.lag,
            settings.lag_target,
            int(state.age_s * 1_000) if sign else None,
            acts.message,
            acts.version,
            sign is not None and sign.acts.version >= acts.version,
        )

    def _slo(self, reading: Reading) -> Slo:
        now = rates.spent(reading.totals, reading.now_s)
        before = {window_s: rates.at(self._spent, reading.now_s - window_s) for window_s in (300.0, 3_600.0)}
        answered = [rates.burn(now.failed - then.failed, now.asked - then.asked, rates.ANSWERED) for then in before.values()]
        acked = [rates.burn(now.late - then.late, now.durable - then.durable, rates.ACKED) for then in before.values()]
        return Slo(Objective(rates.ANSWERED, *answered), Objective(rates.ACKED, *acked))

    def _light(self, name: str, reason: Reason, at_ms: int) -> Light:
        """The same object, where it is as it was."""
        before = self._lights.get(name)
        if before is not None and before.reason == reason.code:
            return before
        return Light(reason.colour.name.lower(), reason.code, at_ms)


# What limits most


def bottleneck(reading: Reading, found: Lights, room: RoomNumbers | None, traffic: Traffic) -> Bottleneck:
    """The first of BOTTLENECKS that applies."""
    return next(_limits(reading, found, room, traffic))


def _limits(reading: Reading, found: Lights, room: RoomNumbers | None, traffic: Traffic) -> Iterator[Bottleneck]:
    """All that limits, what stops everybody first."""
    if reading.readiness.why:
        yield Bottleneck(_WHY[reading.readiness.why])
    if found["workers"].code == "no-worker":
        yield Bottleneck("no-worker")
    if found["spool"].code in _TAKES_NOTHING:
        # What Kafka does not take is refused: of the two this is what people feel.
        yield Bottleneck("spool", found["spool"].code)
    limiting = [(code, found[name]) for name, code in _LIGHTS if found[name].code not in _LIMITS_NOBODY]
    yield from (Bottleneck(code, reason.code) for code, reason in limiting if reason.colour is Colour.RED)
    if found["workers"].colour is not Colour.GREEN:
        seating = not_able(reading.readiness.workers)
        yield Bottleneck("worker", found["workers"].code, seating.worker if seating else None)
    yield from (Bottleneck(code, reason.code) for code, reason in limiting if reason.colour is Colour.AMBER)
    if room is not None and room.state != "open":
        yield Bottleneck(room.state)
    if traffic.shed_per_s > 0:
        yield Bottleneck("overload")
    for index, one in enumerate(reading.gauges):
        if one.loop_lag_s > _CORE_FULL_LAG_S or one.cpu > _CORE_FULL_RATIO:
            yield Bottleneck("core", "", index)
    if room is not None and room.uncalled:
        yield Bottleneck(_PACES.get(room.reason, room.reason), room.reason)
    yield Bottleneck("none")


# The parts


def _workers(reading: Reading) -> list[WorkerNumbers]:
    return [
        WorkerNumbers(
            one.worker,
            "silent" if is_silent(one) else one.state,
            _ms(gauges.loop_lag_s),
            round(gauges.cpu, 3),
            _mb(gauges.memory_bytes),
            max(one.starts - 1, 0),
            gauges.connections,
        )
        for one, gauges in zip(reading.readiness.workers, reading.gauges, strict=True)
    ]


def _spool(reading: Reading, past: Past) -> SpoolNumbers | None:
    kept = [one.spool for one in reading.gauges if one.spool.bytes_max]
    if not kept:
        return None
    span_s = max(reading.now_s - past.now_s, 1e-9)
    records, gone_per_s = _waiting(reading), (past.spooled - _waiting(reading)) / span_s
    return SpoolNumbers(
        int(sum(one.bytes for one in kept)),
        int(sum(one.bytes_max for one in kept)),
        round(max(one.bytes / one.bytes_max for one in kept), 3),
        records,
        sum(one.aside for one in kept),
        round(max(one.oldest_s for one in kept), 1),
        rates.replayed(past.totals, reading.totals, span_s),
        round(records / gone_per_s, 1) if records and gone_per_s > 0 else None,
    )


def _waiting(reading: Reading) -> int:
    """Records in all spools that wait for Kafka."""
    return sum(one.spool.records for one in reading.gauges)


def _moved(sign: Sign, before: Sign) -> tuple[float, float]:
    """People through and people who joined, a second, between two signs; by the store's clock, so an outage is no rush afterwards."""
    span_s = max((sign.at_us - before.at_us) / 1e6, WINDOW_S / 5)
    return round(max(sign.passes - before.passes, 0) / span_s, 3), round(max(sign.tail - before.tail, 0) / span_s, 3)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)


def _mb(count_bytes: float) -> float:
    return round(count_bytes / 1e6, 1)
