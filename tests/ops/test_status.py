"""The fold: readings in, a frame out; rates, budgets, waits and what limits most."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from gateway import config
from gateway.board import Board
from gateway.core.light import INDEX
from gateway.core.pace import Reason
from gateway.core.place import people_in_line
from gateway.core.sign import Acts, Policy, Sign
from gateway.core.turn import token_us_of
from gateway.core.waiting import Room
from gateway.ops.fleet import summary
from gateway.ops.frame import POINT, Frame, point
from gateway.ops.readings import Readiness
from gateway.ops.status import BOTTLENECKS, Fold
from tests.screens import SETTINGS, WELL, board_seeing, reading, room, seating

US: Final = 1_000_000
BEGAN_US: Final = 1_769_519_405 * US


class Line:
    """The real law's room, whose signs the fold is shown."""

    def __init__(self, rate_per_s: float = 10.0) -> None:
        self.law = Room.opened(Policy(), token_us_of(rate_per_s), BEGAN_US)
        self._joined = 0

    def join(self, people: int, at_s: float) -> None:
        self.law.join([(self._joined + number).to_bytes(8, "big") for number in range(people)], BEGAN_US + round(at_s * US))
        self._joined += people

    def sign(self, at_s: float) -> Sign:
        return self.law.tick(BEGAN_US + round(at_s * US), (), (), (), 0, 0)


class Screening:
    """A fold that sees one board second by second."""

    def __init__(self, workers: int = 1, settings: config.Room = SETTINGS) -> None:
        self.board = board_seeing(*["ok"] * workers)
        for slot in self.board.slots[:-1]:
            slot.gauge("sluicegate_redis_reason").set(8)
        self.fold = Fold(0, "1.0")
        self.settings = settings
        self.now_s = 100.0

    def frame(self, after_s: float = 1.0, sign: Sign | None = None, **changes: Any) -> Frame:
        self.now_s += after_s
        told = {"room": room(sign, self.settings)} if sign is not None else {}
        return self.fold.frame(reading(self.board, self.now_s, **told | changes))

    def requests(self, route: str, status: str, count: int, worker: int = 0) -> None:
        self.board.slots[worker].counter("sluicegate_requests_total", route, status).add(count)


# Rates


def test_rates_are_those_of_the_last_five_seconds() -> None:
    seen = Screening()
    assert seen.frame().traffic.accepted_per_s == 0
    for _ in range(10):
        seen.requests("syncs", "202", 50)
        seen.requests("signups", "202", 5)
        frame = seen.frame()
    assert frame.traffic.accepted_per_s == 55
    assert (frame.traffic.by_class["syncs"].accepted_per_s, frame.traffic.by_class["signups"].accepted_per_s) == (50, 5)
    for _ in range(5):
        frame = seen.frame()
    assert frame.traffic.accepted_per_s == 0


def test_refusals_are_told_by_class_and_code() -> None:
    seen = Screening(workers=2)
    seen.frame()
    seen.requests("syncs", "503", 10, worker=1)
    seen.board.slots[1].counter("sluicegate_refusals_total", "overloaded").add(10)
    seen.board.slots[0].counter("sluicegate_refusals_total", "rate-limited").add(5)
    seen.board.slots[1].counter("sluicegate_overload_refused_total", "syncs").add(10)
    traffic = seen.frame(after_s=5.0).traffic
    assert (traffic.refused_by_code, traffic.refused_per_s, traffic.shed_per_s) == ({"overloaded": 2.0, "rate-limited": 1.0}, 3.0, 2.0)
    assert msgspec.to_builtins(traffic.by_class["syncs"]) == {"accepted_per_s": 0.0, "refused_per_s": 2.0, "shed_per_s": 2.0}
    assert traffic.by_class["looks"].accepted_per_s == 0


def test_a_killed_worker_takes_no_rate_below_zero() -> None:
    seen = Screening()
    seen.requests("syncs", "202", 100)
    seen.frame()
    seen.board.slots[0].zero_gauges()
    assert seen.frame().traffic.accepted_per_s == 0


def test_the_first_frame_knows_no_rate_and_says_zero_at_no_infinite_speed() -> None:
    seen = Screening()
    seen.requests("syncs", "202", 1_000_000)
    assert seen.frame().traffic.accepted_per_s == 0


# Acknowledgements


def test_percentiles_are_of_the_last_seconds_alone() -> None:
    seen = Screening()
    acks = seen.board.slots[0].histogram("sluicegate_ack_seconds", "syncs")
    acks.observe(4.0, times=1_000)
    assert seen.frame().ack.p99_ms is None
    acks.observe(0.008, times=99)
    acks.observe(0.3, times=1)
    ack = seen.frame().ack
    assert ack.p50_ms is not None
    assert ack.p99_ms is not None
    assert 5 <= ack.p50_ms <= 10 >= ack.p99_ms


# Error budgets


def test_an_hour_remembers_what_five_minutes_have_forgotten() -> None:
    seen = Screening()
    seen.frame()
    seen.requests("syncs", "503", 10)
    seen.requests("syncs", "202", 990)
    seen.requests("syncs", "401", 5_000)  # the client's own
    frame = seen.frame()
    assert (frame.slo.answered.burn_5m, frame.slo.answered.burn_1h) == (10.0, 10.0)
    for _ in range(40):
        seen.requests("syncs", "202", 100)
        frame = seen.frame(after_s=10.0)
    assert (frame.slo.answered.burn_5m, frame.slo.answered.burn_1h) == (0.0, 2.0)
    for _ in range(317):  # until 59.5 minutes after
        seen.requests("syncs", "202", 100)
        frame = seen.frame(after_s=10.0)
    assert frame.slo.answered.burn_1h
    for _ in range(5):
        seen.requests("syncs", "202", 100)
        frame = seen.frame(after_s=10.0)
    assert frame.slo.answered.burn_1h == 0.0


def test_late_acknowledgements_spend_a_budget_of_their_own() -> None:
    seen = Screening()
    seen.frame()
    acks = seen.board.slots[0].histogram("sluicegate_ack_seconds", "signups")
    acks.observe(0.5, times=96)
    acks.observe(0.51, times=4)
    assert seen.frame().slo.acked.burn_5m == 4.0


# The line


def test_the_line_is_told_as_the_store_counts_it() -> None:
    line, seen = Line(), Screening()
    line.join(500, 1.0)
    seen.frame(sign=line.sign(1.2))
    sign = line.sign(2.2)
    told = seen.frame(sign=sign).room
    assert told is not None
    assert (told.depth, told.lobby, told.head, told.tail, told.uncalled) == (people_in_line(sign), sign.called, sign.head, sign.tail, sign.tail - sign.head)
    assert (told.state, told.rate_per_s, told.reason, told.known) == ("open", 10.0, "lag-unknown", True)
    assert told.p90_s == pytest.approx(500 / 10.0, rel=0.1)


def test_a_store_that_never_answered_has_no_numbers() -> None:
    told = Screening().frame(room=room(None)).room
    assert told is not None
    assert (told.known, told.depth, told.rate_per_s, told.p50_s, told.sign_age_ms, told.applied) == (False, None, None, None, None, False)


def test_the_oldest_wait_is_of_the_place_that_is_called_next() -> None:
    line, seen = Line(), Screening()
    assert seen.frame(sign=line.sign(0.5)).room.oldest_wait_s == 0.0  # type: ignore[union-attr]
    for second in range(1, 21):
        line.join(100, float(second))
        frame = seen.frame(sign=line.sign(second + 0.1))
    sign = line.sign(20.2)
    first = sign.head // 100  # who stands at the head joined in this second: 100 each
    assert frame.room is not None
    assert frame.room.oldest_wait_s == pytest.approx(20 - 1 - first, abs=1.01)


def test_who_joined_before_this_process_waits_nobody_knows_how_long() -> None:
    line, seen = Line(), Screening()
    line.join(1_000, 1.0)
    assert seen.frame(sign=line.sign(300.0)).room.oldest_wait_s is None  # type: ignore[union-attr]


def test_what_is_remembered_of_joins_is_bounded() -> None:
    """A day of one join a second, and nobody is called: half as fine, and never without end."""
    line, seen = Line(), Screening()
    sign = line.sign(1.0)
    for tail in range(1, 50_000):
        seen.fold._remember_tail(sign._replace(tail=tail), float(tail))
    given_ = seen.fold._given
    assert len(given_) <= 16_384
    assert (given_[0][1], given_[-1][1]) == (1, 49_999)
    assert [tail for _, tail in given_] == sorted(tail for _, tail in given_)


def test_people_through_and_joining_are_counted_from_the_signs_by_their_own_clock() -> None:
    line, seen = Line(), Screening()
    sign = line.sign(1.0)

    def later(seconds: int, after_s: float = 1.0, **changes: Any) -> tuple[float | None, float | None]:
        told = seen.frame(after_s, sign=sign._replace(at_us=sign.at_us + seconds * US, **changes)).room
        assert told is not None
        return told.through_per_s, told.joins_per_s

    found: tuple[float | None, float | None] = (None, None)
    for second in range(10):
        found = later(second, passes=10 * second, tail=100 * second)
    assert [*found] == [10, 100]
    # Away for a minute, in which nobody knows; then what went on meanwhile is no rush of five seconds.
    away = seen.frame(60.0, room=room(sign, is_away=True)).room
    assert away is not None
    assert [away.through_per_s, away.joins_per_s] == [None, None]
    through, joins = later(70, passes=600, tail=6_000)
    assert through == pytest.approx(8.6, abs=2.0)
    assert joins is not None
    # The store came back older: no negative people.
    assert later(71, passes=3, tail=30) == (0, 0)


def test_an_act_the_store_does_not_know_yet_is_shown_as_said() -> None:
    line, seen = Line(), Screening()
    sign = line.sign(1.0)
    told = seen.frame(room=room(sign, acts=Acts(version=5, is_paused=True, told_per_s=3.0, message="m"))).room
    assert told is not None
    assert (told.state, told.told_per_s, told.message, told.acts_version, told.applied) == ("paused", 3.0, "m", 5, False)
    assert seen.frame(room=room(sign._replace(acts=Acts(5)), acts=Acts(5), is_away=True)).room.applied  # type: ignore[union-attr]


def test_another_machines_newer_act_is_shown_before_ours() -> None:
    sign = _waiting(Reason.PAUSED, is_paused=True)._replace(acts=Acts(9, is_paused=True))
    told = Screening().frame(room=room(sign, acts=Acts(5))).room
    assert told is not None
    assert told.state == "paused"


# The spool


def _spooled(seen: Screening, records: int, worker: int = 0, **gauges: float) -> None:
    told = {"max_bytes": 1e6, "reason": INDEX["spool-used" if records else "spool-ok"], "records": records} | gauges
    for name, value in told.items():
        seen.board.slots[worker].gauge(f"sluicegate_spool_{name}").set(value)


def test_without_a_spool_there_are_no_numbers_of_it() -> None:
    assert Screening().frame().spool is None


def test_the_spool_is_the_sum_of_all_workers_and_the_worst_of_them() -> None:
    seen = Screening(workers=2)
    _spooled(seen, 300, bytes=240_000, oldest_seconds=12.34)
    _spooled(seen, 100, worker=1, bytes=80_000, aside_records=2, oldest_seconds=61.0)
    assert msgspec.to_builtins(seen.frame().spool) == {
        "bytes": 320_000,
        "bytes_max": 2_000_000,
        "fullest": 0.24,
        "records": 400,
        "aside": 2,
        "oldest_s": 61.0,
        "replayed_per_s": 0.0,
        "left_s": None,
    }


def test_the_time_left_is_told_while_the_backlog_shrinks_and_not_else() -> None:
    """What comes meanwhile counts as well: replayed is not yet emptied."""
    seen = Screening()
    replayed = seen.board.slots[0].counter("sluicegate_spool_replayed_total")

    def second(records: int) -> tuple[float, float | None]:
        _spooled(seen, records)
        replayed.add(200)
        told = seen.frame().spool
        assert told is not None
        return told.replayed_per_s, told.left_s

    assert second(1_000) == (0.0, None)
    assert [second(1_000 - 100 * n) for n in range(1, 6)][-1] == (200.0, 5.0)
    assert [second(500 + 100 * n) for n in range(1, 6)][-1] == (200.0, None)
    assert second(0)[1] is None


@pytest.mark.parametrize(
    ("spool", "kafka", "wanted"),
    [
        ("spool-used", "ok", ("spool", "spool-used")),
        ("spool-used", "kafka-away", ("kafka", "kafka-away")),
        ("spool-used", "kafka-silent", ("kafka", "kafka-silent")),
        ("spool-full", "kafka-away", ("spool", "spool-full")),
        ("spool-failed", "kafka-silent", ("spool", "spool-failed")),
        ("spool-failed", "ok", ("spool", "spool-failed")),
        ("spool-aside", "kafka-away", ("kafka", "kafka-away")),
        ("spool-full", "ok", ("spool", "spool-full")),
        ("spool-aside", "ok", ("none", "")),
        ("spool-rejected", "kafka-silent", ("kafka", "kafka-silent")),
        ("spool-rejected", "ok", ("none", "")),
        ("spool-ok", "ok", ("none", "")),
    ],
)
def test_a_spool_that_takes_nothing_is_named_before_the_kafka_it_stands_in_for(spool: str, kafka: str, wanted: tuple[str, str]) -> None:
    seen = Screening()
    _spooled(seen, 1, reason=INDEX[spool])
    found = seen.frame(probed=WELL._replace(kafka=kafka)).bottleneck
    assert (found.code, found.reason) == wanted


def test_history_keeps_what_waits() -> None:
    seen = Screening()
    assert dict(zip(POINT, point(seen.frame()), strict=True))["spool.records"] is None
    _spooled(seen, 40)
    assert dict(zip(POINT, point(seen.frame()), strict=True))["spool.records"] == 40


# What limits most


def _limits(**changes: Any) -> Callable[[Screening], Frame]:
    return lambda seen: seen.frame(**changes)


def _waiting(reason: Reason, **acts: Any) -> Sign:
    line = Line()
    line.join(500, 1.0)
    sign = line.sign(2.0)
    return sign._replace(pace=sign.pace._replace(reason=reason), acts=Acts(1, **acts) if acts else Acts())


def _shedding(seen: Screening) -> Frame:
    seen.frame()
    seen.board.slots[0].counter("sluicegate_overload_refused_total", "syncs").add(5)
    return seen.frame()


def _lagging(seen: Screening) -> Frame:
    seen.board.slots[0].gauge("sluicegate_loop_lag_seconds").set(0.2)
    return seen.frame()


TWO: Final = [seating(0), seating(1)]
DEAD: Final = seating(0, is_ready=False, state="stopped")

LIMITS: Final[list[tuple[str, str, Callable[[Screening], Frame]]]] = [
    ("kafka", "kafka-away", _limits(readiness=Readiness("", [seating(0, ended_s=1.0), seating(1)]), probed=WELL._replace(kafka="kafka-away"))),
    ("no-worker", "", _limits(readiness=Readiness("", [seating(0, silent_s=2.0)] * 2), probed=WELL._replace(kafka="kafka-away"))),
    ("starting", "", _limits(readiness=Readiness("starting", TWO))),
    ("draining", "", _limits(readiness=Readiness("draining", TWO))),
    ("no-worker", "", _limits(readiness=Readiness("no worker answers", [DEAD, DEAD]))),
    ("worker", "worker-ended", _limits(readiness=Readiness("", [seating(0, ended_s=2.0), seating(1)]))),
    ("worker", "worker-silent", _limits(readiness=Readiness("", [seating(0, silent_s=2.0), seating(1)]), probed=WELL._replace(kafka="kafka-silent"))),
    ("kafka", "kafka-away", _limits(probed=WELL._replace(kafka="kafka-away"))),
    ("kafka", "kafka-silent", _limits(probed=WELL._replace(kafka="kafka-silent", redis="redis-away"))),
    ("room-store", "room-away", _limits(room=room(_waiting(Reason.CONSUMPTION), is_away=True), probed=WELL._replace(redis="redis-away"))),
    ("redis", "redis-away", _limits(probed=WELL._replace(redis="redis-away"))),
    ("paused", "", _limits(room=room(_waiting(Reason.PAUSED, is_paused=True)))),
    ("closed", "", _limits(room=room(_waiting(Reason.CLOSED, is_closed=True, is_paused=True)))),
    ("overload", "", _shedding),
    ("core", "", _lagging),
    ("downstream", "consumption", _limits(room=room(_waiting(Reason.CONSUMPTION)))),
    ("ceiling", "ceiling", _limits(room=room(_waiting(Reason.CEILING)))),
    ("told", "told", _limits(room=room(_waiting(Reason.TOLD)))),
    ("acks-stopped", "acks-stopped", _limits(room=room(_waiting(Reason.ACKS_STOPPED)))),
    ("spool-filling", "spool-filling", _limits(room=room(_waiting(Reason.SPOOL_FILLING)))),
    ("none", "", _limits()),
    ("none", "", _limits(room=room(Line().sign(1.0)))),
]


@pytest.mark.parametrize(("code", "reason", "frame"), LIMITS, ids=[f"{code}-{index}" for index, (code, _, _) in enumerate(LIMITS)])
def test_what_limits_most_is_named(code: str, reason: str, frame: Callable[[Screening], Frame]) -> None:
    found = frame(Screening(workers=2)).bottleneck
    assert (found.code, found.reason) == (code, reason)


def test_a_full_core_is_named_by_its_worker() -> None:
    seen = Screening(workers=3)
    seen.board.slots[2].gauge("sluicegate_worker_cpu_ratio").set(0.95)
    assert (seen.frame().bottleneck.code, seen.frame().bottleneck.worker) == ("core", 2)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.value not in ("paused", "closed")])
def test_every_reason_of_the_pace_is_a_bottleneck_that_has_a_name(reason: Reason) -> None:
    assert Screening().frame(room=room(_waiting(reason))).bottleneck.code in BOTTLENECKS


# The whole


def test_a_light_keeps_its_instant_until_it_changes() -> None:
    seen = Screening()
    first = seen.frame().lights["kafka"]
    assert seen.frame().lights["kafka"].since_ms == first.since_ms
    changed = seen.frame(probed=WELL._replace(kafka="kafka-silent"))
    assert (changed.lights["kafka"].since_ms, changed.lights["kafka"].colour) == (changed.at_ms, "amber")


def test_workers_are_told_one_by_one() -> None:
    seen = Screening(workers=2)
    slot = seen.board.slots[1]
    for name, value in (("loop_lag_seconds", 0.0123), ("worker_cpu_ratio", 0.3141), ("worker_memory_bytes", 88e6), ("connections", 12)):
        slot.gauge(f"sluicegate_{name}").set(value)
    frame = seen.frame(readiness=Readiness("", [seating(0, silent_s=9.0), seating(1, starts=4)]))
    assert msgspec.to_builtins(frame.workers[1]) == {
        "worker": 1,
        "state": "serving",
        "lag_ms": 12.3,
        "cpu": 0.314,
        "memory_mb": 88.0,
        "restarts": 3,
        "connections": 12,
    }
    assert (frame.workers[0].state, frame.loop_lag_ms) == ("silent", 12.3)


def test_a_frame_of_eight_workers_and_a_line_is_small() -> None:
    """A thousand viewers get one each second."""
    seen = Screening(workers=8)
    _spooled(seen, 1_000_000, bytes=7e9, max_bytes=8e9, oldest_seconds=12_345.6)
    for code in ("overloaded", "rate-limited", "not-your-turn", "not-durable", "pass-expired"):
        seen.board.slots[0].counter("sluicegate_refusals_total", code).add(1)
    sign = _waiting(Reason.CONSUMPTION)
    frame = seen.frame(room=room(sign, acts=Acts(version=1_769_519_405_000_000, message="곧 다시 엽니다" * 10)))
    assert len(msgspec.json.encode(frame)) <= 4_096


def test_a_frame_with_its_machines_and_a_message_is_small_too() -> None:
    seen = Screening(workers=8)
    _spooled(seen, 1_000_000, bytes=7e9, max_bytes=8e9, oldest_seconds=12_345.6)
    others = [summary(seen.frame(probed=WELL._replace(kafka="kafka-away")), f"gateway-{number}.walk.svc:8081") for number in range(64)]
    frame = seen.frame(room=room(_waiting(Reason.CONSUMPTION), acts=Acts(version=1_769_519_405_000_000, message="곧 다시 엽니다" * 10)), machines=others)
    assert len(msgspec.json.encode(frame)) <= 4_500


def test_what_waits_for_kafka_is_the_oldest_of_all_workers() -> None:
    seen = Screening(workers=2)
    for slot, age_s in zip(seen.board.slots, (0.5, 1.25), strict=False):
        slot.gauge("sluicegate_unacked_age_seconds").set(age_s)
        slot.gauge("sluicegate_in_flight_bytes").set(1_000)
    unacked = seen.frame().unacked
    assert (unacked.age_ms, unacked.bytes) == (1_250.0, 2_000)


def test_lag_and_leaving_are_told() -> None:
    sign = _waiting(Reason.CONSUMPTION)._replace(leaving_per_s=0.01)
    told = Screening().frame(room=room(sign, lag=130)).room
    assert told is not None
    assert (told.lag, told.leaving_per_s) == (130, round(0.01 * people_in_line(sign), 3))


def test_a_point_is_what_its_fields_say() -> None:
    frame = Screening().frame(sign=_waiting(Reason.CONSUMPTION))
    told = dict(zip(POINT, point(frame), strict=True))
    assert frame.room is not None
    assert (told["at_ms"], told["room.depth"], told["ack.p99_ms"]) == (frame.at_ms, frame.room.depth, None)
    assert dict(zip(POINT, point(Screening().frame()), strict=True))["room.depth"] is None


def test_reading_a_board_takes_no_count_twice() -> None:
    board = Board.create(3)
    for index, slot in enumerate(board.slots):
        slot.counter("sluicegate_requests_total", "syncs", "202").add(10**index)
    assert board.totals().count("sluicegate_requests_total", "syncs", "202") == 1_111
