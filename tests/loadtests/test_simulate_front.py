"""The whole front in virtual time, with a small city: what must hold however many come, and the same for the same seed."""

import functools
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from gateway.core.overload import Rank
from loadtests import report
from loadtests.judge import slo, verdict
from loadtests.judge.verdict import judge
from loadtests.result import Result, Verdict
from loadtests.scenario import Burst, Downstream, Gateway, Manners, Planned, Scale, Scenario, ScenarioError, Segment, Slo, Stream
from loadtests.scenario_file import load
from loadtests.simulate import __main__ as simulate
from loadtests.simulate.cores import COST_S, Core, How, Quotas, Request, Store
from loadtests.simulate.front import Front
from loadtests.simulate.plan import State, outages_s, plan
from loadtests.simulate.verdict import beyond, judged
from ratelimit.bucket import Limit, take

PEOPLE = 5_000
ROOM: dict[str, Any] = {"name": "signup", "floor_per_s": 20.0, "ceiling_per_s": 60.0, "takes_per_s": 30.0, "lag_target": 150}
CITIZENS = Stream(
    "citizens",
    "applicant",
    [Segment(40, 75.0, 75.0), Segment(80, 25.0, 25.0)],
    manners=Manners(impatient=0.1, leaves=0.2, sleeps=0.15, tabs=0.03, blind=0.05, form_s=8.0, tries=10),
)
DAILY = Stream("daily", "sync", [Segment(120, 50.0, 50.0)], members=1_000, manners=Manners(tries=5))
DAY = Scenario(
    "A small opening day",
    "Tests.",
    7,
    [CITIZENS, DAILY],
    [Slo("line.lost", at_most=0.0), Slo("syncs.p99_ms", at_most=500.0)],
    name="day",
    seconds=120.0,
    drain_s=200.0,
    gateway=Gateway(settings={"room": ROOM}),
    downstream=Downstream(per_s=40.0, knee=200.0),
)


SMALL = msgspec.structs.replace(DAY, streams=[msgspec.structs.replace(CITIZENS, shape=[Segment(10, 20.0, 20.0)])], seconds=10.0, drain_s=60.0)


def played(scenario: Scenario, people: int | None = None) -> Front:
    front = Front(plan(scenario, people))
    front.run()
    return front


@functools.cache
def day() -> Front:
    return played(DAY)


@functools.cache
def result() -> Result:
    return judged(day(), 1.0)


def test_everybody_who_stays_is_through_and_signs_up() -> None:
    front = day()
    states = set(front.crowd.state.tolist())
    assert len(front.people.meant_s) > 10_000
    assert states == {State.DONE, State.LEFT}, front.seen.counts
    assert front.below.consumed == front.below.produced == int(((front.people.stream == 0) & (front.crowd.state == State.DONE)).sum())


def test_nobody_passes_twice_and_no_place_is_given_twice() -> None:
    front = day()
    assert front.seen.passed_twice == front.seen.places_twice == 0
    places = front.room.place[front.room.place >= 0]
    assert len(np.unique(places)) == len(places) == len(front.room.person_at)
    assert front.seen.passes == int((~np.isnan(front.seen.released_s)).sum())


def test_the_door_is_never_wider_than_its_ceiling() -> None:
    """Whatever the pace does in between, in any window: rate x window + burst, and one."""
    released_s = np.sort(day().seen.released_s[~np.isnan(day().seen.released_s)])
    rate = float(ROOM["ceiling_per_s"])
    for window_s in (0.2, 1.0, 10.0):
        most = (np.searchsorted(released_s, released_s + window_s, "left") - np.arange(len(released_s))).max()
        assert most <= rate * window_s + 0.2 * rate + 1


def test_the_verdict_is_a_rehearsal_s() -> None:
    """The same checks, and two more; no bound on milliseconds; a report that says what it is."""
    found = result()
    assert found.verdict is Verdict.PASS, found.reasons
    assert found.is_simulated
    assert [row.metric for row in found.slo] == ["line.lost"]
    assert not found.curves
    assert {check.name: check.count for check in found.checks if check.count} == {}
    assert {"a place is given once", "a pass is given once", "no bucket of syncs gives more than it may"} <= {check.name for check in found.checks}
    assert found.waits is not None
    assert found.waits.door_used >= 0.97
    assert found.waits.most_in_1s <= 1.0
    assert found.waits.most_in_10s <= 1.0
    assert found.honesty.meant == found.honesty.sent == len(day().people.meant_s)
    assert any("syncs.p99_ms" in reason for reason in found.reasons)
    assert len({len(column) for column in found.timeline.values()}) == 1


def test_where_no_bound_has_a_meaning_nothing_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it called a loss, though one was found: nobody knows what else was not judged."""
    front = played(msgspec.structs.replace(SMALL, slo=[Slo("syncs.p99_ms", at_most=500.0)]))
    found = judged(front, 1.0)
    assert found.verdict is Verdict.BROKE
    assert found.reasons[0] == "No bound of this scenario has a meaning in virtual time: there is nothing to judge"
    front.seen.passed_twice = 1
    assert judged(front, 1.0).verdict is Verdict.BROKE
    front = played(SMALL)
    front.seen.passed_twice = 1
    assert judged(front, 1.0).verdict is Verdict.LOST
    monkeypatch.setattr(verdict, "judge", lambda of: msgspec.structs.replace(judge(of), verdict=Verdict.BROKE))
    assert judged(front, 1.0).verdict is Verdict.BROKE


def test_it_is_written_as_any_report(tmp_path: Path) -> None:
    page = report.write(tmp_path, result()).read_text(encoding="utf-8")
    assert "SIMULATED" in page
    assert report.read(tmp_path / "result.json").checks == result().checks


def test_the_same_seed_is_the_same_day() -> None:
    other = judged(played(DAY), 1.0)
    assert msgspec.json.encode(other) == msgspec.json.encode(result())
    assert plan(msgspec.structs.replace(DAY, seed=8)).meant_sha256 != other.meant_sha256


def test_without_a_line_downstream_collapses() -> None:
    """The 18 December: the same people, no room."""
    crowd = msgspec.structs.replace(DAY, gateway=Gateway(), seconds=120.0, drain_s=60.0, downstream=Downstream(per_s=30.0, knee=200.0))
    front = played(crowd)
    took = np.array(front.seen.samples["downstream_per_s"])
    assert took[:10].max() > 25
    assert took[60:].mean() < 10
    held = played(msgspec.structs.replace(crowd, gateway=Gateway(settings={"room": ROOM | {"floor_per_s": 5.0, "takes_per_s": 25.0}})))
    assert np.array(held.seen.samples["downstream_per_s"])[60:150].mean() > 20


# The buckets


def test_nobody_sends_more_than_their_bucket_has() -> None:
    """Fifty members who send 100/s: burst 60 and one in ten seconds each, and the check sees it."""
    daily = msgspec.structs.replace(DAILY, shape=[Segment(60, 100.0, 100.0)], members=50)
    front = played(msgspec.structs.replace(DAY, streams=[daily], seconds=60.0, drain_s=0.0, gateway=Gateway(), downstream=None))
    paid = front.quotas.paid["syncs"]
    counts = np.bincount(np.array(paid.who), minlength=50)
    assert counts.max() <= 60 + 60 / 10 + 1
    assert counts.min() >= 60
    assert front.seen.counts["sync limited by user"] > 1_000
    assert {check.name: check.count for check in judged(front, 1.0).checks}["no bucket of syncs gives more than it may"] == 0


def test_a_bucket_that_gives_too_much_is_seen() -> None:
    limit, full_us, at_us = Limit.per(10, 1, 5), 0, list[int]()
    for now_us in range(0, 3_000_000, 10_000):
        verdict = take(limit, full_us, now_us)
        full_us = verdict.full_at_us
        at_us += [now_us] * (verdict.retry_after_us == 0)
    whose = np.zeros(len(at_us), np.int64)
    assert beyond(np.array(at_us), whose, limit) == []
    assert beyond(np.array([*at_us, at_us[-1]]), np.append(whose, 0), limit) == [(0, 1)]
    assert beyond(np.array([*at_us, at_us[-1]]), np.append(whose, 1), limit) == []  # somebody else's


def test_a_herd_at_one_instant_is_all_served_at_last() -> None:
    """50,000 phones in one second, two workers: refused early, told when, and nobody gives up."""
    herd = Stream("herd", "sync", bursts=[Burst(50_000, at_s=1.0, jitter_s=1.0)], members=50_000, manners=Manners(tries=20))
    front = played(msgspec.structs.replace(DAY, streams=[herd], seconds=60.0, drain_s=60.0, gateway=Gateway(), downstream=None))
    assert (front.crowd.state == State.DONE).all(), front.seen.counts
    assert front.seen.counts["refused"] > 1_000
    assert max(front.seen.samples["in_flight"]) <= 4_000
    assert max(front.seen.samples["worker_cpu"]) <= 1.001 + max(front.seen.samples["loop_lag_ms"]) / 1_000


# Faults


def test_kafka_away_is_said_at_once_and_nothing_is_lost() -> None:
    daily = msgspec.structs.replace(DAILY, manners=Manners(tries=40))
    away = msgspec.structs.replace(DAY, streams=[daily], gateway=Gateway(), downstream=None, faults=[Planned("kafka.pause", 20.0, 15.0)])
    front = played(away)
    calls = front.seen.calls.whole()
    frozen = calls[(calls["meant_s"] > 23) & (calls["meant_s"] < 34)]
    assert (frozen["status"] == 503).all()
    assert (frozen["done_s"] - frozen["meant_s"]).max() < 0.1
    assert (front.crowd.state == State.DONE).all()


def test_redis_away_keeps_places_and_lets_nobody_in() -> None:
    away = msgspec.structs.replace(DAY, faults=[Planned("redis.pause", 30.0, 10.0)])
    front = played(away)
    released_s = front.seen.released_s
    assert not ((released_s > 34) & (released_s < 40)).any()
    assert set(front.crowd.state.tolist()) == {State.DONE, State.LEFT}
    found = judged(front, 1.0)
    assert found.verdict is Verdict.PASS, found.reasons
    assert [mark.what for mark in found.marks] == ["redis.pause"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (msgspec.structs.replace(DAY, faults=[Planned("worker.kill", 10.0)]), "worker.kill has no meaning in virtual time"),
        (msgspec.structs.replace(DAY, faults=[Planned("redis.fail_over", 10.0)]), "played are kafka.kill, kafka.pause"),
        (msgspec.structs.replace(DAY, gateway=Gateway(loses_one=True)), "loses_one is a self-test"),
        (msgspec.structs.replace(DAY, gateway=Gateway(settings={"rooom": {}})), "rooom"),
    ],
)
def test_what_has_no_meaning_is_refused_in_a_sentence(wrong: Scenario, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        plan(wrong)


# Growing


def test_a_city_grows_with_all_that_stands_for_its_size() -> None:
    small = msgspec.structs.replace(DAY, scale=Scale(people=10.0))
    made = plan(small, PEOPLE)
    room, below = made.config.room, made.scenario.downstream
    assert made.grown == pytest.approx(PEOPLE / 500, rel=0.2)
    assert int((made.people.stream == 0).sum()) == pytest.approx(PEOPLE, rel=0.05)
    assert room.floor_per_s == pytest.approx(20.0 * made.grown)
    assert below is not None
    assert below.per_s == pytest.approx(40.0 * made.grown)
    assert below.knee == pytest.approx(200.0 * made.grown)
    assert made.scenario.streams[1].members == pytest.approx(1_000 * made.grown, rel=0.01)
    assert made.config.limits == plan(small).config.limits  # its clock is the city's own
    hurried = plan(msgspec.structs.replace(small, scale=Scale(people=10.0, clock=2.0)), PEOPLE).config.limits.policies[0].rules
    assert [(rule.by, rule.tokens) for rule in hurried] == [("global", 40_000), ("route", 40_000), ("address", 500), ("user", 1)]
    assert played(small, PEOPLE).seen.passes > 0.7 * PEOPLE


def test_each_is_who_they_are_whatever_the_order_of_streams() -> None:
    made = plan(DAY)
    people = made.people
    assert (np.diff(people.meant_s) >= 0).all()
    assert set(people.member[people.stream == 0].tolist()) == {-1}
    assert np.bincount(people.member[people.stream == 1]).max() <= -(-int((people.stream == 1).sum()) // 1_000)
    assert float((people.leave_s < 1e9)[people.stream == 0].mean()) == pytest.approx(0.2, abs=0.03)


def test_outages_are_in_order() -> None:
    faults = [Planned("kafka.kill", 50.0, 5.0, times=2, every_s=20.0), Planned("kafka.pause", 10.0, 1.0), Planned("redis.pause", 1.0, 1.0)]
    assert outages_s(faults, "kafka") == [(10.0, 11.0), (50.0, 55.0), (70.0, 75.0)]


@pytest.mark.parametrize("name", ["smoke", "ineligible", "fifty-fold"])
def test_the_shipped_scenarios_can_be_played(name: str) -> None:
    found = judged(played(load(name, slo.METRICS)), 1.0)
    assert found.verdict is Verdict.PASS, found.reasons


# One worker


def test_a_worker_takes_what_its_core_can() -> None:
    """Three seconds of twice as many as it can serve: it serves, refuses the rest, and is never later than its sockets hold."""
    made, draw = plan(DAY).config, random.Random(1)
    core = Core(0, 1, made, Quotas(made.limits, has_room=False), Store(0.0, [], draw), draw)
    rate, accepted = round(2 / COST_S[Rank.SYNC]), 0
    for step in range(30):
        core.begin(step / 10, 0.1, 0.0)
        for number in range(rate // 10):
            accepted += core.ask(Request(Rank.SYNC, number % 97, step * rate + number, draw.random()), step / 10 + number / rate).how is How.ACCEPTED
        core.end((step + 1) / 10)
    assert core.busy_s <= 3.3
    assert accepted >= 0.5 * 3 / COST_S[Rank.SYNC]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--scenario", "smoke", "--out", str(tmp_path)]) == 0
    assert "smoke: PASS" in capsys.readouterr().out
    assert list(tmp_path.glob("smoke-simulated-*/report.html"))
    assert simulate.main(["--scenario", "worker-massacre", "--out", str(tmp_path)]) == 2
    assert "no meaning in virtual time" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [["--people", "0"], ["--people", "-5"], ["--workers", "0"], ["--workers", "-1"]])
@pytest.mark.parametrize("scenario", ["smoke", "surge"])
def test_nobody_and_no_worker_are_refused(asked: list[str], scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not taken for the default: 0 is no number of people."""
    assert simulate.main(["--scenario", scenario, *asked]) == 2
    assert capsys.readouterr().err == f"simulate: {' '.join(asked)}: want 1 or more\n"
