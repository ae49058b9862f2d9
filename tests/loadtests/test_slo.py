"""Every metric, measured on a rehearsal made by hand; nan where there is nothing to measure; bounds to the edge."""

import math
from typing import Any, Final

import pytest

from loadtests.judge.slo import CATALOGUE, METRICS, Figures, metric_of, row, shown
from loadtests.observed import Observed
from loadtests.recording import CUT, NO_ANSWER, Call, Fate
from loadtests.result import Mark
from loadtests.scenario import Slo
from loadtests.scenario_file import SCENARIOS, load, of_streams
from tests.loadtests.observations import CITIZENS, call, fate, frozen, healthy, observed, person, samples, scenario, steady_line

ALL: Final = (0.0, 40.0)


def measured(name: str, of: Observed, span: tuple[float, float] = ALL) -> float:
    return metric_of(name, of.scenario).measure(Figures.of(of), span)


def test_the_names_that_scenarios_may_use() -> None:
    calls = ("syncs", "signups", "tickets", "place", "passes", "all")
    stats = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "accepted_share", "refused_share", "unanswered_share", "error_share", "first_try_accepted_share", "per_s")
    assert {f"{name}.{stat}" for name in calls for stat in stats} < METRICS
    assert {"syncs.delivered_share", "signups.delivered_share", "syncs.accepted_per_s", "syncs.accepted_p99_ms"} < METRICS
    assert "place.delivered_share" not in METRICS
    line = ("depth_max", "wait_p50_s", "wait_p99_s", "estimate_error_p50", "called_to_pass_p99_s", "overtaken_s", "lost", "left_share")
    assert {f"line.{name}" for name in line} < METRICS
    assert {f"door.{name}" for name in ("used", "most_in_1s", "most_in_10s", "drain_deepest_minute", "per_s")} < METRICS
    assert {"downstream.per_s", "downstream.used", "downstream.lag_max", "gateway.loop_lag_p99_ms", "gateway.shed_share", "recovery.s"} < METRICS


@pytest.mark.parametrize("name", sorted(METRICS))
def test_of_nothing_nothing_is_measured_and_no_bound_is_met(name: str) -> None:
    of = observed(samples={})
    assert math.isnan(measured(name, of))
    for slo in (Slo(name, at_most=1e9), Slo(name, at_least=-1e9)):
        found = row(Figures.of(of), slo)
        assert (found.is_met, found.shown) == (False, "not measured")


@pytest.mark.parametrize("name", sorted(METRICS))
def test_each_is_said_in_words(name: str) -> None:
    metric = CATALOGUE[name]
    assert metric.says
    assert metric.unit in {"ms", "s", "%", "/s", "people", "sign-ups", "records"}


# Requests


def test_what_is_accepted_refused_failed_and_unanswered_is_everything() -> None:
    statuses = [200, 201, 202, 303, 400, 429, 503, 500, 502, NO_ANSWER, CUT]
    of = observed([call(number, status=status) for number, status in enumerate(statuses)])
    told = {name: round(measured(f"syncs.{name}", of) * len(statuses)) for name in ("accepted_share", "refused_share", "error_share", "unanswered_share")}
    assert told == {"accepted_share": 3, "refused_share": 3, "error_share": 4, "unanswered_share": 2}  # a 303 is none of them


def test_latency_is_corrected() -> None:
    """The self-test of issue 6."""
    of = frozen()
    assert 3_000 < measured("syncs.p95_ms", of) < 4_700
    assert measured("syncs.p50_ms", of) == pytest.approx(5, rel=0.01)
    assert measured("syncs.max_ms", of) == pytest.approx(5_005)
    assert not row(Figures.of(of), Slo("syncs.p99_ms", at_most=500.0)).is_met
    assert row(Figures.of(frozen(0.0, 0.0)), Slo("syncs.p99_ms", at_most=500.0)).is_met


def test_an_answer_that_never_came_took_as_long_as_the_client_waited() -> None:
    of = observed([*(call(1.0) for _ in range(9)), call(1.0, 20.0, status=NO_ANSWER), call(1.0, 0.002, status=503)])
    assert measured("syncs.max_ms", of) == pytest.approx(20_000)
    assert measured("syncs.accepted_max_ms", of) == pytest.approx(10)


def test_requests_belong_to_the_span_in_which_they_were_meant() -> None:
    of = observed([call(9.999, 5.0), call(10.0, 0.1), call(19.999, 0.2), call(20.0, 7.0)])
    assert measured("syncs.max_ms", of, (10.0, 20.0)) == pytest.approx(200)
    assert measured("syncs.per_s", of, (10.0, 20.0)) == pytest.approx(0.2)


def test_of_a_span_beyond_the_end_only_what_was_lived_counts() -> None:
    of = observed([call(30.0), call(35.0, status=503)], ended_s=40.0)
    assert measured("syncs.per_s", of, (30.0, 60.0)) == pytest.approx(0.2)
    assert measured("syncs.accepted_per_s", of, (30.0, 60.0)) == pytest.approx(0.1)


def test_by_call_by_stream_and_all() -> None:
    of = observed(
        [
            call(1.0, 0.1),
            call(1.0, 0.2, call=Call.PLACE, stream=CITIZENS, late_s=math.nan, status=200),
            call(1.0, 0.3, call=Call.TICKETS, stream=CITIZENS, status=503),
        ]
    )
    assert [round(measured(f"{name}.max_ms", of)) for name in ("syncs", "place", "tickets", "all", "daily", "citizens")] == [100, 200, 300, 300, 100, 300]
    assert measured("citizens.accepted_share", of) == 0.5
    assert {"daily.p99_ms", "citizens.delivered_share"} < of_streams(of.scenario, METRICS)


@pytest.mark.parametrize("name", sorted(of_streams(scenario(), METRICS)))
def test_every_metric_of_a_stream_that_a_scenario_may_name_exists(name: str) -> None:
    assert metric_of(name, scenario()).says


def test_the_first_try() -> None:
    of = observed([call(1.0, status=503), call(2.0, tries=2, late_s=math.nan), call(3.0)])
    assert measured("syncs.first_try_accepted_share", of) == 0.5
    assert measured("syncs.accepted_share", of) == pytest.approx(2 / 3)


def test_delivered_is_accepted_in_the_end() -> None:
    """0: at once; 1: at the second try; 2: never; 3: still at it; 4: a sign-up; 5: of a later span."""
    again = math.nan
    of = observed(
        [
            *(call(1.0, arrival=0), call(1.0, arrival=1, status=503), call(12.0, arrival=1, tries=2, late_s=again)),
            *(call(1.0, arrival=2, status=503), call(1.0, arrival=3, status=NO_ANSWER), call(11.0, arrival=5, status=503)),
            *(call(1.0, arrival=4, stream=CITIZENS, call=Call.TICKETS), call(5.0, arrival=4, stream=CITIZENS, call=Call.SIGNUPS, late_s=again)),
        ],
        [fate(0), fate(0, sample=1), fate(1), fate(2, Fate.REFUSED), fate(4, stream=CITIZENS), fate(5, Fate.REFUSED)],
    )
    assert measured("syncs.delivered_share", of, (0.0, 10.0)) == pytest.approx(3 / 5)
    assert measured("daily.delivered_share", of) == pytest.approx(3 / 6)
    assert measured("signups.delivered_share", of) == 1
    assert measured("citizens.delivered_share", of) == 1
    assert measured("all.delivered_share", of) == pytest.approx(4 / 7)


# The line


def test_waits_of_those_who_joined_then() -> None:
    people = [person(place, 1.0, 2.0 + place) for place in range(10)] + [person(10, 20.0, 39.0), person(11, 21.0, left_s=22.0), person(12, 22.0)]
    of = observed(people=people)
    assert measured("line.wait_p50_s", of, (0.0, 10.0)) == pytest.approx(5.0)
    assert measured("line.wait_p99_s", of, (0.0, 10.0)) == pytest.approx(10.0)
    assert measured("line.wait_p99_s", of) == pytest.approx(19.0)
    assert measured("line.left_share", of, (20.0, 30.0)) == pytest.approx(1 / 3)
    assert measured("line.left_share", of, (0.0, 10.0)) == 0
    assert math.isnan(measured("line.left_share", of, (10.0, 20.0)))  # who joins at 20 s is of the next span


def test_the_estimates_error_is_of_those_who_waited() -> None:
    """20 s for 10 s: 100 %; 9 s for 10 s: 10 %; 8 for 10: 20 %.  Under five seconds of wait, or without an estimate, nobody is asked."""
    waited = [person(place, 1.0, 11.0, estimated_s=told) for place, told in enumerate((20.0, 9.0, 8.0))]
    short = [person(3, 1.0, 5.9, estimated_s=100.0), person(4, 1.0, 1.1, estimated_s=9.0), person(5, 1.0, 30.0)]
    assert measured("line.estimate_error_p50", observed(people=[*waited, *short])) == pytest.approx(0.2)
    assert measured("line.estimate_error_p50", observed(people=[person(0, 1.0, 6.0, estimated_s=0.0)])) == 1


def test_called_to_pass() -> None:
    people = [person(place, 1.0, 10.0, called_s=9.0 - place) for place in range(3)] + [person(3, 1.0, 10.0)]
    assert measured("line.called_to_pass_p99_s", observed(people=people)) == pytest.approx(3.0)


def test_overtaken_and_lost_by_when_they_joined() -> None:
    overtaken = [person(0, 1.0, 30.0), *(person(place, 12.0, 12.0 + place / 10) for place in range(1, 11))]
    of = observed(people=overtaken, samples=samples(40, door_per_s=10.0))
    assert measured("line.overtaken_s", of, (0.0, 10.0)) == pytest.approx(1.0)
    assert measured("line.overtaken_s", of, (10.0, 20.0)) == 0
    of = observed(people=[person(0, 1.0, failed="422"), person(1, 12.0, 14.0)])
    assert [measured("line.lost", of, span) for span in ((0.0, 10.0), (10.0, 20.0))] == [1, 0]


def test_depth_is_the_gateways_or_what_can_be_counted() -> None:
    people = [person(0, 1.0, 9.0), person(1, 2.0, 8.0), person(2, 20.0, 29.0)]
    assert measured("line.depth_max", observed(people=people)) == 2
    assert measured("line.depth_max", observed(people=people), (10.0, 40.0)) == 1
    assert measured("line.depth_max", observed(people=people, samples=samples(40, depth=range(40)))) == 38  # the sample at 40 s is after the end


def test_the_door() -> None:
    of = observed(people=steady_line(300, 10.0), samples=samples(40, door_per_s=10.0))
    assert measured("door.used", of, (1.0, 40.0)) == pytest.approx(1.0, abs=0.02)
    assert measured("door.per_s", of, (5.0, 15.0)) == pytest.approx(10.0)
    assert measured("door.most_in_1s", of) == pytest.approx(10 / 15, rel=0.1)
    assert measured("door.most_in_10s", of) == pytest.approx(100 / 105, rel=0.02)
    assert math.isnan(measured("door.drain_deepest_minute", of))
    minutes = observed(people=steady_line(1_500, 10.0), samples=samples(120, door_per_s=10.0), ended_s=120.0)
    assert measured("door.drain_deepest_minute", minutes, (0.0, 120.0)) == pytest.approx(1.0, abs=0.02)


# All else


def test_downstream_and_gateway() -> None:
    columns: dict[str, Any] = {
        "downstream_per_s": [5.0] * 20 + [10.0] * 20,
        "downstream_could": 10.0,
        "consumer_lag": range(40),
        "loop_lag_ms": range(40),
        "shed_per_s": 0.5,
    }
    of = observed([call(number) for number in range(40)], samples=samples(40, **columns))
    assert measured("downstream.per_s", of) == pytest.approx(7.5)
    assert measured("downstream.used", of, (0.0, 20.0)) == pytest.approx(0.5)
    assert measured("downstream.lag_max", of, (0.0, 20.0)) == 18
    assert measured("gateway.loop_lag_p99_ms", of, (0.0, 20.0)) == 18
    assert measured("gateway.shed_share", of) == pytest.approx(0.5)


def test_what_was_shed_is_of_what_was_sent_then() -> None:
    of = observed([call(5.0, sent_s=15.0), call(16.0), call(17.0, 9.0, sent_s=25.0)], samples=samples(40, shed_per_s=0.1))
    assert measured("gateway.shed_share", of, (10.0, 20.0)) == pytest.approx(0.5)


def recovering(again_s: float, *, marks: list[Mark] | None = None, **over: Any) -> Observed:
    """Ten arrivals a second; refused from 10 s until `again_s`."""
    rows = [call(at / 10, status=202 if at < 100 or at / 10 >= again_s else 503) for at in range(300)]
    return observed(rows, marks=[Mark("Kafka frozen", 10.0, 15.0)] if marks is None else marks, **over)


@pytest.mark.parametrize(("again_s", "recovered_s"), [(12.0, 0.0), (15.0, 0.0), (15.1, 1.0), (17.0, 2.0), (26.9, 12.0), (27.1, math.nan)])
def test_recovery_is_the_first_second_since_which_all_is_well_for_three(again_s: float, recovered_s: float) -> None:
    of = recovering(again_s, ended_s=30.0)
    assert measured("recovery.s", of) == pytest.approx(recovered_s, nan_ok=True)


def test_recovery_is_from_the_last_fault_of_the_span() -> None:
    of = recovering(20.0, marks=[Mark("a", 9.0, 10.0), Mark("b", 11.0, 18.0)])
    assert measured("recovery.s", of) == 2.0
    assert measured("recovery.s", of, (0.0, 15.0)) == 10.0
    assert math.isnan(measured("recovery.s", recovering(20.0, marks=[])))


def test_recovery_asks_arrivals_who_may_be_accepted() -> None:
    """Retries do not count, nor do strangers."""
    streams = [{"name": "daily", "kind": "sync", "bursts": [{"people": 1}]}, {"name": "others", "kind": "stranger", "bursts": [{"people": 1}]}]
    good, bad = [call(at / 10) for at in range(300)], [call(at / 10, status=403, stream=1) for at in range(300)]
    again = [call(at / 10, status=503, late_s=math.nan) for at in range(300)]
    of = observed([*good, *bad, *again], marks=[Mark("a", 9.0, 10.0)], scenario=scenario(streams=streams))
    assert measured("recovery.s", of) == 0.0


def test_one_refused_in_a_hundred_is_well_and_two_are_not() -> None:
    for refused, recovered_s in ((3, 0.0), (4, 1.0)):
        rows = [call(at / 100, status=503 if 1_000 <= at < 1_000 + refused else 202) for at in range(3_000)]
        assert measured("recovery.s", observed(rows, marks=[Mark("a", 9.0, 10.0)])) == recovered_s


# Words and bounds


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (math.nan, "ms", "not measured"),
        (312.04, "ms", "312 ms"),
        (500.3, "ms", "500.3 ms"),
        (12_345.6, "ms", "12,346 ms"),
        (1_000.0, "ms", "1,000 ms"),
        (999.94, "ms", "999.9 ms"),
        (0.98996, "%", "99 %"),
        (0.9849, "%", "98.49 %"),
        (20.0, "/s", "20/s"),
        (3.0, "people", "3 people"),
    ],
)
def test_figures_in_words(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_a_bound_holds_at_its_edge() -> None:
    of = Figures.of(observed([call(1.0, 0.25), call(2.0, 0.25, status=503)]))
    assert row(of, Slo("syncs.accepted_share", at_least=0.5)).is_met
    assert not row(of, Slo("syncs.accepted_share", at_least=0.500001)).is_met
    found = row(of, Slo("syncs.accepted_share", at_least=0.4, at_most=0.45))
    assert (found.bound, found.is_met, found.shown) == ("≥ 40 % and ≤ 45 %", False, "50 %")


def test_a_phase_is_its_span() -> None:
    phases = [{"name": "opening", "from_s": 0.0, "to_s": 10.0}]
    of = Figures.of(healthy(scenario=scenario(phases=phases)))
    assert row(of, Slo("syncs.per_s", at_least=10.0, phase="opening")).is_met
    found = row(of, Slo("syncs.per_s", at_least=10.0))
    assert (found.phase, found.measured) == ("all", 7.5)


# The shipped scenarios


@pytest.mark.parametrize("name", sorted(path.stem for path in SCENARIOS.glob("*.toml")))
def test_each_scenario_bounds_the_answers_that_nobody_meant(name: str) -> None:
    """One of a thousand, and more only where what answers or what stores is killed."""
    found = load(name, METRICS)
    (bound,) = (slo for slo in found.slo if (slo.metric, slo.phase) == ("all.error_share", "all"))
    is_killed = any(fault.what in {"worker.kill", "kafka.kill"} for fault in found.faults)
    assert bound.at_most is not None
    assert 0 < bound.at_most <= (0.03 if is_killed else 0.001)


def test_an_outage_of_kafka_is_no_reason_to_refuse() -> None:
    """kafka-outage: each is accepted at the first try; no 503, no 500, no silence."""
    wanted = load("kafka-outage", METRICS)
    (bound,) = (slo for slo in wanted.slo if slo.metric == "syncs.first_try_accepted_share")
    for status, is_met in ((202, True), (503, False), (500, False), (NO_ANSWER, False)):
        of = observed([call(27.0 + number / 100, status=status if number == 50 else 202) for number in range(100)], scenario=wanted)
        assert row(Figures.of(of), bound).is_met is is_met


def outages(*spans: tuple[float, float], what: str = "Kafka frozen") -> list[Mark]:
    return [Mark(what, *span) for span in spans]


def test_the_replay_is_measured_in_the_length_of_its_outage() -> None:
    """10 s without Kafka, and nothing waits from 22 s on; then 4 s, and 2 s of replay."""
    waits = [0.0] * 10 + [5.0] * 11 + [0.0] * 9 + [5.0] * 5 + [0.0] * 5
    of = observed(samples=samples(40, spool_waits=waits), marks=outages((10.0, 20.0), (30.0, 34.0)) + outages((1.0, 2.0), what="worker killed"))
    assert measured("spool.replay_share", of, (0.0, 25.0)) == pytest.approx(0.2)
    assert measured("spool.replay_share", of) == pytest.approx(0.5)
    assert measured("spool.waits_max", of) == 5
    assert math.isnan(measured("spool.replay_share", of, (35.0, 40.0)))


@pytest.mark.parametrize("waits", [5.0, math.nan])
def test_a_replay_that_nobody_saw_end_meets_no_bound(waits: float) -> None:
    of = observed(samples=samples(40, spool_waits=waits), marks=outages((10.0, 20.0)))
    assert not row(Figures.of(of), Slo("spool.replay_share", at_most=100.0)).is_met


def test_the_share_of_what_was_answered_from_the_disk() -> None:
    of = observed(samples=samples(40, accepted_per_s=[100.0] * 40, spooled_per_s=[0.0] * 20 + [95.0] * 20))
    assert measured("spool.accepted_share", of, (20.0, 40.0)) == pytest.approx(0.95)
    assert measured("spool.accepted_share", of) == pytest.approx(0.475)
