"""The verdict: which outranks which, what a manager reads first, and the self-tests that issue 6 asks for."""

import math
from typing import Any

import msgspec
import pytest

from loadtests.judge.verdict import judge, meant_sha256, scale_in_words
from loadtests.observed import Observed
from loadtests.recording import CUT, NO_ANSWER, Call, Fate, Process, Recording
from loadtests.result import Mark, Verdict
from loadtests.scenario import Scale, Slo
from tests.loadtests.observations import BEGAN_S, CITIZENS, call, fate, frozen, healthy, observed, person, record, samples, scenario, steady_line


def lossy(of: Observed) -> Observed:
    """The same, and one accepted sync is not in Kafka."""
    assert of.records is not None
    return msgspec.structs.replace(of, records=of.records[1:])


def held_back(of: Observed, **over: Any) -> Observed:
    """The same by a generator that sent half of it, and had no room left."""
    process = Process(number=0, meant=600, meant_sha256="ab", sent=300, began_s=BEGAN_S, cpu_share=0.97, **over)
    recording = of.recording
    return msgspec.structs.replace(of, recording=Recording(recording.calls, recording.fates, recording.people, [process]))


BOUND = Slo("syncs.p99_ms", at_most=500.0)
MISSED = Slo("syncs.p99_ms", at_most=1.0)


@pytest.mark.parametrize(
    ("of", "verdict"),
    [
        (healthy(scenario=scenario(BOUND)), Verdict.PASS),
        (healthy(scenario=scenario(BOUND, MISSED)), Verdict.MISSED),
        (frozen(scenario=scenario(BOUND)), Verdict.MISSED),
        (frozen(0.0, 0.0, scenario=scenario(BOUND)), Verdict.PASS),
        (held_back(healthy(scenario=scenario(BOUND))), Verdict.GENERATOR),
        (held_back(healthy(scenario=scenario(MISSED))), Verdict.GENERATOR),
        (lossy(healthy(scenario=scenario(BOUND))), Verdict.LOST),
        (lossy(held_back(healthy(scenario=scenario(MISSED)))), Verdict.LOST),
        (lossy(held_back(healthy(), errors=["it fell over"])), Verdict.BROKE),
        (healthy(people=[person(0, 1.0, 2.0), person(0, 1.0, 3.0)], scenario=scenario(BOUND)), Verdict.LOST),
        (healthy(people=steady_line(200, 20.0), samples=samples(40, door_per_s=10.0), scenario=scenario(BOUND)), Verdict.LOST),
        (observed(processes=[]), Verdict.BROKE),
        (healthy(scenario=scenario(BOUND), died="connection refused"), Verdict.MISSED),
        (lossy(healthy(scenario=scenario(BOUND), died="connection refused")), Verdict.LOST),
    ],
)
def test_the_gravest_counts(of: Observed, verdict: Verdict) -> None:
    assert judge(of).verdict is verdict


def test_all_is_well_in_one_sentence() -> None:
    assert judge(healthy()).reasons == ["Nothing was lost; every bound held"]
    fair = healthy(people=steady_line(100, 10.0), samples=samples(40, door_per_s=10.0))
    assert judge(fair).reasons == ["Nothing was lost, nobody was overtaken or let in beyond the door's rate; every bound held"]


def test_a_gateway_that_died_is_said_first() -> None:
    reasons = judge(healthy(died="connection refused")).reasons
    assert reasons[0] == "The gateway did not answer at the end: connection refused"
    assert "every bound held" not in reasons[-1]


def test_reasons_come_the_gravest_first() -> None:
    result = judge(lossy(held_back(healthy(scenario=scenario(MISSED)))))
    assert result.reasons == [
        "1 of 300: accepted syncs that are not in Kafka",
        "1 of 300: syncs counted as durable beyond the records in Kafka",
        "Of 600 arrivals that were meant the generator sent 300 within 1 s of their instant, 50.0 %; want 99 %",
        "The busiest process of the generator used 97 % of its core; more than 80 % leaves no room",
        "Syncs: p99 from the instant a request was meant was 10 ms, bound ≤ 1 ms",
    ]


def test_a_missed_bound_is_said_with_its_phase_and_that_nothing_was_lost() -> None:
    phases = [{"name": "opening", "from_s": 0.0, "to_s": 10.0}]
    of = healthy(scenario=scenario(Slo("syncs.p99_ms", at_most=1.0, phase="opening"), Slo("door.used", at_least=0.9), phases=phases))
    assert judge(of).reasons == [
        "Syncs: p99 from the instant a request was meant in phase opening was 10 ms, bound ≤ 1 ms",
        "Passes, of what the door's rate allows while two lobbies of people wait could not be measured, bound ≥ 90 %",
        "Nothing was lost",
    ]


def test_who_has_not_read_kafka_does_not_say_that_nothing_was_lost() -> None:
    of = msgspec.structs.replace(healthy(), records=None)
    result = judge(of)
    assert result.verdict is Verdict.PASS
    assert result.reasons == ["Kafka was not read, so nobody can say whether anything was lost; every bound held"]


def test_only_what_was_checked_is_claimed() -> None:
    """Nobody's rate, nobody's Kafka, nobody's payload."""
    line: dict[str, Any] = {"people": steady_line(200, 20.0), "scenario": scenario(BOUND)}
    result = judge(healthy(**line))
    assert result.verdict is Verdict.PASS
    assert result.reasons == ["Nothing was lost; nobody knows the door's rate, so none can say whether it was kept or anybody was overtaken; every bound held"]
    of = msgspec.structs.replace(healthy(people=steady_line(100, 10.0), samples=samples(40, door_per_s=10.0)), records=None)
    unread = "Kafka was not read, so nobody can say whether anything was lost"
    assert judge(of).reasons == [f"{unread}; nobody was overtaken or let in beyond the door's rate; every bound held"]
    shut = healthy(people=[person(0, 1.0), person(1, 1.0)], samples=samples(40, door_per_s=0.0))
    assert judge(shut).reasons == ["Nothing was lost, nobody was let in beyond the door's rate; every bound held"]
    looks = [call(1.0, call=Call.PLACE, stream=CITIZENS, status=200)]
    assert judge(observed(looks, scenario=scenario(Slo("all.p99_ms", at_most=500.0)))).reasons == ["Nothing was sent that could be lost; every bound held"]


# Nothing was rehearsed


def test_nobody_answered() -> None:
    silent = [call(number, status=status, arrival=number) for number, status in enumerate((NO_ANSWER, CUT))]
    fates = [fate(0, Fate.UNKNOWN), fate(1, Fate.UNKNOWN)]
    found = judge(observed(silent, fates, machine={"url": "https://gateway.example"}))
    assert found.verdict is Verdict.BROKE
    assert found.reasons[0] == "Nobody answered at https://gateway.example: none of 2 requests had an answer; is the gateway there?"
    assert judge(observed(silent, fates)).reasons[0].startswith("Nobody answered: none of 2")
    assert judge(observed([*silent, call(2.0, arrival=2)], [*fates, fate(2)], [record(2)])).verdict is not Verdict.BROKE


ROOM: dict[str, Any] = {"settings": {"room": {"name": "signup"}}}


def joins(*statuses: int) -> list[tuple[Any, ...]]:
    return [call(1.0, call=Call.TICKETS, stream=CITIZENS, status=status, arrival=number) for number, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ((404,) * 24, "Nobody joined the line; 24 joins were answered 404: is the room called 'signup' there?"),
        ((503, 503, CUT), "Nobody joined the line; 2 joins were answered 503, 1 join was not answered"),
    ],
)
def test_nobody_joined(statuses: tuple[int, ...], reason: str) -> None:
    found = judge(observed(joins(*statuses), scenario=scenario(BOUND, gateway=ROOM)))
    assert (found.verdict, found.reasons[0]) == (Verdict.BROKE, reason)


@pytest.mark.parametrize(
    ("calls", "people", "gateway"),
    [
        (joins(404, 404), [], {}),  # no line is meant to be
        ([call(1.0)], [], ROOM),  # nobody has come yet
        (joins(404, 200), [person(0, 1.0)], ROOM),
        (joins(404, 200), [person(-1, 0.0, 2.0)], ROOM),  # let in on a provisional ticket
        ([*joins(), call(1.0, call=Call.TICKETS, status=404)], [], ROOM),  # a member's
    ],
)
def test_who_has_no_line_to_join_or_joined_it_is_no_harness_that_broke(calls: list[Any], people: list[Any], gateway: dict[str, Any]) -> None:
    assert judge(observed(calls, people=people, scenario=scenario(BOUND, gateway=gateway))).verdict is not Verdict.BROKE


def test_processes_that_drew_different_arrivals() -> None:
    parts = [Process(number, 150, digest * 64, 150, BEGAN_S, 0.1) for number, digest in enumerate("ab")]
    of = healthy(scenario=scenario(BOUND), processes=parts)
    found = judge(of)
    assert found.verdict is Verdict.BROKE
    assert found.reasons == [
        "The processes of the generator drew different arrivals (SHA-256 of process 0: aaaaaaaa, 1: bbbbbbbb), so each may have sent another's or nobody's"
    ]
    assert judge(healthy(scenario=scenario(BOUND), processes=[parts[0], msgspec.structs.replace(parts[0], number=1)])).verdict is Verdict.PASS


def test_the_result_has_everything() -> None:
    phases = [{"name": "opening", "from_s": 0.0, "to_s": 10.0}]
    of = healthy(
        people=steady_line(100, 10.0), samples=samples(40, door_per_s=10.0, depth=7.0, worker_cpu=0.5), marks=[Mark("worker killed", 5.0, 5.0)],
        scenario=scenario(BOUND, phases=phases, scale={"people": 200, "clock": 120}),
    )  # fmt: skip
    result = judge(of)
    assert (result.name, result.seed, result.began, result.meant_sha256) == ("by-hand", 1, "1970-01-12T13:46:40+00:00", "ab" * 32)
    assert (result.scale, result.seconds, result.drained_s) == ("one of 200 people, arrivals 120 times as fast", 30.0, 10.0)
    assert result.phases == [("opening", 0.0, 10.0)]
    assert [curve.call for curve in result.curves] == [heat.call for heat in result.heat] == ["POST /v1/syncs"]
    assert result.waits is not None
    assert (result.waits.people, result.waits.passed, result.waits.left) == (100, 100, 0)
    assert result.waits.wait_p50_s == pytest.approx(5.9, abs=0.01)
    assert result.waits.most_in_10s == pytest.approx(100 / 105, rel=0.01)
    assert len(result.timeline["depth"]) == 40
    assert result.bottlenecks[0].what == "the door"
    assert {row.what for row in result.ledger} >= {"syncs accepted", "people who joined"}


def test_who_was_let_in_without_a_place_is_of_the_line_too() -> None:
    found = judge(healthy(people=[person(0, 1.0, 2.0), person(-1, 0.0, 3.0), person(1, 1.0), person(-1, 0.0)])).waits
    assert found is not None
    assert (found.people, found.passed) == (3, 2)


def test_without_a_line_there_are_no_waits() -> None:
    assert judge(healthy()).waits is None


def test_a_drain_that_was_not_needed_took_no_time() -> None:
    assert judge(healthy(ended_s=29.5)).drained_s == 0


def test_nobody_knows_is_told_apart_from_nothing_lost() -> None:
    """Unknown fates, in Kafka or not, are no fault."""
    calls = [call(1.0, status=0), call(2.0, arrival=1, status=0), call(3.0, arrival=2, status=503)]
    of = observed(calls, [fate(0, Fate.UNKNOWN), fate(1, Fate.UNKNOWN), fate(2, Fate.REFUSED)], [record(0)], scenario=scenario(BOUND))
    assert judge(of).verdict is Verdict.PASS


def test_a_door_too_wide_in_words() -> None:
    of = healthy(people=steady_line(200, 20.0), samples=samples(40, door_per_s=10.0))
    assert judge(of).reasons[0] == "5 passes released beyond the door's rate in the worst 1 s"


def test_scale_in_words() -> None:
    assert scale_in_words(Scale()) == "everybody, arrivals as fast as they are"


def test_the_sum_of_what_was_meant_is_of_all_processes_in_order() -> None:
    one, two = (Process(number=number, meant=1, meant_sha256=f"{number}" * 64, sent=1, began_s=0.0, cpu_share=0.1) for number in (1, 2))
    assert meant_sha256([one]) == "1" * 64
    assert meant_sha256([one, two]) == meant_sha256([two, one]) != meant_sha256([one])
    assert meant_sha256([one, msgspec.structs.replace(one, number=3)]) == "1" * 64
    assert len(meant_sha256([])) == 64


def test_every_number_of_the_timeline_is_a_float_and_can_be_written() -> None:
    result = judge(healthy(samples=samples(40, depth=math.nan)))
    assert all(isinstance(value, float) for values in result.timeline.values() for value in values)
    assert msgspec.json.encode(result)
