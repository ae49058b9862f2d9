"""benchmarks/bench_line.py and its parts: the arithmetic on people, passes and downstream, and what is sent."""

from pathlib import Path

import pytest

from benchmarks import bench_line, plan, traffic
from benchmarks import line_report as line
from benchmarks.arrivals import Phase
from benchmarks.bench_line import exit_code, generator_void, join, look, others_knocks, rate_ratio, script_calls, settings
from benchmarks.command import EXIT_GENERATOR, EXIT_MISSED
from benchmarks.downstream import Desk, Taken, rate_at
from benchmarks.line_report import Flow
from benchmarks.overload_report import Verdict
from benchmarks.people import Job, Results, Walked, is_placed, most_in, people_of, place_in
from gateway import config
from gateway.core.ticket import Key, Office

RATE_PER_S = 64.0  # whose instants floats hold exactly
OFFICE = Office("bench", 1, [Key("1", bytes(32))], bytes(32))

# The people


def job(**fields: object) -> Job:
    plain: Job = {
        "base": "",
        "room": "bench",
        "seed": 1,
        "people": 2_000,
        "is_refilled": False,
        "over_s": 4.0,
        "within_s": 40.0,
        "leave": 0.35,
        "sleep": 0.15,
        "sleep_s": (3.0, 30.0),
        "cut": 0.6,
        "form_s": 30.0,
        "pause_s": 0.5,
        "seconds": 1.0,
        "results": "",
    }
    return {**plain, **fields}  # type: ignore[typeddict-item]


def test_the_crowd_is_of_the_shares_it_was_told_and_the_same_again() -> None:
    people = people_of(job())
    leave = [one for one in people if one.leaves_after_s < 40]
    sleep = [one for one in people if one.away_from_s < 40]
    cut = [one for one in people if one.cut_after_s < 40]
    assert [len(some) / 2_000 for some in (leave, sleep, cut)] == pytest.approx([0.35, 0.15, 0.6], abs=0.03)
    assert all(3 <= one.away_s <= 30 and one not in leave for one in sleep)
    assert all((one.form_s, one.pause_s) == (30.0, 0.5) for one in people)
    assert [one.cut_after_s for one in people] == [one.cut_after_s for one in people_of(job())] != [one.cut_after_s for one in people_of(job(seed=2))]
    assert len({one.phone.known.join_id for one in people + people_of(job())}) == 4_000


def test_a_place_is_read_from_a_ticket_and_a_provisional_one_has_none() -> None:
    ticket = OFFICE.ticket(4_711, 1)
    assert (place_in(ticket), is_placed(ticket), is_placed(OFFICE.provisional(bytes(8), 1))) == (4_711, True, False)


def test_the_most_in_a_window_does_not_count_both_ends() -> None:
    assert most_in([], 1.0) == 0
    assert most_in([0.0, 1.0, 2.0], 1.0) == 1
    assert most_in([2.0, 0.0, 0.5, 0.999, 1.25], 1.0) == 3


# Who is live, and what the door makes of it


def test_live_is_who_has_a_place_and_no_pass_and_does_not_sleep() -> None:
    rows: list[tuple[Walked, list[tuple[float, float]]]] = [
        (Walked(), []),
        (Walked(joined_s=1, passed_s=5), [(1, 5)]),
        (Walked(joined_s=1, left_s=3), [(1, 3)]),
        (Walked(joined_s=1), [(1, 9)]),
        (Walked(joined_s=1, passed_s=8, away=[(2, 3), (4, 6)]), [(1, 2), (3, 4), (6, 8)]),
        (Walked(joined_s=4, passed_s=8, away=[(2, 3)]), [(4, 8)]),  # slept before there was a place
        (Walked(joined_s=1, passed_s=5, left_s=7), [(1, 5)]),
    ]
    for walked, want in rows:
        assert list(line.live_spans([walked], 9)) == want


def test_a_time_is_crowded_while_so_many_spans_hold_it() -> None:
    spans = [(0.0, 10.0), (1.0, 4.0), (4.0, 6.0), (8.0, 9.0)]
    assert line.crowded(spans, 1) == [(0, 10)]
    assert line.crowded(spans, 2) == [(1, 6), (8, 9)]
    assert line.crowded(spans, 3) == []


def test_only_what_is_released_in_crowded_time_counts_as_used() -> None:
    assert line.used([1, 2, 3, 7, 9.5], [(0, 4), (9, 10)], 1.0) == (0.8, 5.0)
    assert line.used([1], [], 1.0) == (0.0, 0.0)


def walked(number: int, rate: float = RATE_PER_S) -> Walked:
    """The number-th of a line that goes as it should."""
    at_s = 100 + number / rate
    return Walked(place=number, joined_s=100, called_s=at_s - 2, passed_s=at_s, released_s=at_s, done_s=at_s, knocks=1)


def test_a_door_that_keeps_its_rate_meets_every_promise() -> None:
    of = line.door("c", RATE_PER_S, [walked(number) for number in range(1_000)], [], {"passes 201": 1_000}, errors=0, joined_elsewhere=0)
    assert (of.most, of.passes, of.knocks_per_pass, of.lost, of.moved) == ((64, 640), 1_000, 1.0, 0, 0)
    assert of.used == pytest.approx(1.0, abs=0.01)
    assert of.used_s == pytest.approx(9.6, abs=0.1)  # then fewer than two lobbies are left
    assert of.called_s == pytest.approx((2.0, 2.0))
    assert all(verdict.is_met for verdict in [*line.door_verdicts(of, ""), line.used_verdict(of, "")])
    assert len(line.door_cells(of)) == len(line.DOOR_HEADINGS)


def test_each_promise_of_the_door_can_be_missed() -> None:
    good = [walked(number) for number in range(1_000)]
    lost, fallen = Walked(place=5_000, joined_s=100), Walked(place=3, joined_s=100, left_s=101, has_moved=True)
    cases: list[tuple[list[Walked], dict[str, int], list[bool]]] = [
        ([walked(number, 80) for number in range(1_000)], {}, [False, False, True, True, True]),
        ([*good, lost], {}, [True, True, False, True, True]),
        ([*good, fallen], {}, [True, True, True, False, True]),
        (good, {"place 503": 1}, [True, True, True, True, False]),
    ]
    for people, statuses, want in cases:
        of = line.door("c", RATE_PER_S, people, [], statuses, errors=0, joined_elsewhere=0)
        assert [verdict.is_met for verdict in line.door_verdicts(of, "")] == want
    slow = line.door("d", RATE_PER_S, [walked(number, 45) for number in range(1_000)], [], {}, errors=0, joined_elsewhere=0)
    assert not line.used_verdict(slow, "").is_met


def test_who_does_not_behave_passes_the_same_door_and_is_not_waited_for() -> None:
    crowd = [walked(number) for number in range(0, 1_000, 2)]
    rude = [walked(number) for number in range(1, 1_000, 2)]
    for one in rude:
        one.knocks, one.called_s = 40, one.joined_s
    of = line.door("d", RATE_PER_S, crowd, rude, {}, errors=0, joined_elsewhere=0)
    assert (of.most, of.knocks_per_pass) == ((64, 640), 1.0)
    assert of.called_s[1] == pytest.approx(2.0)
    assert others_knocks(Results(rude, {}, [], 0)) == 40
    assert line.later_verdict(of, of, "").is_met
    assert not line.later_verdict(of._replace(called_s=(2, 3.1)), of, "").is_met


# Downstream


def test_a_desk_takes_its_rate_and_makes_little_good() -> None:
    """Rows of (now, may take, took); nobody comes for five seconds, and half a second of that is made good."""
    desk = Desk(0.0)
    for now_s, may, took in ((0.05, 0, 0), (0.1, 1, 1), (0.15, 0, 0), (0.2, 1, 1), (5.2, 5, 0), (5.25, 5, 5), (5.3, 0, 0)):
        assert (now_s, desk.may_take(10, now_s)) == (now_s, may)
        taken = desk.took(took, now_s)
    assert (taken.at_s, taken.consumed) == (5.3, 7)
    assert taken.could_take == pytest.approx(53.0)


def test_a_rate_is_its_phases_and_the_last_one_goes_on() -> None:
    phases = [Phase(10, 60), Phase(5, 20), Phase(1, 100)]
    assert [rate_at(phases, at_s) for at_s in (0, 9.9, 10, 14.9, 15, 99)] == [60, 60, 20, 20, 100, 100]


def flow(taken: list[Taken], passed_s: list[float], form_s: float = 10.0) -> Flow:
    return Flow(passed_s, [at_s + form_s for at_s in passed_s], taken, [(0.0, 1.0), (50.0, 2.0)], form_s)


def test_a_phase_is_told_by_what_was_taken_and_what_was_past_the_door() -> None:
    """Two pass a second; downstream takes two and from 100 s on one: for a form's time one a second too many is past the door."""
    passed_s = [number / 2 for number in range(200)] + [100.0 + number for number in range(40)]
    seen = [Taken(100.0 + step, 200.0 + step, 180 + step) for step in range(41)]
    of = line.stretch(flow(seen, passed_s), 1.0, 99.5, 99.5, 140.0)
    assert (of.takes_per_s, of.seconds, of.share, of.best, of.rate_end_per_s) == (1.0, 40.0, 1.0, 1.0, 2.0)
    assert [of.lag_max, of.past_door, of.lag_end] == pytest.approx([11, 11, 11], abs=1)
    assert of.beyond <= 1


def test_no_door_does_better_than_those_who_were_past_it() -> None:
    """Downstream takes 4/s from 100 s on, and for ten seconds only 2/s can come, whatever the door does."""
    passed_s = [number / 2 for number in range(240)]
    seen = [Taken(100.0 + step, 4.0 * step, 180 + 2 * step) for step in range(21)]
    of = line.stretch(flow(seen, passed_s), 4.0, 99.5, 99.5, 120.0)
    assert of.share == 0.5
    assert of.best == pytest.approx(0.75, abs=0.04)
    assert line.stretch(flow(seen, passed_s), 4.0, 80.0, 99.5, 120.0).best == 1.0  # the change was known long ago
    assert line.best_of([of, of._replace(takes_per_s=12.0, best=1.0)]) == pytest.approx((of.best + 3) / 4)


def test_the_beginning_is_not_judged() -> None:
    phases = [Phase(80, 60), Phase(80, 20)]
    seen = [Taken(float(at_s), float(at_s), at_s) for at_s in range(161)]
    rows = line.stretches(flow(seen, []), phases, 0.0, 60.0)
    assert [(row.takes_per_s, row.seconds) for row in rows] == [(60, 19), (20, 79)]
    assert [row.takes_per_s for row in line.stretches(flow(seen, []), phases, 0.0, 80.0)] == [20]
    assert len(line.stretch_cells(rows[0])) == len(line.STRETCH_HEADINGS)


# What is sent, and how it ends


def test_the_settings_are_valid_and_nobody_meets_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(settings({"epoch": 1, "floor_per_s": 50.0, "ceiling_per_s": 50.0, "consumer_group": "line.1"}, "line.1"))
    loaded = config.load(path, {})
    assert (loaded.room.name, loaded.room.consumer_group, loaded.deliver.signups_topic) == ("bench", "line.1", "line.1")
    assert {policy.charge for policy in loaded.limits.policies} == {"syncs", "samples", "signups", "joins"}
    assert all(rule.tokens >= 100_000 for policy in loaded.limits.policies for rule in policy.rules)


def test_requests_say_how_long_they_are() -> None:
    head, _, body = join("7d1e0f5e-8a51-4f0e-9d0c-0c6f2a1c3b4d").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert look("t" * 64).endswith(b"Waiting-Room-Ticket: " + b"t" * 64 + b"\r\n\r\n")
    assert traffic.unframed(traffic.framed([look("a"), join("b")])) == [look("a"), join("b")]


def sample(name: str, requests: int, seconds: float) -> plan.Sample:
    return plan.Sample(name, 1, requests, {}, 0, 0, seconds, 1.0, 0.0, 1.0, 0.5, 0.5, was_generator_bottleneck=False, p50_ms=1.0, p99_ms=1.0, error="")


def test_rates_are_compared_within_their_pair() -> None:
    pair = plan.Pair(bench_line.GATEWAY_PLACE, bench_line.BARE_GET)
    rows = [(800, 1_000), (400, 500), (90, 100)]  # the machine was slower for both
    measured = [(pair, plan.PairSample(number, sample("place", ours, 1.0), sample("bare GET", bare, 1.0))) for number, (ours, bare) in enumerate(rows)]
    assert rate_ratio(measured).median == 0.8
    assert bench_line.rate_verdict("a", measured, 0.8, "").is_met
    assert not bench_line.rate_verdict("a", measured, 0.81, "").is_met


def test_redis_calls_are_those_of_scripts() -> None:
    assert script_calls({"cmdstat_evalsha": {"calls": 5}, "cmdstat_eval": {"calls": 2}, "cmdstat_setbit": {"calls": 99}}) == 7
    assert script_calls({}) == 0


def test_a_busy_generator_voids_a_part_and_a_missed_promise_tells_only_where_asked() -> None:
    assert not generator_void({"people": 0.89})
    assert "the rude ones was busy 95%" in generator_void({"people": 0.5, "the rude ones": 0.95})
    met, missed, void = (Verdict("", "", is_met, why) for is_met, why in ((True, ""), (False, ""), (True, "busy")))
    assert [exit_code(some, is_enforced=enforced) for some, enforced in (([met], True), ([met, missed], False), ([met, missed], True))] == [0, 0, EXIT_MISSED]
    assert exit_code([missed, void], is_enforced=True) == EXIT_GENERATOR
