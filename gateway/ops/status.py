"""One reading after the other → one frame after the other: the numbers of the screen, and what limits most.

Pure: readings come in, a frame goes out; what has to be remembered for it (five seconds of counters, an hour of
error budget, when places were given) is kept in `Fold`.  The lights are lights.py's, the form is frame.py's.

    rates        counters of now and of five seconds ago; a counter never goes backwards, whatever is killed
    oldest wait  the place that is called next was given when the tail passed it: remembered, so null where
                 that was before this process began
    bottleneck   the first that applies, from what stops everybody to what bounds the door's rate
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from gateway.board import Totals
from gateway.core.light import Colour, Reason
from gateway.core.place import people_ahead, people_in_line, wait_s
from gateway.core.sign import Sign
from gateway.errors import PROBLEMS
from gateway.metrics import BY_NAME, SECONDS_BUCKETS, STATUSES, TOPICS
from gateway.ops.frame import (
    VERSION,
    Ack,
    Bottleneck,
    ClassRates,
    Frame,
    Light,
    Objective,
    RoomNumbers,
    RoomState,
    Slo,
    SupervisorNumbers,
    Traffic,
    Unacked,
    WorkerNumbers,
)
from gateway.ops.lights import Lights, is_silent, lights, not_able
from gateway.ops.readings import Reading, RoomReading

WINDOW_S: Final = 5.0
ANSWERED: Final = 0.999
ACKED: Final = 0.99
ACKED_WITHIN_S: Final = 0.5  # a bound of SECONDS_BUCKETS
BURN_EVERY_S: Final = 10.0
_CORE_FULL_LAG_S: Final = 0.05  # as sluicegate_loop_lag_seconds says
_CORE_FULL_RATIO: Final = 0.9
_GIVEN_MAX: Final = 16_384  # instants at which places were given: four hours and a half of one a second, then half as fine

# What may limit most, in the order in which it is asked.
BOTTLENECKS: Final = (
    *("starting", "draining", "no-worker", "worker", "kafka", "room-store", "redis", "closed", "paused", "overload", "core"),
    *("told", "acks-stopped", "downstream", "floor", "ceiling", "climbing", "lag-unknown", "none"),
)
_WHY: Final = {"starting": "starting", "draining": "draining", "no worker answers": "no-worker"}
_LIGHTS: Final = (("kafka", "kafka"), ("room", "room-store"), ("redis", "redis"))
_PACES: Final = {"consumption": "downstream"}  # the others are called as the pace calls them

# Which requests are a class: route, and the statuses of what was accepted.
_CLASSES: Final = {"syncs": ("syncs", ("202",)), "signups": ("signups", ("202",)), "joins": ("tickets", ("200", "201")), "looks": ("place", ("200",))}
_SHED: Final = ("signups", "joins", "syncs")
_SERVER_ERRORS: Final = tuple(status for status in STATUSES if status.startswith("5"))
_ERRORS: Final = tuple(status for status in STATUSES if status >= "400")


class Past(NamedTuple):
    """What rates are counted from."""

    now_s: float
    totals: Totals
    sign: Sign | None


class Spent(NamedTuple):
    """What error budgets are counted from, ever since the start."""

    now_s: float
    asked: int
    failed: int  # answered with 5xx
    durable: int
    late: int  # of them: acknowledged after more than ACKED_WITHIN_S


class Fold:
    """What one frame needs of those before it."""

    def __init__(self, started_ms: int, version: str) -> None:
        self._started_ms = started_ms
        self._version = version
        self._past: deque[Past] = deque()
        self._spent: deque[Spent] = deque(maxlen=int(3_600 / BURN_EVERY_S) + 2)
        self._given: deque[tuple[float, int]] = deque()  # (now_s, the tail then), where it had grown
        self._lights: dict[str, Light] = {}

    def frame(self, reading: Reading) -> Frame:
        """The next one.  Readings come in the order of their time."""
        found = lights(reading)
        past = self._remember(reading)
        traffic = _traffic(past.totals, reading.totals, max(reading.now_s - past.now_s, 1e-9))
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
            _ack(past.totals, reading.totals),
            Unacked(_ms(max((one.unacked_age_s for one in reading.gauges), default=0.0)), int(sum(one.in_flight_bytes for one in reading.gauges))),
            self._slo(reading),
            max((one.lag_ms for one in workers), default=0.0),
            workers,
            SupervisorNumbers(round(reading.cpu, 3), _mb(reading.memory_bytes)),
            reading.viewers,
            reading.machine,
            reading.machines,
        )

    def _remember(self, reading: Reading) -> Past:
        """The past that the rates of now are counted from: the newest that is five seconds old, or the oldest there is."""
        sign = reading.room.state.sign if reading.room else None
        self._past.append(Past(reading.now_s, reading.totals, sign))
        while len(self._past) > 1 and self._past[1].now_s <= reading.now_s - WINDOW_S:
            self._past.popleft()
        if sign is not None:
            self._remember_tail(sign, reading.now_s)
        if not self._spent or reading.now_s - self._spent[-1].now_s >= BURN_EVERY_S:
            self._spent.append(spent(reading.totals, reading.now_s))
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
        span_s = max(reading.now_s - past.now_s, 1e-9)
        p50_s, p90_s = wait_s(sign, people_ahead(sign, sign.tail)) if sign else (None, None)
        joins = sum(reading.totals.count(_JOINS, kind) - past.totals.count(_JOINS, kind) for kind in ("new", "provisional"))
        return RoomNumbers(
            settings.name,
            settings.epoch,
            sign is not None,
            _state(sign, room),
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
            _rounded(max(sign.passes - past.sign.passes, 0) / span_s) if sign and past.sign else None,
            _rounded(joins / span_s),
            _rounded(sign.leaving_per_s * people_in_line(sign)) if sign else None,
            state.lag,
            settings.lag_target,
            int(state.age_s * 1_000) if sign else None,
            acts.message,
            acts.version,
            sign is not None and not state.is_away and sign.acts.version >= acts.version,
        )

    def _slo(self, reading: Reading) -> Slo:
        now = spent(reading.totals, reading.now_s)
        before = {window_s: _at(self._spent, reading.now_s - window_s) for window_s in (300.0, 3_600.0)}
        answered = [burn(now.failed - then.failed, now.asked - then.asked, ANSWERED) for then in before.values()]
        acked = [burn(now.late - then.late, now.durable - then.durable, ACKED) for then in before.values()]
        return Slo(Objective(ANSWERED, *answered), Objective(ACKED, *acked))

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
    if found["workers"].colour is not Colour.GREEN:
        seating = not_able(reading.readiness.workers)
        yield Bottleneck("worker", found["workers"].code, seating.worker if seating else None)
    for name, code in _LIGHTS:
        if found[name].colour >= Colour.AMBER:
            yield Bottleneck(code, found[name].code)
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


def _traffic(past: Totals, now: Totals, span_s: float) -> Traffic:
    def per_s(name: str, labels: Iterable[tuple[str, ...]]) -> float:
        return round(sum(now.count(name, *each) - past.count(name, *each) for each in labels) / span_s, 3)

    by_class = {
        name: ClassRates(
            per_s(_REQUESTS, ((route, status) for status in accepted)),
            per_s(_REQUESTS, ((route, status) for status in _ERRORS)),
            per_s(_REFUSED, ((name,),)) if name in _SHED else 0.0,
        )
        for name, (route, accepted) in _CLASSES.items()
    }
    codes = {code: per_s(_REFUSALS, ((code,),)) for code in PROBLEMS}
    return Traffic(
        round(by_class["syncs"].accepted_per_s + by_class["signups"].accepted_per_s, 3),
        round(sum(codes.values()), 3),
        round(sum(by_class[name].shed_per_s for name in _SHED), 3),
        by_class,
        {code: rate_per_s for code, rate_per_s in codes.items() if rate_per_s},
    )


def _ack(past: Totals, now: Totals) -> Ack:
    counts = [sum(of) for of in zip(*(_between(past, now, topic) for topic in TOPICS), strict=True)]
    return Ack(_percentile_ms(counts, 0.5), _percentile_ms(counts, 0.99))


def _between(past: Totals, now: Totals, topic: str) -> list[int]:
    return [after - before for before, after in zip(past.counts(_ACKS, topic), now.counts(_ACKS, topic), strict=True)]


def _percentile_ms(counts: Sequence[int], share: float) -> float | None:
    found = quantile(SECONDS_BUCKETS, counts, share)
    return None if found is None else _ms(found)


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Where `share` of what was counted lies, straight lines within a bucket; the last bound for what is beyond; None: nothing was counted.

    Args: counts: per bucket, not cumulative, the last one being beyond every bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    for index, below in enumerate(accumulate(counts[:-1])):
        if below >= wanted:
            left = bounds[index - 1] if index else 0.0
            return left + (bounds[index] - left) * (1 - (below - wanted) / counts[index])
    return bounds[-1]


def spent(totals: Totals, now_s: float) -> Spent:
    """What counts for the two objectives: 4xx is the client's and counts for neither."""
    routes = ("syncs", "signups")
    failed = sum(totals.count(_REQUESTS, route, status) for route in routes for status in _SERVER_ERRORS)
    accepted = sum(totals.count(_REQUESTS, route, "202") for route in routes)
    buckets = [totals.counts(_ACKS, topic) for topic in TOPICS]
    in_time = sum(sum(counts[: SECONDS_BUCKETS.index(ACKED_WITHIN_S) + 1]) for counts in buckets)
    durable = sum(map(sum, buckets))
    return Spent(now_s, accepted + failed, failed, durable, durable - in_time)


def burn(bad: int, total: int, objective: float) -> float | None:
    """How many times as fast as allowed the budget is spent; None where nothing was asked."""
    return round(bad / total / (1 - objective), 2) if total else None


def _at(spent_: Iterable[Spent], at_s: float) -> Spent:
    """The newest from before that instant, or the oldest there is."""
    found: Spent | None = None
    for one in spent_:
        if found is None or one.now_s <= at_s:
            found = one
    assert found is not None  # the reading that is folded is among them
    return found


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


def _state(sign: Sign | None, room: RoomReading) -> RoomState:
    """As the operator said it last; the store follows within a tick."""
    acts = room.state.acts
    if sign is not None and sign.acts.version > acts.version:
        acts = sign.acts
    return "paused" if acts.is_paused else "open"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)


def _mb(count_bytes: float) -> float:
    return round(count_bytes / 1e6, 1)


_REQUESTS: Final = "sluicegate_requests_total"
_REFUSALS: Final = "sluicegate_refusals_total"
_REFUSED: Final = "sluicegate_overload_refused_total"
_JOINS: Final = "sluicegate_room_joins_total"
_ACKS: Final = "sluicegate_ack_seconds"
assert BY_NAME[_ACKS].buckets == SECONDS_BUCKETS
